"""Waiting for what does not answer now and will again: a broker, a database."""

import threading
import time

import structlog

__all__ = ["Patience"]

_log = structlog.get_logger(__name__)

# The first try comes soon, for a restart takes a second or two; then often enough that work resumes
# within seconds of the other side.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
# One line an outage would hide that we still try; one a try would bury everything else.
_SAY_EVERY_S = 15.0


class Patience:
    """Pauses between tries, says so at a bounded rate, and says when it is over.

    Args:
        what: that is waited for, such as 'the log'.
        stop: ends a wait at once.
    """

    def __init__(self, what: str, stop: threading.Event) -> None:
        self._what = what
        self._stop = stop
        self._since: float | None = None
        self._said = 0.0
        self._pause_s = _FIRST_PAUSE_S

    def wait(self, error: Exception) -> bool:
        """Pause after a try that failed with `error`; False if it is time to stop instead."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._pause_s = now, _FIRST_PAUSE_S
            self._say(now, error)
        elif now - self._said >= _SAY_EVERY_S:
            self._say(now, error)
        stopped = self._stop.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return not stopped

    def over(self) -> None:
        """A try succeeded. Cheap enough to call after each one."""
        if self._since is not None:
            away_s = time.monotonic() - self._since
            _log.info(f"{self._what} answers again", after_s=round(away_s, 1))
            self._since = None

    def _say(self, now: float, error: Exception) -> None:
        self._said = now
        waited_s = now - (now if self._since is None else self._since)
        _log.warning(
            f"waiting for {self._what}; work resumes by itself",
            waited_s=round(waited_s, 1),
            error=str(error),
        )
