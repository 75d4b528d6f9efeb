"""Threads of traces: runs of one recipe, step and module are alike, and share a model.

`models` learns threads by name (the column `context_thread` of a set of traces), and a trace on the
log belongs to a thread by what it says of itself. One name for both is here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from contracts.events import Trace

__all__ = ["EVERYTHING", "JOINED", "Place", "find_thread", "thread_name"]

EVERYTHING = "all"
"""The thread of a model that was learned from a set that names none: every trace is its own."""

JOINED = " | "
"""What stands between the parts of a thread's name."""


class Place(NamedTuple):
    """Where a trace belongs.

    Attributes:
        thread: index of its thread.
        learned: whether the thread has runs of the trace's module in it.
    """

    thread: int
    learned: bool


def thread_name(trace: Trace) -> str:
    """The thread of a trace: `RECIPE | STEP | EQUIPMENT/MODULE`."""
    return JOINED.join((trace.recipe_id, trace.step, trace.key))


def find_thread(trace: Trace, threads: Sequence[str], variables: Sequence[str]) -> Place | None:
    """The thread of a model that a trace belongs to; None if the model is not about it.

    That is `RECIPE | STEP | EQUIPMENT/MODULE`, or `RECIPE | STEP` where a model has one thread for
    all modules, or a thread of the same recipe and step on another module, which was not learned.
    A model of `EVERYTHING` is about every trace with one of its variables.

    Args:
        trace: on the log.
        threads: names of the model's.
        variables: that it was learned from.
    """
    step = JOINED.join((trace.recipe_id, trace.step))
    for name in (thread_name(trace), step):
        if name in threads:
            return Place(threads.index(name), learned=True)
    for index, thread in enumerate(threads):
        if thread.startswith(step + JOINED):
            return Place(index, learned=False)
    if EVERYTHING in threads and not set(variables).isdisjoint(trace.variables):
        return Place(threads.index(EVERYTHING), learned=True)
    return None
