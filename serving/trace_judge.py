"""What every judge of traces on the log has in common; one file for each task is beside it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError
from contracts.events import Event, Trace

__all__ = ["Answer", "Judge", "Row", "Speaker", "judge_all", "stacked"]

Answer = list[Event] | DataError
"""What follows from a trace, nothing if the model is not of its recipe and step, or why it is of no
use."""

# As many as virtual metrology's (rows, learned runs, signals) differences may be in memory at once.
_MAX_BATCH = 64


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


class Row(NamedTuple):
    """A trace that the graph shall be asked about.

    Attributes:
        inputs: a row of each of the graph's inputs, in their order.
        thread: index of the model's thread it is of.
        doubtful: something of it was not learned, so the answer is not to be relied on.
        troubles: sensors that could not be judged as usual.
    """

    trace: Trace
    inputs: tuple[npt.NDArray[np.float32], ...]
    thread: int
    doubtful: bool = False
    troubles: tuple[str, ...] = ()


def judge_all(
    traces: Sequence[Trace],
    prepare: Callable[[Trace], Row | list[Event]],
    ask: Callable[[Sequence[Row]], list[Answer]],
) -> list[Answer]:
    """An answer for each trace, some of them without asking the graph.

    Args:
        traces: N.
        prepare: what the graph is to be asked about a trace, or the answer; may raise a `DataError`
            for a trace that is of no use.
        ask: an answer for each row, at least one.
    """
    answers: list[Answer] = []
    rows: list[tuple[int, Row]] = []
    for place, trace in enumerate(traces):
        try:
            found: Row | Answer = prepare(trace)
        except DataError as error:
            found = error
        if isinstance(found, Row):
            rows.append((place, found))
            found = []
        answers.append(found)
    for first in range(0, len(rows), _MAX_BATCH):
        part = rows[first : first + _MAX_BATCH]
        for (place, _), answer in zip(part, ask([row for _, row in part]), strict=True):
            answers[place] = answer
    return answers


def stacked(names: Sequence[str], rows: Sequence[Row]) -> dict[str, npt.NDArray[np.float32]]:
    """The graph's inputs by name, (N, ...)."""
    columns = zip(*(row.inputs for row in rows), strict=True)
    return {name: np.stack(column) for name, column in zip(names, columns, strict=True)}
