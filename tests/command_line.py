"""Running fabpilot as its users do: as a command, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contracts.quiet import SWITCHES
from streaming.deadline import Deadline

__all__ = ["Command", "Home", "error_of", "npz"]

# Supervisors kill what has not ended after ten seconds (docker stop).
_SOON_S = 9.5


class Home:
    """A folder of its own for everything fabpilot keeps."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = {
            # Of these our own code takes care, without anybody's help.
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("FABPILOT_") and name not in SWITCHES
            },
            "FABPILOT_HOME": str(folder),
            "COLUMNS": "200",
            **settings,
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "fabpilot", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "fabpilot", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """Run a command with --json; its standard output must be exactly one JSON value."""
        done = self.run(*arguments, "--json")
        assert done.stdout.count("\n") == 1, done.stdout
        return json.loads(done.stdout)

    def tail(self, stream: str, *arguments: str) -> list[dict[str, Any]]:
        """All records of a stream."""
        done = self.run("log", "tail", stream, "--from-beginning", "--until-end", *arguments)
        return [json.loads(line) for line in done.stdout.splitlines()]


class Command:
    """A command at work, and what it says."""

    def __init__(self, home: Home, *arguments: str) -> None:
        self._said = home.folder / f"{arguments[0]}.{time.monotonic_ns()}.err"
        home.folder.mkdir(parents=True, exist_ok=True)
        self._out = self._said.with_suffix(".out")
        with self._said.open("wb") as said, self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fabpilot", *arguments],
                env=home.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=said,
            )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        """Its standard error so far."""
        return self._said.read_text()

    def says(self, words: str) -> None:
        """Wait until it has said this."""
        deadline = Deadline(90.0)
        while words not in self.said():
            assert not deadline.passed, f"{words!r} is not in {self.said()}"
            # What it says is a file, which nobody can wait for.
            time.sleep(0.02)

    def stop(self, limit_s: float = _SOON_S) -> int:
        """Tell it to end; its exit code. It must not take long."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(limit_s)
        finally:
            self.process.kill()

    def report(self) -> dict[str, Any]:
        """What it printed as JSON."""
        return dict(json.loads(self._out.read_text()))


def error_of(done: "subprocess.CompletedProcess[str]") -> str:
    """The one message a command that failed gave its user."""
    return done.stderr.strip().removeprefix("error: ")


def npz(path: Path, grids: Sequence[Any], **extra: Any) -> Path:
    """Write maps in the ragged layout of wm811k.npz."""
    shapes = np.array([grid.shape for grid in grids], dtype=np.int16).reshape(-1, 2)
    sizes = [grid.size for grid in grids]
    np.savez_compressed(
        path,
        **{
            "data": np.concatenate([grid.ravel() for grid in grids]),
            "offsets": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            "shapes": shapes,
            "label": np.zeros(len(grids), np.int8),
            "label_names": np.array(["None", "Center"]),
            "orig_index": np.arange(len(grids), dtype=np.int32),
            **extra,
        },
    )
    return path
