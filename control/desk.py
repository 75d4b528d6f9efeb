"""The alert desk: one alert per cause, opened, joined, revised, closed; and what people decide."""

from collections import Counter
from itertools import islice

from contracts.events import (
    Action,
    AlertDecision,
    AutomationSwitch,
    Event,
    Trace,
    TraceJudgement,
)
from control.alert_book import AlertBook
from control.alerts import SHOWN, count_wafers
from control.causes import Causes
from control.charts import Verdict
from control.effects import Effects
from control.excursion import Finding, at_most, find_excursion
from control.fault_desk import FaultDesk
from control.faults import FaultWatch
from control.judgement_desk import JudgementDesk
from control.lineage import Lineage
from control.metrology_watch import MetrologyShift
from control.orders import Orders
from control.policy import Policy
from control.state import AlertRecord, ControlState
from control.suspects import (
    examine,
    start_anew,
)

__all__ = ["Desk"]

# Bad wafers from which an excursion is told though no module can be named.
TELL_ANYWAY = 20
# Posterior probability from which a module is named.
NAMED = 0.95
# Latest tested wafers among which an unexplained pattern must be rare (one in ten) again.
RARE_AMONG = 100
# An alert is over when the latest wafers, of at most so many, would be this unlikely otherwise.
CLEAN_AMONG, STILL_GOING_ON = 60, 0.001
# Quiet traces after which a shift that was seen is over.
QUIET_AGAIN = 3


class Desk:
    """Opens, revises and closes alerts.

    Args:
        policy: how sure to be.
        state: with the alerts.
        lineage: which wafer went where.
        causes: which wafers are explained.
        faults: the trace charts, to start again after a repair.
    """

    def __init__(
        self,
        policy: Policy,
        state: ControlState,
        lineage: Lineage,
        causes: Causes,
        faults: FaultWatch,
    ) -> None:
        self._policy = policy
        self._state = state
        self._lineage = lineage
        self._causes = causes
        self._faults = faults
        self._orders = self.orders = Orders(policy, state, lineage)
        self._effects = Effects(policy, state, lineage)
        self._book = AlertBook(policy, state, lineage, causes, faults, self._orders)
        self._fault_desk = FaultDesk(
            policy, state, lineage, self._book, self._orders, self._effects, faults
        )
        self._judgement_desk = JudgementDesk(policy, state, lineage, self._book)

    # -- evidence -----------------------------------------------------------------------------

    def traced(self, event: Trace, verdict: Verdict) -> list[Event]:
        """A trace was judged."""
        return self._fault_desk.traced(event, verdict)

    def warming(self, event: Trace, verdict: Verdict | None) -> list[Event] | None:
        """A trace of a module without a past of its own; see `FaultDesk.warming`."""
        return self._fault_desk.warming(event, verdict)

    def measured(self, found: MetrologyShift) -> list[Event]:
        """A metrology chart went out of control, or came back."""
        return self._fault_desk.measured(found, self._faults.levels(found.module))

    def judged(self, event: TraceJudgement, score: float) -> list[Event]:
        """A served model judged a trace; see `JudgementDesk.judged`."""
        return self._judgement_desk.judged(event, score)

    def tested(self, substrate_id: str) -> list[Event]:
        """A wafer was tested: count it, look for an excursion, and see what is over."""
        wafer = self._lineage.wafer(substrate_id)
        if wafer is None:
            return []
        route = self._lineage.modules_of(substrate_id)
        out: list[Event] = (
            self._fault_desk.judge_effects(tested=True) if self._state.effects else []
        )
        for alert in list(self._state.alerts.values()):
            if alert.module in route and alert.kind == "pattern":
                count_wafers(alert, self._lineage)
                out += self._book.tell_if_grown(alert)
                if alert.pattern not in wafer.patterns:
                    out += self._close_if_clean(alert)
            elif _is_doubtful(alert) and alert.pattern not in wafer.patterns:
                out += self._close_if_rare(alert)
        for pattern in wafer.patterns:
            out += self._look_for(substrate_id, pattern)
        return out

    def _look_for(self, substrate_id: str, pattern: str) -> list[Event]:
        explained = self._causes.explained(pattern)
        open_on = {
            a.module: a for a in self._state.alerts.values() if a.module and not a.judged_only
        }
        if any(
            name in open_on
            and open_on[name].kind == "pattern"
            and open_on[name].confidence >= NAMED
            for name in explained.get(substrate_id, ())
        ):
            return []  # counted already by an alert that is sure of its suspect
        faulty = {name for name, alert in open_on.items() if alert.shifts}
        finding = find_excursion(
            self._lineage,
            substrate_id,
            pattern,
            explained=explained,
            fresh_ms=self._causes.fresh_ms(),
            faulty=faulty,
            detection=self._policy.detection,
        )
        if finding is None:
            return []
        known = open_on.get(finding.module)
        if known is not None:
            return self._join(known, pattern, finding)
        shared = self._book.shared(pattern, finding.module, finding.since_ms)
        best = next((c for c in shared if c.factor == "module"), None)
        named = (
            finding.confidence >= NAMED
            and best is not None
            and best.value == finding.module
            and best.p_value <= self._policy.detection.max_corrected_p
        )
        if not named and len(finding.bad) < TELL_ANYWAY:
            return []
        doubtful = next(
            (a for a in self._state.alerts.values() if _is_doubtful(a) and a.pattern == pattern),
            None,
        )
        if not named and doubtful is not None:
            return self._doubt_grows(doubtful, finding)
        if doubtful is None and self._book.full():
            return []
        alert = doubtful or self._book.new_alert("pattern", pattern, substrate_id, finding.since_ms)
        alert.commonalities = shared
        alert.baseline_rate = finding.baseline_rate
        if named:
            self._blame(alert, finding)
        else:
            self._doubt(alert, finding)
        return self._book.tell(alert)

    # -- alerts -------------------------------------------------------------------------------

    def _blame(self, alert: AlertRecord, finding: Finding) -> None:
        """Name the culprit."""
        alert.module = finding.module
        alert.since_ms = min(alert.since_ms, finding.since_ms)
        alert.confidence = _rounded(finding.confidence)
        where: Counter[tuple[str, str]] = Counter()
        for name in finding.bad:
            wafer = self._lineage.wafer(name)
            for visit in wafer.visits if wafer else ():
                place = self._lineage.place(visit)
                if place.module == finding.module:
                    where[place.step, place.recipe_id] += 1
        # Half the rate of those it was found by (chance made them many), one good and bad added.
        alert.rate = 0.5 * (len(finding.bad) + 1) / (len(finding.bad) + len(finding.good) + 2)
        if where:
            alert.step, alert.recipe = max(where, key=lambda key: (where[key], key))
        alert.affected_count = alert.examined_count = alert.said_count = 0
        count_wafers(alert, self._lineage)
        alert.evidence_ms = self._state.now_ms
        examine(alert, self._state, self._policy)
        self._causes.refresh()

    def _doubt(self, alert: AlertRecord, finding: Finding) -> None:
        alert.affected = list(finding.bad[-SHOWN:])
        alert.affected_count = len(finding.bad)
        alert.examined_count = len(finding.bad) + len(finding.good)

    def _doubt_grows(self, alert: AlertRecord, finding: Finding) -> list[Event]:
        if len(finding.bad) > alert.affected_count:
            self._doubt(alert, finding)
        return self._book.tell_if_grown(alert)

    def _join(self, alert: AlertRecord, pattern: str, finding: Finding) -> list[Event]:
        """The pattern belongs to an alert that is open on the module."""
        if alert.until_ms >= 0:
            self._book.relapse(alert)
        elif alert.kind == "pattern":
            # Told with the next revision: more wafers make it surer, and rarely less sure.
            alert.confidence = max(alert.confidence, _rounded(finding.confidence))
            alert.evidence_ms = self._state.now_ms
            return []
        opened_by_traces = alert.kind == "fault"
        alert.kind, alert.pattern = "pattern", pattern
        alert.baseline_rate = finding.baseline_rate
        if opened_by_traces:
            self._blame(alert, finding)
        count_wafers(alert, self._lineage)
        alert.evidence_ms = self._state.now_ms
        examine(alert, self._state, self._policy)
        return self._book.tell(alert)

    def _close_if_clean(self, alert: AlertRecord) -> list[Event]:
        """Back to normal: so few bad among the latest that the excursion cannot be going on."""
        if alert.shifts and alert.quiet_traces < QUIET_AGAIN:
            return []
        start = max(alert.since_ms, alert.until_ms)
        latest = [
            entry
            for entry in self._lineage.through(alert.module)[-CLEAN_AMONG:]
            if entry[0] > start and self._lineage.first_at(entry[1], alert.module) > start
        ]
        bad = 0
        for number, (_, name) in enumerate(reversed(latest), 1):
            wafer = self._lineage.wafer(name)
            bad += wafer is not None and alert.pattern in wafer.patterns
            if number >= self._policy.detection.clean_wafers and (
                at_most(bad, number, alert.rate) <= STILL_GOING_ON
            ):
                return self._book.close(alert, latest[-1][0])
        return []

    def _close_if_rare(self, alert: AlertRecord) -> list[Event]:
        """An alert without a suspect ends when its pattern is rare, or explained, again."""
        explained = self._causes.explained(alert.pattern)
        latest = list(islice(reversed(self._lineage.tested), RARE_AMONG))
        bad = sum(
            alert.pattern in wafer.patterns
            for name in latest
            if name not in explained and (wafer := self._lineage.wafer(name)) is not None
        )
        if len(latest) < RARE_AMONG or bad > 0.1 * RARE_AMONG:
            return []
        return self._book.close(alert, self._state.now_ms)

    # -- people and the fab -------------------------------------------------------------------

    def removed(self, module: str, time_ms: int) -> None:
        """A module was inhibited or set right: what it makes now is new."""
        self._judgement_desk.removed(module, time_ms, back=False)
        self._new_from(module, time_ms)

    def _new_from(self, module: str, time_ms: int) -> None:
        alert = self._book.alert_on(module)
        if alert is not None:
            alert.until_ms = max(alert.until_ms, time_ms)
            alert.quiet_traces = 0
            start_anew(alert)
            self._causes.refresh()

    def returned(self, module: str, time_ms: int, *, broke: bool) -> None:
        """A module is back from being down; `broke`: from a breakdown, not from maintenance."""
        self._effects.returned(module, time_ms)
        self._judgement_desk.removed(module, time_ms, back=True)
        alert = self._book.alert_on(module)
        if broke and alert is not None and self._fault_desk.goes_on(alert):
            return
        self._new_from(module, time_ms)

    def later(self) -> list[Event]:
        """What is due by now without anything having happened."""
        return list(self._orders.due())

    def switch(self, event: AutomationSwitch) -> list[Event]:
        """A person turned automatic approvals on or off."""
        self._orders.switch(event)
        return []

    def heard(self, event: Action) -> list[Event]:
        """A stage of an action became known."""
        record = self._orders.heard(event)
        if record is None:
            return []
        alert = self._state.alerts.get(record.alert_id)
        refused = record.status in ("rejected", "failed")
        if refused and alert is not None and record.kind not in alert.refused:
            alert.refused.append(record.kind)
        if record.status == "applied":
            if alert is not None:
                self._effects.begin(event.action_id, record, alert)
            if record.kind == "inhibit_module" and record.module in self._state.modules:
                self._state.modules[record.module].inhibited = True
                self.removed(record.module, self._state.now_ms)
                # The cause is contained; now the module is to be cured.
                return self._orders.propose(alert) if alert is not None else []
            elif record.kind == "adjust_recipe":
                self._faults.relearn(record.module, record.recipe_id)
                self.removed(record.module, self._state.now_ms)
        return []

    def decided(self, event: AlertDecision) -> list[Event]:
        """A person decided about an alert."""
        alert = self._state.alerts.get(event.alert_id)
        if alert is None:
            return []
        if event.decision == "resolved":
            told = self._orders.withdraw_all(alert.alert_id, f"withdrawn: resolved by {event.by}")
            until_ms = alert.until_ms if alert.until_ms >= 0 else self._state.now_ms
            self._book.end(alert, until_ms)
            return told
        if event.decision == "shelved":
            # A person's clock need not be the fab's: only how long it lasts is taken from it.
            lasts_ms = min(max(0, event.until_ms - event.time_ms), 2**40)
            alert.shelved_until_ms = self._state.now_ms + lasts_ms
        elif event.decision == "reopened":
            alert.shelved_until_ms = -1
        return []


def _is_doubtful(alert: AlertRecord) -> bool:
    """Whether it is about a pattern without a suspect."""
    return alert.kind == "pattern" and not alert.module


def _rounded(confidence: float) -> float:
    """Never quite certain, and short enough for people."""
    return round(min(0.99, confidence), 4)
