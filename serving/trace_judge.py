"""What every judge of traces on the log has in common; one file for each task is beside it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from contracts.errors import DataError
from contracts.events import Event, Trace

__all__ = ["Answer", "Judge", "Speaker"]

Answer = list[Event] | DataError
"""What follows from a trace, nothing if the model is not of its recipe and step, or why it is of no
use."""


class Speaker(NamedTuple):
    """Who says what a judge says: a version of a model, and what runs it."""

    name: str
    version: str
    sha256: str
    provider: str


class Judge(Protocol):
    """A loaded trace model that knows what its inputs are made of. Thread-safe, without memory."""

    @property
    def answers(self) -> tuple[str, ...]:
        """What it can say; a later version must say as much."""
        ...

    def judge(self, traces: Sequence[Trace], speaker: Speaker) -> list[Answer]:
        """An answer for each trace.

        Args:
            traces: N of any recipe, step and module.
            speaker: who stands in the events.
        """
        ...
