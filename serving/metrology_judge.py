"""Traces in, virtual metrology out, by a registered model.

Each answer follows from its trace and the model's file alone, so doing a part again says the same
again. What late measurements would put right (`contracts.late_correction`) needs memory: the
controller has its own, and corrects there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError, ModelFileError, TraceError
from contracts.events import Event, Trace, VirtualMetrology
from contracts.ids import derived_id
from contracts.late_correction import COVERAGE
from contracts.trace_metrology import (
    ALL_KNOWN,
    INPUT_NAMES,
    OUTPUT_NAMES,
    decode_detail,
    features_of_run,
)
from contracts.trace_threads import same_step, thread_names
from serving.trace_input import samples_of
from serving.trace_judge import Answer, Speaker
from serving.trace_session import TraceSession

__all__ = ["MetrologyJudge"]

# As many rows as the process's (N, runs, signals) differences may have in memory at once.
_MAX_BATCH = 64


class _Row(NamedTuple):
    """A trace that can be judged, at its place among all of them."""

    place: int
    trace: Trace
    thread: int
    doubtful: bool
    features: npt.NDArray[np.float32]


class MetrologyJudge:
    """Foretells what would be measured on the wafers of traces.

    Args:
        session: a model of virtual metrology.

    Raises:
        ModelFileError: it needs what no trace on the log has, or contradicts itself.
    """

    def __init__(self, session: TraceSession) -> None:
        card, detail = session.card, decode_detail(session.card)
        if not detail.parameter:
            raise ModelFileError(
                "the model does not say what it foretells; train it on traces with a column"
                " context_parameter, such as 'fabpilot export traces' writes"
            )
        if any(thread.spec.steps for thread in detail.threads):
            raise ModelFileError(
                "the model needs the recipe step of each sample, which traces on the log do not"
                " have; train it on traces without the column 'step'"
            )
        widths = {len(thread.spec.variables) for thread in detail.threads}
        shape = (
            card.golden_inputs[INPUT_NAMES[0]].shape if INPUT_NAMES[0] in card.golden_inputs else ()
        )
        if widths != {len(card.variables)} or shape[1:] != (detail.width(),):
            raise ModelFileError("the model's features do not fit its variables")
        if missing := set(OUTPUT_NAMES) - set(card.golden_outputs):
            raise ModelFileError(f"the model does not return {', '.join(sorted(missing))}")
        self._session, self._detail = session, detail

    @property
    def answers(self) -> tuple[str, ...]:
        """The parameter it foretells."""
        return (f"metrology of {self._detail.parameter}",)

    def judge(self, traces: Sequence[Trace], speaker: Speaker) -> list[Answer]:
        """Per trace what would be measured; nothing for steps that the model was not learned on."""
        answers: list[Answer] = [[] for _ in traces]
        rows: list[_Row] = []
        for place, trace in enumerate(traces):
            try:
                row = self._row(place, trace)
            except DataError as error:
                answers[place] = error
            else:
                rows += [row] if row is not None else []
        for first in range(0, len(rows), _MAX_BATCH):
            part = rows[first : first + _MAX_BATCH]
            inputs = (
                np.stack([row.features for row in part]),
                np.array([[row.thread] for row in part], dtype=np.float32),
                np.full((len(part), 1), ALL_KNOWN, dtype=np.float32),
            )
            outputs = self._session.run(dict(zip(INPUT_NAMES, inputs, strict=True)))
            told = zip(part, *(outputs[name] for name in OUTPUT_NAMES), strict=True)
            for row, predicted, half_width, novelty in told:
                answers[row.place] = self._answer(
                    row, float(predicted), float(half_width), float(novelty), speaker
                )
        return answers

    def _row(self, place: int, trace: Trace) -> _Row | None:
        found = self._thread(trace)
        if found is None:
            return None
        thread, strange = found
        samples = samples_of(trace, self._session.card.variables)
        features = features_of_run(self._detail, thread, samples.values, samples.times_s, None)
        return _Row(place, trace, thread, strange or bool(samples.missing), features)

    def _thread(self, trace: Trace) -> tuple[int, bool] | None:
        """The trace's thread, and whether it is that of another module; None if there is none."""
        for name in thread_names(trace):
            if (index := self._detail.index(name)) is not None:
                return index, False
        for index, thread in enumerate(self._detail.threads):
            if same_step(trace, thread.name):
                return index, True
        return None

    def _answer(
        self, row: _Row, predicted: float, half_width: float, novelty: float, speaker: Speaker
    ) -> list[Event] | DataError:
        trace = row.trace
        if not np.all(np.isfinite((predicted, half_width, novelty))):
            return TraceError(
                f"trace {trace.event_id} of {trace.key}: the model gives no number for it"
            )
        parameter = self._detail.parameter
        return [
            VirtualMetrology(
                event_id=derived_id(
                    "virtual-metrology", trace.event_id, parameter, speaker.name, speaker.version
                ),
                site=trace.site,
                time_ms=trace.time_ms,
                lot_id=trace.lot_id,
                substrate_id=trace.substrate_id,
                slot=trace.slot,
                equipment_id=trace.equipment_id,
                module_id=trace.module_id,
                recipe_id=trace.recipe_id,
                step=trace.step,
                parameter=parameter,
                predicted=predicted,
                low=predicted - half_width,
                high=predicted + half_width,
                coverage=COVERAGE,
                unlike=row.doubtful or novelty > 1.0,
                learned=self._detail.threads[row.thread].learned,
                input_id=trace.event_id,
                model_name=speaker.name,
                model_version=speaker.version,
                model_sha256=speaker.sha256,
                provider=speaker.provider,
            )
        ]
