"""Traces in, virtual metrology out, by a registered model.

Each answer follows from its trace and the model's file alone, so doing a part again says the same
again. What late measurements would put right (`contracts.late_correction`) needs memory: the
controller has its own, and corrects there.
"""

from collections.abc import Sequence

import numpy as np

from contracts.errors import ModelFileError, TraceError
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
from contracts.trace_threads import find_thread
from serving.trace_input import samples_of
from serving.trace_judge import Answer, Row, Speaker, judge_all, stacked
from serving.trace_session import TraceSession

__all__ = ["MetrologyJudge"]


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
        widths = {len(thread.spec.variables) for thread in detail.threads}
        golden = card.golden_inputs.get(INPUT_NAMES[0])
        shape = () if golden is None else golden.shape
        if widths != {len(card.variables)} or shape[1:] != (detail.width(),):
            raise ModelFileError("the model's features do not fit its variables")
        if missing := set(OUTPUT_NAMES) - set(card.golden_outputs):
            raise ModelFileError(f"the model does not return {', '.join(sorted(missing))}")
        self._session, self._detail = session, detail
        self._threads = tuple(thread.name for thread in detail.threads)

    @property
    def answers(self) -> tuple[str, ...]:
        """The parameter it foretells."""
        return (f"metrology of {self._detail.parameter}",)

    def judge(self, traces: Sequence[Trace], speaker: Speaker) -> list[Answer]:
        """Per trace what would be measured; nothing for steps that the model was not learned on."""
        return judge_all(traces, self._prepared, lambda rows: self._asked(rows, speaker))

    def _prepared(self, trace: Trace) -> Row | list[Event]:
        variables = self._session.card.variables
        found = find_thread(trace, self._threads, variables)
        if found is None:
            return []
        samples = samples_of(trace, variables)
        features = features_of_run(
            self._detail, found.thread, samples.values, samples.times_s, samples.recipe_steps
        )
        inputs = (
            features,
            np.array([found.thread], dtype=np.float32),
            np.array([ALL_KNOWN], dtype=np.float32),
        )
        by_step = bool(self._detail.threads[found.thread].spec.steps)
        uncut = by_step and samples.recipe_steps is None
        doubtful = not found.learned or bool(samples.missing) or uncut
        return Row(trace, inputs, found.thread, doubtful)

    def _asked(self, rows: Sequence[Row], speaker: Speaker) -> list[Answer]:
        outputs = self._session.run(stacked(INPUT_NAMES, rows))
        told = zip(rows, *(outputs[name] for name in OUTPUT_NAMES), strict=True)
        return [
            self._answer(row, float(predicted), float(half_width), float(novelty), speaker)
            for row, predicted, half_width, novelty in told
        ]

    def _answer(
        self, row: Row, predicted: float, half_width: float, novelty: float, speaker: Speaker
    ) -> Answer:
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
