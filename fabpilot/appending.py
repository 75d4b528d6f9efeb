"""Appending for a source over outages of the log: nothing is lost, nothing is there twice."""

import threading
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TypeVar

from contracts.errors import LogUnavailableError
from contracts.records import Message
from streaming.log import Log
from streaming.patience import Patience

__all__ = ["Appended", "SourceAppender"]

T = TypeVar("T")


class Appended(Enum):
    """What became of an append.

    Attributes:
        DONE: the messages are on the log, put there by us.
        BEFORE: the log had this position, or a later one, before we tried.
        STOPPED: it is time to end, and nobody knows. The next run asks the log for its position.
    """

    DONE = "done"
    BEFORE = "before"
    STOPPED = "stopped"


class SourceAppender:
    """Appends for one source and waits while the log is away.

    An append that failed for want of an answer may have happened. Tried again with the same
    position it happens once, and the position says afterwards whose it was.

    Args:
        log: where to.
        source: the name under which the log remembers positions.
        stop: ends a wait at once.
    """

    def __init__(self, log: Log, source: str, stop: threading.Event) -> None:
        self._log = log
        self._source = source
        self._patience = Patience("the log", stop)

    def append(self, messages: Sequence[Message], position: int) -> Appended:
        """Put messages onto the log, once.

        Raises:
            LogError: what waiting does not mend.
        """
        failed = False

        def attempt() -> Appended:
            nonlocal failed
            try:
                if self._log.append(messages, source=self._source, position=position):
                    return Appended.DONE
                ours = failed and self._log.position(self._source) == position
            except LogUnavailableError:
                failed = True
                raise
            return Appended.DONE if ours else Appended.BEFORE

        return self.patiently(attempt) or Appended.STOPPED

    def patiently(self, call: Callable[[], T]) -> T | None:
        """What `call` gives once the log is there, or None if it is time to stop."""
        while True:
            try:
                result = call()
            except LogUnavailableError as error:
                if not self._patience.wait(error):
                    return None
            else:
                self._patience.over()
                return result
