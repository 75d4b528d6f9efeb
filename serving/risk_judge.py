"""Traces in, the risk of their wafers out, by a registered model.

A trace is compared with the runs and the failures that were recent when training ended. So the
answer follows from the trace and the model's file alone, and doing a part again says the same
again; what was learned since needs another version of the model.
"""

from collections.abc import Sequence

import numpy as np

from contracts.errors import ModelFileError
from contracts.events import Event, Trace
from contracts.trace_risk import (
    INPUTS,
    OUTPUTS,
    SHARED_SIGNALS,
    deviations_from,
    log_odds_of,
    means_of_run,
    read_risk,
)
from contracts.trace_threads import EVERYTHING
from serving.judgement import Known, judgement, known_run, not_judged
from serving.trace_judge import Answer, Row, Speaker, judge_all, stacked
from serving.trace_session import TraceSession

__all__ = ["RiskJudge"]


class RiskJudge:
    """Says how probable it is that the wafers of traces fail.

    Args:
        session: a model of risk.

    Raises:
        ModelFileError: it contradicts itself.
    """

    def __init__(self, session: TraceSession) -> None:
        state, width = read_risk(session.card), (len(session.card.variables),)
        if (state.middle.shape, state.spread.shape, state.rate.shape) != (width, width, (2,)):
            raise ModelFileError("the model's state does not fit its signals")
        self._session = session
        self._variables = session.card.variables
        # Older files say nothing of threads: all traces are theirs.
        self._threads = state.threads or (EVERYTHING,)
        self._middle = state.middle.numpy().astype(np.float64)
        self._spread = state.spread.numpy().astype(np.float64)
        rate = state.rate.numpy().astype(np.float64)
        self._prior = np.array(log_odds_of(rate), dtype=np.float32)

    @property
    def answers(self) -> tuple[str, ...]:
        """One thing."""
        return ("risk",)

    def judge(self, traces: Sequence[Trace], speaker: Speaker) -> list[Answer]:
        """Per trace the risk; nothing for steps that the model was not learned on."""
        return judge_all(
            traces,
            lambda trace: self._prepared(trace, speaker),
            lambda rows: self._asked(rows, speaker),
        )

    def _prepared(self, trace: Trace, speaker: Speaker) -> Row | list[Event]:
        known = known_run(trace, "risk", speaker, self._threads, self._variables)
        if not isinstance(known, Known):
            return known
        signals = means_of_run(known.samples.values)
        told = int((~np.isnan(signals)).sum())
        if told < SHARED_SIGNALS * len(signals):
            reason = f"it has {told} of the {len(signals)} signals that were learned from"
            return not_judged(trace, "risk", speaker, reason)
        deviations = deviations_from(signals, self._middle, self._spread).astype(np.float32)
        missing = tuple(f"missing: {name}" for name in known.samples.missing)
        return Row(trace, (deviations, self._prior), known.thread, troubles=missing)

    def _asked(self, rows: Sequence[Row], speaker: Speaker) -> list[Answer]:
        outputs = self._session.run(stacked(INPUTS, rows))
        told = zip(rows, *(outputs[name] for name in OUTPUTS), strict=True)
        return [
            judgement(row, "risk", speaker, float(probability), contributions, self._variables)
            for row, probability, contributions in told
        ]
