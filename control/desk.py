"""The alert desk: one alert per cause, opened, joined, revised, closed; and what people decide."""

from collections import Counter
from itertools import islice

import msgspec

from contracts.events import (
    Action,
    ActionEffect,
    AlertDecision,
    AutomationSwitch,
    Commonality,
    Event,
    Trace,
    VariableShift,
)
from contracts.ids import derived_id
from control.alerts import SHOWN, alert_event, at_risk, count_wafers, grown, severity
from control.causes import Causes
from control.charts import Verdict
from control.commonality import PlaceKey, commonalities
from control.effects import Effects
from control.excursion import Finding, at_most, find_excursion, places_of
from control.faults import FaultWatch
from control.lineage import Lineage
from control.orders import Orders
from control.policy import Policy
from control.state import AlertRecord, ControlState, EffectRecord
from control.suspects import begin, examine, follow, named_mode, start_anew

__all__ = ["Desk"]

# Bad wafers from which an excursion is told though no module can be named.
TELL_ANYWAY = 20
# Posterior probability from which a module is named.
NAMED = 0.95
# Tested wafers among which bad and good ones are compared.
COMPARED = 500
# Latest tested wafers among which an unexplained pattern must be rare (one in ten) again.
RARE_AMONG = 100
# An alert is over when the latest wafers, of at most so many, would be this unlikely otherwise.
CLEAN_AMONG, STILL_GOING_ON = 60, 0.001
# Quiet traces after which a shift that was seen is over.
QUIET_AGAIN = 3
# Largest shift of a suspect, in spreads, that is no fault any more.
CALM = 1.5
# A module without a past of its own is named only for a failure mode that is this probable, and
# traces after a repair on which a fault must be seen again.
SURE, SEEN_AGAIN = 0.9, 3
MAX_ALERTS = 100
MAX_SHIFTS = 10


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
        self._orders = Orders(policy, state, lineage)
        self._effects = Effects(policy, state, lineage)

    # -- evidence -----------------------------------------------------------------------------

    def traced(self, event: Trace, verdict: Verdict) -> list[Event]:
        """A trace was judged."""
        out: list[Event] = []
        if self._state.effects:
            self._effects.follow(event, verdict)
            out += self._judge_effects(tested=False)
        alert = self._alert_on(event.key)
        if alert is None:
            return out + (self._open_fault(event, verdict) if verdict.shifts else [])
        mine = alert.kind == "fault" and (alert.until_ms < 0 or event.time_ms <= alert.until_ms)
        if mine:
            alert.affected = [*alert.affected, event.substrate_id][-SHOWN:]
            alert.affected_count += 1
            alert.examined_count += 1
        if alert.until_ms < event.time_ms:
            follow(alert, event, verdict)
        calm = verdict.quiet or (
            not verdict.shifts and all(abs(z) < CALM for z in alert.profile.values())
        )
        if verdict.shifts:
            first = not alert.shifts
            kept = [s for s in alert.shifts if s.recipe_id != event.recipe_id]
            joined = sorted([*verdict.shifts, *kept], key=lambda s: (-abs(s.z), s.variable))
            alert.quiet_traces = 0
            if 0 <= alert.until_ms < event.time_ms:
                return out + self._seen_again(alert, tuple(joined[:MAX_SHIFTS]))
            alert.shifts = tuple(joined[:MAX_SHIFTS])
            examine(alert, self._state, self._policy)
            if first:
                return out + self._tell(alert)
        elif calm:
            alert.quiet_traces += 1
            if alert.kind == "fault" and alert.quiet_traces >= self._policy.detection.clean_wafers:
                return out + self._close(alert, self._state.now_ms)
        if alert.until_ms >= 0:
            return out + (self._tell_if_grown(alert) if mine else [])
        examine(alert, self._state, self._policy)
        mode = named_mode(alert)
        if mode and mode != alert.said_mode:
            return out + self._tell(alert)
        if mine and grown(alert):
            return out + self._tell(alert)
        return out + self._act_if_due(alert)

    def warming(self, event: Trace, verdict: Verdict | None) -> list[Event] | None:
        """A module without a past of its own: `verdict` is what the others say of it, if anything.

        Returns:
            None if what it shows may be learnt as its normal; else what follows.
        """
        alert = self._alert_on(event.key)
        if alert is not None:
            # What it learns now would be the fault.
            sick = alert.until_ms < 0 and bool(named_mode(alert))
            return [] if sick else None
        if verdict is None:
            return None
        found = self._suspicion(event, verdict)
        if not named_mode(found) or found.confidence < SURE:
            return None
        return self._open_fault(event, verdict)

    def _seen_again(self, alert: AlertRecord, shifts: tuple[VariableShift, ...]) -> list[Event]:
        """Out of limits after something was done: is it the fault, or what the repair left?"""
        if any(record.alert_id == alert.alert_id for record in self._state.effects.values()):
            return []  # the effect is being judged, with the same traces
        if alert.profile_wafers < SEEN_AGAIN:
            return []
        before = alert.causes, alert.confidence, alert.grown
        examine(alert, self._state, self._policy)
        if alert.kind == "fault" and alert.confidence < 0.5:
            alert.causes, alert.confidence, alert.grown = before
            return []
        alert.shifts = shifts
        self._relapse(alert)
        return self._tell(alert)

    def _act_if_due(self, alert: AlertRecord) -> list[Event]:
        """An action, once the evidence is good enough, with the revision that has it."""
        if alert.kind != "fault" or not self._orders.may_propose(alert):
            return []
        if alert.shelved_until_ms > self._state.now_ms:
            return []
        lots, wafers = at_risk(alert, self._lineage)
        alert.severity = severity(alert, self._state, self._lineage, self._policy, wafers)
        actions = self._orders.propose(alert)
        return [self._revision(alert, lots), *actions] if actions else []

    def _judge_effects(self, *, tested: bool) -> list[Event]:
        """What applied actions did, and what follows from it."""
        out: list[Event] = []
        for effect, record in self._effects.verdicts(tested=tested):
            alert = self._state.alerts.get(record.alert_id)
            if effect.verdict == "absent":
                out += self._escalate(effect, record, alert)
                continue
            out.append(effect)
            came = effect.verdict == "came" and record.kind != "inhibit_module"
            if came and alert is not None and alert.kind == "fault" and alert.until_ms >= 0:
                out += self._close(alert, self._state.now_ms)
        return out

    def _escalate(
        self, effect: ActionEffect, record: EffectRecord, alert: AlertRecord | None
    ) -> list[Event]:
        """An action did not help: it is taken back where that can be, and people are asked."""
        action = self._state.actions.get(effect.action_id)
        undone = self._orders.undo(action, alert) if action is not None and alert else []
        consequence = "undone" if undone else "escalated"
        out: list[Event] = [msgspec.structs.replace(effect, consequence=consequence), *undone]
        if alert is not None:
            self._relapse(alert)
            if alert.profile_wafers:
                examine(alert, self._state, self._policy)
            out += self._tell(alert)
        return out

    def tested(self, substrate_id: str) -> list[Event]:
        """A wafer was tested: count it, look for an excursion, and see what is over."""
        wafer = self._lineage.wafer(substrate_id)
        if wafer is None:
            return []
        route = self._lineage.modules_of(substrate_id)
        out: list[Event] = self._judge_effects(tested=True) if self._state.effects else []
        for alert in list(self._state.alerts.values()):
            if alert.module in route and alert.kind == "pattern":
                count_wafers(alert, self._lineage)
                out += self._tell_if_grown(alert)
                if alert.pattern not in wafer.patterns:
                    out += self._close_if_clean(alert)
            elif _is_doubtful(alert) and alert.pattern not in wafer.patterns:
                out += self._close_if_rare(alert)
        for pattern in wafer.patterns:
            out += self._look_for(substrate_id, pattern)
        return out

    def _look_for(self, substrate_id: str, pattern: str) -> list[Event]:
        explained = self._causes.explained(pattern)
        open_on = {a.module: a for a in self._state.alerts.values() if a.module}
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
        shared = self._shared(pattern, finding.module, finding.since_ms)
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
        if doubtful is None and self._full():
            return []
        alert = doubtful or self._new_alert("pattern", pattern, substrate_id, finding.since_ms)
        alert.commonalities = shared
        alert.baseline_rate = finding.baseline_rate
        if named:
            self._blame(alert, finding)
        else:
            self._doubt(alert, finding)
        return self._tell(alert)

    def _shared(self, pattern: str, suspect: str, since_ms: int) -> tuple[Commonality, ...]:
        """What the bad wafers share, among those that did the suspect's step since it began.

        Earlier wafers would be held in the suspect's favour; wafers that another cause explains
        say nothing about this one.
        """
        explained = self._causes.explained(pattern)
        steps = self._state.modules[suspect].steps
        bad: list[frozenset[PlaceKey]] = []
        good: list[frozenset[PlaceKey]] = []
        for name in islice(reversed(self._lineage.tested), COMPARED):
            wafer = self._lineage.wafer(name)
            if wafer is None or any(m != suspect for m in explained.get(name, ())):
                continue
            if any(
                visit.time_ms >= since_ms and self._lineage.place(visit).step in steps
                for visit in wafer.visits
            ):
                shows = pattern in wafer.patterns
                (bad if shows else good).append(places_of(self._lineage, name))
        return commonalities(bad, good)

    # -- alerts -------------------------------------------------------------------------------

    def _alert_on(self, module: str) -> AlertRecord | None:
        return next((a for a in self._state.alerts.values() if a.module == module), None)

    def _full(self) -> bool:
        """Whether there are too many alerts for one more; counted if so."""
        if len(self._state.alerts) < MAX_ALERTS:
            return False
        reason = "too many open alerts"
        self._state.ignored[reason] = self._state.ignored.get(reason, 0) + 1
        return True

    def _new_alert(self, kind: str, pattern: str, trigger: str, since_ms: int) -> AlertRecord:
        alert_id = derived_id("alert", self._state.site, kind, pattern, trigger, since_ms)
        return AlertRecord(
            alert_id=alert_id,
            kind="fault" if kind == "fault" else "pattern",
            pattern=pattern,
            module="",
            since_ms=since_ms,
            opened_ms=self._state.now_ms,
        )

    def _suspicion(self, event: Trace, verdict: Verdict) -> AlertRecord:
        """The alert that a fault would be."""
        trigger = f"{event.key}:{event.event_id}"
        alert = self._new_alert("fault", "", trigger, verdict.since_ms)
        alert.module, alert.recipe, alert.step = event.key, event.recipe_id, event.step
        alert.evidence_ms = event.time_ms
        alert.shifts = verdict.shifts[:MAX_SHIFTS]
        begin(alert, verdict)
        examine(alert, self._state, self._policy)
        return alert

    def _open_fault(self, event: Trace, verdict: Verdict) -> list[Event]:
        if self._full():
            return []
        alert = self._suspicion(event, verdict)
        made = [
            name
            for name, wafer in self._state.wafers.items()
            for visit in wafer.visits
            if visit.time_ms >= alert.since_ms and self._lineage.place(visit).module == event.key
        ]
        alert.affected = list(dict.fromkeys(made))[-SHOWN:]
        alert.affected_count = alert.examined_count = max(1, len(set(made)))
        return self._tell(alert)

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
        return self._tell_if_grown(alert)

    def _join(self, alert: AlertRecord, pattern: str, finding: Finding) -> list[Event]:
        """The pattern belongs to an alert that is open on the module."""
        if alert.until_ms >= 0:
            self._relapse(alert)
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
        return self._tell(alert)

    def _relapse(self, alert: AlertRecord) -> None:
        """What was done did not help: the excursion goes on, and another action is due."""
        alert.until_ms = -1
        self._causes.refresh()
        for action in self._state.actions.values():
            tried = action.alert_id == alert.alert_id and action.status == "applied"
            if tried and action.kind not in alert.refused:
                alert.refused.append(action.kind)

    def _tell_if_grown(self, alert: AlertRecord) -> list[Event]:
        return self._tell(alert) if grown(alert) else []

    def _tell(self, alert: AlertRecord) -> list[Event]:
        """A revision, and the action that is due with it."""
        if alert.alert_id not in self._state.alerts:
            self._state.alerts[alert.alert_id] = alert
            self._causes.refresh()
        if alert.shelved_until_ms > self._state.now_ms:
            return []
        if alert.kind == "pattern" and alert.module:
            alert.commonalities = self._shared(alert.pattern, alert.module, alert.since_ms)
        lots, wafers = at_risk(alert, self._lineage)
        alert.severity = severity(alert, self._state, self._lineage, self._policy, wafers)
        return [self._revision(alert, lots), *self._orders.propose(alert)]

    def _revision(self, alert: AlertRecord, lots: list[str]) -> Event:
        alert.said_mode = named_mode(alert)
        return alert_event(alert, self._state, self._lineage, lots)

    def _close_if_clean(self, alert: AlertRecord) -> list[Event]:
        """Back to normal: so few bad among the latest that the excursion cannot be going on."""
        if alert.shifts and alert.quiet_traces < QUIET_AGAIN:
            return []
        start = max(alert.since_ms, alert.until_ms)
        latest = [e for e in self._lineage.through(alert.module)[-CLEAN_AMONG:] if e[0] > start]
        bad = 0
        for number, (_, name) in enumerate(reversed(latest), 1):
            wafer = self._lineage.wafer(name)
            bad += wafer is not None and alert.pattern in wafer.patterns
            if number >= self._policy.detection.clean_wafers and (
                at_most(bad, number, alert.rate) <= STILL_GOING_ON
            ):
                return self._close(alert, latest[-1][0])
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
        return self._close(alert, self._state.now_ms)

    def _close(self, alert: AlertRecord, until_ms: int) -> list[Event]:
        lots, _ = at_risk(alert, self._lineage)
        told: list[Event] = [
            alert_event(alert, self._state, self._lineage, lots, normal=True),
            *self._orders.withdraw_all(alert.alert_id, "withdrawn: back to normal by itself"),
        ]
        self._end(alert, until_ms)
        return told

    def _end(self, alert: AlertRecord, until_ms: int) -> None:
        del self._state.alerts[alert.alert_id]
        if alert.module:
            self._faults.forgive(alert.module)
            self._causes.close(alert.module, alert.pattern, alert.since_ms, until_ms)

    # -- people and the fab -------------------------------------------------------------------

    def removed(self, module: str, time_ms: int, *, back: bool = False) -> None:
        """A module was inhibited, or is `back` from being down: what it makes now is new."""
        if back:
            self._effects.returned(module, time_ms)
        alert = self._alert_on(module)
        if alert is not None:
            alert.until_ms = max(alert.until_ms, time_ms)
            alert.quiet_traces = 0
            start_anew(alert)
            self._causes.refresh()

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
            self._end(alert, until_ms)
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
