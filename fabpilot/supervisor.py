"""Child processes: started, watched, started again when they die, ended together."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import structlog

from fabpilot.stopping import CHILD_VARIABLE

__all__ = ["Child", "Supervisor"]

_log = structlog.get_logger(__name__)

# A child that dies is started again after this long, doubled each time up to the maximum.
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 10.0
# One that lived this long was well: its next death starts from the first back-off again.
_WELL_AFTER_S = 30.0


class Child:
    """One fabpilot command in a process of its own.

    Args:
        name: for people; also the name of its output file.
        arguments: of the `fabpilot` command.
        folder: where its standard error goes, `<name>.log`.
        keep_running: start it again when it fails; one that ends well has done its work.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], folder: Path, *, keep_running: bool = True
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.keep_running = keep_running
        self.restarts = 0
        self.not_before = 0.0
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._output: BinaryIO | None = None
        self._started = 0.0

    @property
    def log_path(self) -> Path:
        """What it writes on standard error."""
        return self._folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def code(self) -> int | None:
        """Exit code, or None while it runs or before it was started."""
        return self._process.poll() if self._process else None

    @property
    def age_s(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self._started

    def start(self) -> None:
        """Start it. Its standard input is a pipe whose end tells it to stop."""
        self.close_files()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._output = self.log_path.open("ab")
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fabpilot", *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if not self.keep_running else self._output,
            stderr=self._output,
            # Ctrl-C in the terminal reaches the supervisor alone, which ends the children in order.
            start_new_session=True,
            env={**os.environ, CHILD_VARIABLE: "1"},
        )

    def terminate(self) -> None:
        """Ask it to stop."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False if it still runs after `timeout_s`."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it now."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def output(self) -> bytes:
        """What it printed on standard output. Only for one that is not kept running, at its end."""
        if self._process is None or self._process.stdout is None:
            return b""
        return self._process.stdout.read()

    def tail(self, lines: int = 5) -> str:
        """The last lines of its standard error."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
                return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return ""

    def close_files(self) -> None:
        """Let go of pipes and files of a process that has ended."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        if self._output is not None:
            self._output.close()
            self._output = None


class Supervisor:
    """Keeps children running until told to stop.

    Args:
        clock: seconds, monotonic; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.children: list[Child] = []
        self._clock = clock

    def start(self, child: Child) -> Child:
        """Start a child and watch over it."""
        child.start()
        self.children.append(child)
        return child

    def check(self) -> None:
        """Start again what has died and should run. Call it every second or so."""
        now = self._clock()
        for child in self.children:
            if not child.code or not child.keep_running or now < child.not_before:
                continue
            if child.not_before:
                child.not_before = 0.0
                child.start()
                continue
            if child.age_s > _WELL_AFTER_S:
                child.restarts = 0
            backoff = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2**child.restarts)
            child.restarts += 1
            child.not_before = now + backoff
            _log.warning(
                "process ended, starting it again",
                process=child.name,
                code=child.code,
                in_s=backoff,
                said=child.tail(1),
                more=str(child.log_path),
            )

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set."""
        while not stop.wait(0.25):
            self.check()

    def close(self, grace_s: float = 3.0) -> None:
        """End all children: ask, wait together for `grace_s` seconds, then insist."""
        for child in self.children:
            child.terminate()
        deadline = self._clock() + grace_s
        for child in self.children:
            if not child.wait(deadline - self._clock()):
                _log.warning("process did not stop in time, killed", process=child.name)
                child.kill()
            child.close_files()
        self.children.clear()
