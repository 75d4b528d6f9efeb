"""`fabpilot process` as its users run it, for the time of a measurement."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from contracts.errors import LogError
from fabpilot.benchmarks.maps import SITE
from fabpilot.settings import Settings
from streaming.deadline import Deadline

__all__ = ["Service", "command_of", "environment_of"]

_START_LIMIT_S = 90.0


def command_of(group: str, model: str) -> list[str]:
    """The command line of a processor of `group`."""
    command = [sys.executable, "-m", "fabpilot", "process", "--json", "--site", SITE]
    return [*command, "--group", group, "--model", model]


def environment_of(settings: Settings) -> dict[str, str]:
    """Its environment: ours, on this log."""
    return {
        **os.environ,
        "FABPILOT_LOG": settings.log_url,
        "FABPILOT_HOME": str(settings.home),
    }


class Service:
    """One running processor: a context manager that waits until it has its model.

    Args:
        settings: the log, and where processes keep things.
        model: an ONNX file or a model's URI.
        folder: for what it says.
        group: its consumer group.
        number: among its like.
    """

    def __init__(
        self, settings: Settings, model: str, folder: Path, group: str, number: int = 0
    ) -> None:
        self._ready = folder / f"{group}.{number}.ready"
        self._output = folder / f"{group}.{number}.log"
        self._command = [*command_of(group, model), "--ready", str(self._ready)]
        self._environment = environment_of(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=output
            )
        deadline = Deadline(_START_LIMIT_S)
        while not self._ready.exists():
            if self.ended or deadline.passed:
                self.__exit__(None, None, None)
                said = self._output.read_text(errors="replace")[-2000:]
                raise LogError(f"fabpilot process did not start:\n{said}")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is no longer running."""
        return self._process is None or self._process.poll() is not None
