"""The event that says what a model of faults or of risk found, made alike by both judges."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import TraceError
from contracts.events import Contribution, Event, Trace, TraceJudgement
from contracts.ids import derived_id
from contracts.trace_threads import find_thread
from serving.trace_input import Samples, samples_of
from serving.trace_judge import Answer, Row, Speaker

__all__ = ["Known", "judgement", "known_run", "not_judged"]

# As many as a person looks at; the first three name the variable (docs/traces.md).
_MOST_CONTRIBUTIONS = 5


class Known(NamedTuple):
    """A trace of a module that the model was learned on.

    Attributes:
        thread: index of the model's thread it is of.
        samples: of the model's variables.
    """

    thread: int
    samples: Samples


def known_run(
    trace: Trace,
    task: Literal["fault", "risk"],
    speaker: Speaker,
    threads: Sequence[str],
    variables: tuple[str, ...],
) -> Known | list[Event]:
    """What the model is to be asked about a trace, or the answer where it cannot be.

    Args:
        trace: as it came.
        task: of the model.
        speaker: the model.
        threads: of the model.
        variables: of the model.

    Raises:
        DataError: the trace is of no use.
    """
    found = find_thread(trace, threads, variables)
    if found is None:
        return []
    samples = samples_of(trace, variables)
    return Known(found.thread, samples) if found.learned else not_judged(trace, task, speaker)


def judgement(
    row: Row,
    task: Literal["fault", "risk"],
    speaker: Speaker,
    score: float,
    contributions: npt.NDArray[np.float32],
    names: tuple[str, ...],
) -> Answer:
    """What is said of a trace; the reason where the graph gives no number.

    Args:
        row: what was asked.
        task: of the model.
        speaker: the model.
        score: see `TraceJudgement`.
        contributions: (V,) of each variable to the score; those that lower it are no news.
        names: V variables.
    """
    if not 0.0 <= score < np.inf:
        where = f"trace {row.trace.event_id} of {row.trace.key}"
        return TraceError(f"{where}: the model gives no number for it")
    largest = np.argsort(-contributions, kind="stable")[:_MOST_CONTRIBUTIONS]
    said = tuple(
        Contribution(variable=names[place], value=float(contributions[place]))
        for place in largest
        if 0.0 < contributions[place] < np.inf
    )
    event = _event(row.trace, task, speaker)
    return [msgspec.structs.replace(event, score=score, contributions=said, troubles=row.troubles)]


def not_judged(
    trace: Trace,
    task: Literal["fault", "risk"],
    speaker: Speaker,
    reason: str = "",
    troubles: tuple[str, ...] = (),
) -> list[Event]:
    """The answer to a trace about which nothing can be said.

    Args:
        trace: of a recipe and step that the model was learned on.
        task: of the model.
        speaker: the model.
        reason: why not; by default, because its module was not learned.
        troubles: of its sensors.
    """
    event = _event(trace, task, speaker)
    reason = reason or (
        f"{trace.key} was not among the modules that the model was learned on for recipe"
        f" {trace.recipe_id}, step {trace.step}; train it again with runs of it"
    )
    return [msgspec.structs.replace(event, reason=reason, troubles=troubles)]


def _event(trace: Trace, task: Literal["fault", "risk"], speaker: Speaker) -> TraceJudgement:
    return TraceJudgement(
        event_id=derived_id("trace-judgement", trace.event_id, task, *speaker[:2]),
        site=trace.site,
        time_ms=trace.time_ms,
        task=task,
        input_id=trace.event_id,
        lot_id=trace.lot_id,
        substrate_id=trace.substrate_id,
        slot=trace.slot,
        equipment_id=trace.equipment_id,
        module_id=trace.module_id,
        recipe_id=trace.recipe_id,
        step=trace.step,
        score=None,
        model_name=speaker.name,
        model_version=speaker.version,
        model_sha256=speaker.sha256,
        provider=speaker.provider,
    )
