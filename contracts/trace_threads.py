"""Threads of traces: runs of one recipe, step and module are alike, and share a model.

`models` learns threads by name (the column `context_thread` of a set of traces), and a trace on the
log belongs to a thread by what it says of itself. One name for both is here.
"""

from contracts.events import Trace

__all__ = ["EVERYTHING", "same_step", "thread_name", "thread_names"]

EVERYTHING = "all"
"""The thread of a model that was learned from a set that names none: every trace is its own."""

_JOINED = " | "


def thread_name(trace: Trace) -> str:
    """The thread of a trace: `RECIPE | STEP | EQUIPMENT/MODULE`."""
    return _JOINED.join((trace.recipe_id, trace.step, trace.key))


def thread_names(trace: Trace) -> tuple[str, ...]:
    """What a model may have called the thread of a trace, the most particular first.

    `RECIPE | STEP` is one thread for all modules.
    """
    return (thread_name(trace), _JOINED.join((trace.recipe_id, trace.step)), EVERYTHING)


def same_step(trace: Trace, thread: str) -> bool:
    """Whether a thread is of the recipe and step of a trace, on whatever module."""
    return thread.startswith(_JOINED.join((trace.recipe_id, trace.step, "")))
