"""Traces in, scores of faults out, by a registered model.

A trace is compared with where its thread stood when training ended. So the answer follows from the
trace and the model's file alone, and doing a part again says the same again; but what drifts since
then looks more and more like a fault, until the model is trained again. Who follows a module from
run to run is the controller (`control.faults`).
"""

from collections.abc import Sequence

import numpy as np

from contracts.errors import ModelFileError
from contracts.events import Event, Trace
from contracts.trace_fault import (
    INPUT,
    KNOWN_SHARE,
    FaultDetail,
    deviations_of_run,
    variable_names,
)
from contracts.trace_steps import ONE_STEP, Trouble
from serving.judgement import Known, judgement, known_run, not_judged
from serving.trace_judge import Answer, Row, Speaker, judge_all, stacked
from serving.trace_session import TraceSession

__all__ = ["FaultJudge"]


class FaultJudge:
    """Says how far traces are from normal runs of their thread.

    Args:
        session: a model of faults.

    Raises:
        ModelFileError: it knows no thread, or contradicts itself.
    """

    def __init__(self, session: TraceSession) -> None:
        detail = FaultDetail.read(session.card.detail)
        if not detail.references:
            raise ModelFileError(
                "the model is of a version that could not be served on the log; train it again"
            )
        self._session, self._detail = session, detail
        self._threads = tuple(reference.thread for reference in detail.references)
        self._names = variable_names(detail.layout)

    @property
    def answers(self) -> tuple[str, ...]:
        """One thing."""
        return ("faults",)

    def judge(self, traces: Sequence[Trace], speaker: Speaker) -> list[Answer]:
        """Per trace its score; nothing for steps that the model was not learned on."""
        return judge_all(
            traces,
            lambda trace: self._prepared(trace, speaker),
            lambda rows: self._asked(rows, speaker),
        )

    def _prepared(self, trace: Trace, speaker: Speaker) -> Row | list[Event]:
        variables = self._detail.layout.variables
        known = known_run(trace, "fault", speaker, self._threads, variables)
        if not isinstance(known, Known):
            return known
        samples = known.samples
        if self._detail.layout.by_step and samples.recipe_steps is None:
            reason = "the model needs the recipe step of each sample, and the trace does not say it"
            return not_judged(trace, "fault", speaker, reason)
        reference = self._detail.references[known.thread]
        deviations, troubles = deviations_of_run(
            self._detail, reference, samples.values, samples.times_s, samples.recipe_steps
        )
        said = tuple(_said(trouble) for trouble in troubles)
        if np.mean(~np.isnan(deviations)) < KNOWN_SHARE:
            reason = f"too little of its {len(samples.values)} samples can be judged"
            return not_judged(trace, "fault", speaker, reason, said)
        return Row(trace, (deviations,), known.thread, troubles=said)

    def _asked(self, rows: Sequence[Row], speaker: Speaker) -> list[Answer]:
        outputs = self._session.run(stacked((INPUT,), rows))
        told = zip(rows, outputs["score"], outputs["contributions"], strict=True)
        return [
            judgement(row, "fault", speaker, float(score), contributions, self._names)
            for row, score, contributions in told
        ]


def _said(trouble: Trouble) -> str:
    """'stuck: pressure_pa in step 2', as far as it applies."""
    what = f"{trouble.kind}: {trouble.variable}" if trouble.variable else trouble.kind
    return what if trouble.step == ONE_STEP else f"{what} in step {trouble.step}"
