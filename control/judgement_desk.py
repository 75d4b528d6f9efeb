"""Alerts on what served models of faults say: one an episode, and never an action on the process.

A score names no failure mode, so the most that is proposed is to measure a lot. Where the module
has an alert already, what the model says becomes part of its evidence; where the controller's own
charts or the wafer maps speak later, that alert goes on as theirs (`control.alert_book`).
"""

from contracts.events import Cause, Event, TraceJudgement
from control.alert_book import AlertBook
from control.alerts import SHOWN, at_risk
from control.diagnosis import OTHER
from control.judgement_watch import JudgementWatch, Spoken, evidence
from control.lineage import Lineage
from control.policy import Policy
from control.state import AlertRecord, ControlState
from control.suspects import UNLISTED

__all__ = ["JudgementDesk"]

# Alerts of which served models alone speak; so they never take the room of the others.
MAX_JUDGED = 50
_HOUR_MS = 3_600_000


class JudgementDesk:
    """Opens, joins and closes alerts by judgements.

    Args:
        policy: how long it takes to be normal again.
        state: with the charts and the alerts.
        lineage: lots at risk.
        book: the open alerts.
    """

    def __init__(
        self, policy: Policy, state: ControlState, lineage: Lineage, book: AlertBook
    ) -> None:
        self._policy = policy
        self._state = state
        self._lineage = lineage
        self._book = book
        self._watch = JudgementWatch(policy, state)

    def judged(self, event: TraceJudgement, score: float) -> list[Event]:
        """A trace was judged.

        Args:
            event: of a task 'fault', from a module that is known.
            score: its score.

        Returns:
            The point of its chart and what follows from it; nothing if it was charted before.
        """
        spoken = self._watch.judged(event, score)
        if spoken is None:
            return []
        alert = self._book.judged_on(event.key)
        if alert is not None:
            alert.quiet_traces = 0 if spoken.hit else alert.quiet_traces + 1
            alert.examined_count += 1
        if not spoken.hit:
            return [spoken.point, *self._end_if_quiet(event.key)]
        out: list[Event] = [spoken.point]
        standing = self._book.alert_on(event.key)
        if standing is not None and spoken.signal:
            return out + self._join(standing, spoken)
        if alert is not None:
            return out + self._goes_on(alert, event, spoken)
        return out + (self._open(event, spoken) if spoken.begins and standing is None else [])

    def removed(self, module: str, time_ms: int, *, back: bool) -> None:
        """A module was inhibited, or is `back` from being down: what it makes now is new."""
        alert = self._book.judged_on(module)
        if alert is not None:
            alert.until_ms = max(alert.until_ms, time_ms)
            alert.quiet_traces = 0
        if back:
            self._watch.start_again(module)

    def _open(self, event: TraceJudgement, spoken: Spoken) -> list[Event]:
        judged = sum(alert.judged_only for alert in self._state.alerts.values())
        if judged >= MAX_JUDGED or self._book.full():
            return []
        chart = spoken.chart
        trigger = f"{event.key}:{event.event_id}"
        alert = self._book.new_alert("fault", "", trigger, chart.since_ms)
        alert.module, alert.recipe, alert.step = event.key, event.recipe_id, event.step
        alert.judged_only, alert.confidence = True, UNLISTED
        alert.affected = list(chart.substrates)
        alert.affected_count, alert.examined_count = chart.hits, chart.runs
        self._say(alert, event, spoken)
        return self._book.tell(alert)

    def _goes_on(self, alert: AlertRecord, event: TraceJudgement, spoken: Spoken) -> list[Event]:
        """One more run beyond the limit, while an alert stands that rests on nothing else."""
        alert.affected = [*alert.affected, event.substrate_id][-SHOWN:]
        alert.affected_count += 1
        if not spoken.signal:
            return []
        self._say(alert, event, spoken)
        if alert.until_ms >= 0:
            alert.until_ms = -1  # what was done did not help
            return self._book.tell(alert)
        return self._book.tell_if_grown(alert)

    def _say(self, alert: AlertRecord, event: TraceJudgement, spoken: Spoken) -> None:
        alert.judged = evidence(spoken.chart, spoken.model)
        # What an action has to rest on: runs beyond the limit, and how fresh they are.
        alert.profile_wafers = alert.affected_count
        alert.evidence_ms = max(alert.evidence_ms, min(event.time_ms, self._state.now_ms))
        alert.causes = (
            Cause(module=alert.module, mode=OTHER, probability=UNLISTED, evidence=alert.judged),
        )

    def _join(self, standing: AlertRecord, spoken: Spoken) -> list[Event]:
        """It is the same module's trouble: told once, and brought up to date with its revisions."""
        news = not standing.judged
        standing.judged = evidence(spoken.chart, spoken.model)
        if not news or standing.shelved_until_ms > self._state.now_ms:
            return []
        lots, _ = at_risk(standing, self._lineage)
        return [self._book.revision(standing, lots)]

    def _end_if_quiet(self, module: str) -> list[Event]:
        """Back for long enough: every chart that signalled, and all of them together."""
        clean = self._policy.detection.clean_wafers
        forgotten_ms = int(self._policy.limits.max_evidence_age_h * _HOUR_MS)
        told = self._watch.of(module, self._state.now_ms, forgotten_ms)
        if any(chart.quiet < clean for chart in told):
            return []
        alert, standing = self._book.judged_on(module), self._book.alert_on(module)
        if alert is not None and alert.quiet_traces < clean:
            return []
        if told:
            self._watch.start_again(module)
        if standing is not None:
            standing.judged = ()
        return self._book.close(alert, self._state.now_ms) if alert is not None else []
