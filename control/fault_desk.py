"""Alerts that traces raise: a fault is opened, diagnosed, acted on, and its cure is checked."""

import math

import msgspec

from contracts.events import ActionEffect, Event, Trace, VariableShift
from control.alert_book import AlertBook
from control.alerts import SHOWN, at_risk, grown, severity
from control.charts import Verdict
from control.diagnosis import SENSOR
from control.effects import Effects
from control.faults import FaultWatch
from control.lineage import Lineage
from control.metrology_watch import MetrologyShift
from control.orders import Orders
from control.policy import Policy
from control.state import AlertRecord, ControlState, EffectRecord
from control.suspects import (
    BY_CHARTS,
    BY_PEERS,
    begin,
    examine,
    follow,
    named_mode,
    newly_named,
    start_anew,
    sure_without_past,
)

__all__ = ["FaultDesk"]

# Largest shift of a suspect, in spreads, that is no fault any more.
CALM = 1.5
# Traces of a recipe and step after a maintenance in which a shift that is no failure mode is the
# module's new normal; and how many of them a shift within the limits must last for that.
SETTLING, LASTS = 25, 8
# Traces after a repair on which a fault must be seen again.
SEEN_AGAIN = 3
# Sensors that fail do so now and then: it takes so much longer to believe that one is well again.
SENSOR_QUIET = 3
MAX_SHIFTS = 10


class FaultDesk:
    """Alerts on modules whose traces moved.

    Args:
        policy: how sure to be.
        state: with the alerts.
        lineage: which wafer went where.
        book: the open alerts.
        orders: propose what helps.
        effects: of what was done.
        faults: the trace charts.
    """

    def __init__(
        self,
        policy: Policy,
        state: ControlState,
        lineage: Lineage,
        book: AlertBook,
        orders: Orders,
        effects: Effects,
        faults: FaultWatch,
    ) -> None:
        self._policy = policy
        self._state = state
        self._lineage = lineage
        self._book = book
        self._orders = orders
        self._effects = effects
        self._faults = faults

    def traced(self, event: Trace, verdict: Verdict) -> list[Event]:
        """A trace was judged."""
        out: list[Event] = []
        if self._state.effects:
            self._effects.follow(event, verdict)
            out += self.judge_effects(tested=False)
        if 0 < verdict.settling <= SETTLING:
            new = self._new_normal(event, verdict)
            self._faults.recentre(event, new)
            if verdict.shifts and new:
                return out
        alert = self._book.alert_on(event.key)
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
                return out + self._book.tell(alert)
        elif calm and any(shift.recipe_id == event.recipe_id for shift in alert.shifts):
            alert.quiet_traces += 1
            clean = self._policy.detection.clean_wafers
            if alert.causes and alert.causes[0].mode == SENSOR:
                clean *= SENSOR_QUIET
            measured = alert.until_ms < 0 and any(not s.recipe_id for s in alert.shifts)
            if alert.kind == "fault" and alert.quiet_traces >= clean and not measured:
                return out + self._book.close(alert, self._state.now_ms)
        if alert.until_ms >= 0:
            return out + (self._book.tell_if_grown(alert) if mine else [])
        examine(alert, self._state, self._policy)
        if newly_named(alert):
            return out + self._book.tell(alert)
        if mine and grown(alert):
            return out + self._book.tell(alert)
        return out + self._act_if_due(alert)

    def _new_normal(self, event: Trace, verdict: Verdict) -> frozenset[str]:
        """Variables of a module just back from maintenance that have only become others.

        Maintenance leaves a small shift; and where the fault was there before its normal was known,
        or grew so slowly that it was learnt, being well looks like a shift the other way.
        """
        names = [name for name, statistic in verdict.charts if statistic == "level"]
        if verdict.shifts:
            named = named_mode(self._suspicion(event, verdict, BY_CHARTS))
            return frozenset() if named else frozenset(names)
        if verdict.settling < LASTS:
            return frozenset()
        module = self._state.modules.get(event.key)
        kind = module.kind if module is not None else ""
        modes = [m for m in self._policy.failure_modes.values() if not kind or kind in m.kinds]
        # What a failure mode moves that way may be the beginning of one.
        return frozenset(
            name
            for name, away in zip(names, verdict.away, strict=True)
            if not any(mode.signature.get(name, 0.0) * away > 0.0 for mode in modes)
        )

    def measured(self, found: MetrologyShift, levels: dict[str, float]) -> list[Event]:
        """A metrology chart went out of control, or came back.

        Args:
            found: what it says.
            levels: what the traces of the module say meanwhile, in spreads; empty if nothing.
        """
        alert = self._book.alert_on(found.module)
        # Shifts of metrology belong to no recipe.
        shifts = () if alert is None else alert.shifts
        kept = tuple(s for s in shifts if s.recipe_id or s.variable != found.parameter)
        if found.shift is None:
            if alert is not None:
                alert.shifts = kept
                alert.measured.pop(found.parameter, None)
            return []
        if alert is None:
            if self._book.full():
                return []
            trigger = f"{found.parameter} {found.substrates[-1]}"
            alert = self._book.new_alert("fault", "", trigger, found.since_ms)
            alert.module, alert.step = found.module, found.step
            alert.profile, alert.profile_wafers = levels, BY_CHARTS
            alert.affected = list(found.substrates)
            alert.affected_count = alert.examined_count = len(found.substrates)
        wafers = max(1, len(found.substrates))
        alert.measured[found.parameter] = found.shift.z / math.sqrt(wafers), wafers
        alert.evidence_ms = self._state.now_ms
        alert.shifts = (*kept, found.shift)[-MAX_SHIFTS:]
        if alert.until_ms < 0:
            examine(alert, self._state, self._policy)
        return self._book.tell(alert)

    def warming(self, event: Trace, verdict: Verdict | None) -> list[Event] | None:
        """A module without a past of its own: `verdict` is what the others say of it, if anything.

        Returns:
            None if what it shows may be learnt as its normal; else what follows.
        """
        alert = self._book.alert_on(event.key)
        if alert is not None and alert.until_ms >= 0:
            return None
        named = alert is not None and bool(named_mode(alert))
        if not named and verdict is not None:
            suspicion = self._suspicion(event, verdict, BY_PEERS)
            named = sure_without_past(suspicion, self._policy)
        if not named:
            return None
        # What it learns now would be the fault.
        if verdict is None:
            return []
        if alert is None:
            return self._open_fault(event, verdict, BY_PEERS)
        return self._still_sick(alert, event, verdict)

    def goes_on(self, alert: AlertRecord) -> bool:
        """A module under an alert is back from a breakdown, which need not have cured it.

        What the fab could not do because the module was down may be proposed again.

        Returns:
            Whether the alert goes on, as the module's traces will tell; they are asked anew.
        """
        mine = [a for a in self._state.actions.values() if a.alert_id == alert.alert_id]
        denied = {action.kind for action in mine if action.status == "rejected"}
        failed = {action.kind for action in mine if action.status == "failed"} - denied
        alert.refused = [kind for kind in alert.refused if kind not in failed]
        shifts = tuple(shift for shift in alert.shifts if shift.recipe_id)
        if alert.kind != "fault" or alert.until_ms >= 0 or not shifts:
            return False
        start_anew(alert)
        alert.shifts, alert.quiet_traces = shifts, 0
        alert.causes, alert.confidence, alert.grown = (), 0.0, 0.0
        return True

    def _still_sick(self, alert: AlertRecord, event: Trace, verdict: Verdict) -> list[Event]:
        """One more trace of a module that has no past of its own and is known to be at fault."""
        if alert.kind == "fault":
            alert.affected = [*alert.affected, event.substrate_id][-SHOWN:]
            alert.affected_count += 1
            alert.examined_count += 1
        follow(alert, event, verdict)
        examine(alert, self._state, self._policy)
        return self._book.tell_if_grown(alert) or self._act_if_due(alert)

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
        self._book.relapse(alert)
        return self._book.tell(alert)

    def _act_if_due(self, alert: AlertRecord) -> list[Event]:
        """An action, once the evidence is good enough, with the revision that has it."""
        if alert.kind != "fault" or not self._orders.may_propose(alert):
            return []
        if alert.shelved_until_ms > self._state.now_ms:
            return []
        lots, wafers = at_risk(alert, self._lineage)
        alert.severity = severity(alert, self._state, self._lineage, self._policy, wafers)
        actions = self._orders.propose(alert)
        return [self._book.revision(alert, lots), *actions] if actions else []

    def judge_effects(self, *, tested: bool) -> list[Event]:
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
                out += self._book.close(alert, self._state.now_ms)
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
            self._book.relapse(alert)
            if alert.profile_wafers:
                examine(alert, self._state, self._policy)
            out += self._book.tell(alert)
        return out

    def _suspicion(self, event: Trace, verdict: Verdict, wafers: int) -> AlertRecord:
        """The alert that a fault would be."""
        trigger = f"{event.key}:{event.event_id}"
        alert = self._book.new_alert("fault", "", trigger, verdict.since_ms)
        alert.module, alert.recipe, alert.step = event.key, event.recipe_id, event.step
        alert.evidence_ms = event.time_ms
        alert.shifts = verdict.shifts[:MAX_SHIFTS]
        begin(alert, verdict, wafers)
        examine(alert, self._state, self._policy)
        return alert

    def _open_fault(self, event: Trace, verdict: Verdict, wafers: int = BY_CHARTS) -> list[Event]:
        if self._book.full():
            return []
        alert = self._suspicion(event, verdict, wafers)
        made = [
            name
            for name, wafer in self._state.wafers.items()
            for visit in wafer.visits
            if visit.time_ms >= alert.since_ms and self._lineage.place(visit).module == event.key
        ]
        alert.affected = list(dict.fromkeys(made))[-SHOWN:]
        alert.affected_count = alert.examined_count = max(1, len(set(made)))
        return self._book.tell(alert)
