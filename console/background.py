"""The threads behind the pages: one reads the log into the read model, one publishes decisions.

Both are supervised: what fails is reported on the Health page and tried again, and a stop is
obeyed within a second.
"""

import threading
from collections.abc import Callable
from typing import Literal

import structlog
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import FabpilotError

__all__ = ["Worker"]

_log = structlog.get_logger(__name__)

# Long enough not to hammer a broker that is down, short enough to be back before anyone notices.
_RETRY_S = 1.0


class Worker:
    """Runs `work` in a thread, again and again until it is stopped.

    Args:
        name: for people.
        work: returns when the event it is given is set, or when there is nothing more to do.
        pause_s: between two runs.
    """

    def __init__(
        self, name: str, work: Callable[[threading.Event], None], *, pause_s: float
    ) -> None:
        self.name = name
        self.failure = ""
        self._work = work
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> Literal["running", "stopped"]:
        """'stopped' also while it waits to try again after a failure."""
        alive = self._thread is not None and self._thread.is_alive()
        return "running" if alive and not self.failure else "stopped"

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Cut the current pause short."""
        self._wake.set()

    def stop(self, timeout_s: float) -> None:
        """Ask it to end and wait at most `timeout_s`. May be called twice."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause_s = self._pause_s
            try:
                self._work(self._stop)
                self.failure = ""
            except (FabpilotError, SQLAlchemyError, OSError) as error:
                self.failure = f"{type(error).__name__}: {error}"[:500]
                _log.error("background work failed", worker=self.name, reason=self.failure)
                pause_s = _RETRY_S
            self._wake.wait(pause_s)
            self._wake.clear()
