"""The alert desk: one alert per cause, opened, joined, revised, closed; and what people decide."""

from collections import Counter
from itertools import islice

from contracts.events import Action, AlertDecision, Commonality, Event, Trace
from contracts.ids import derived_id
from control.alerts import SHOWN, alert_event, at_risk, count_wafers, grown, severity
from control.causes import Causes
from control.charts import Verdict
from control.commonality import PlaceKey, commonalities
from control.excursion import Finding, at_most, find_excursion, places_of
from control.faults import FaultWatch
from control.lineage import Lineage
from control.metrology_watch import MetrologyShift
from control.orders import Orders
from control.policy import Policy
from control.state import AlertRecord, ControlState

__all__ = ["Desk"]

# A fault seen on the module itself is sure to be one; that it hurts wafers is not yet.
FAULT_CONFIDENCE = 0.8
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
        self._orders = self.orders = Orders(policy, state, lineage)

    # -- evidence -----------------------------------------------------------------------------

    def traced(self, event: Trace, verdict: Verdict) -> list[Event]:
        """A trace was judged."""
        alert = self._alert_on(event.key)
        if alert is None:
            return self._open_fault(event, verdict) if verdict.shifts else []
        mine = alert.kind == "fault" and (alert.until_ms < 0 or event.time_ms <= alert.until_ms)
        if mine:
            alert.affected = [*alert.affected, event.substrate_id][-SHOWN:]
            alert.affected_count += 1
            alert.examined_count += 1
        if verdict.shifts:
            relapsed = 0 <= alert.until_ms < event.time_ms
            if relapsed:
                self._relapse(alert)
            first = not alert.shifts
            kept = [s for s in alert.shifts if s.recipe_id != event.recipe_id]
            joined = sorted([*verdict.shifts, *kept], key=lambda s: (-abs(s.z), s.variable))
            alert.shifts = tuple(joined[:MAX_SHIFTS])
            alert.quiet_traces = 0
            if first or relapsed:
                return self._tell(alert)
        elif verdict.quiet:
            alert.quiet_traces += 1
            clean = alert.quiet_traces >= self._policy.detection.clean_wafers
            measured = alert.until_ms < 0 and any(not s.recipe_id for s in alert.shifts)
            if alert.kind == "fault" and clean and not measured:
                return self._close(alert, self._state.now_ms)
        return self._tell_if_grown(alert) if mine else []

    def measured(self, found: MetrologyShift) -> list[Event]:
        """A metrology chart went out of control, or came back."""
        alert = self._alert_on(found.module)
        shifts = () if alert is None else alert.shifts
        # Those of metrology belong to no recipe.
        kept = tuple(s for s in shifts if s.recipe_id or s.variable != found.parameter)
        if found.shift is None:
            if alert is not None:
                alert.shifts = kept
            return []
        if alert is None:
            trigger = f"{found.parameter} {found.substrates[-1]}"
            alert = self._new_alert("fault", "", trigger, found.since_ms)
            if alert is None:
                return []
            alert.module, alert.step = found.module, found.step
            alert.confidence = FAULT_CONFIDENCE
            alert.affected = list(found.substrates)
            alert.affected_count = alert.examined_count = len(found.substrates)
        alert.shifts = (*kept, found.shift)[-MAX_SHIFTS:]
        return self._tell(alert)

    def tested(self, substrate_id: str) -> list[Event]:
        """A wafer was tested: count it, look for an excursion, and see what is over."""
        wafer = self._lineage.wafer(substrate_id)
        if wafer is None:
            return []
        route = self._lineage.modules_of(substrate_id)
        out: list[Event] = []
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
        alert = doubtful or self._new_alert("pattern", pattern, substrate_id, finding.since_ms)
        if alert is None:
            return []
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

    def _new_alert(
        self, kind: str, pattern: str, trigger: str, since_ms: int
    ) -> AlertRecord | None:
        if len(self._state.alerts) >= MAX_ALERTS:
            reason = "too many open alerts"
            self._state.ignored[reason] = self._state.ignored.get(reason, 0) + 1
            return None
        alert_id = derived_id("alert", self._state.site, kind, pattern, trigger, since_ms)
        return AlertRecord(
            alert_id=alert_id,
            kind="fault" if kind == "fault" else "pattern",
            pattern=pattern,
            module="",
            since_ms=since_ms,
            opened_ms=self._state.now_ms,
        )

    def _open_fault(self, event: Trace, verdict: Verdict) -> list[Event]:
        trigger = f"{event.key}:{event.event_id}"
        alert = self._new_alert("fault", "", trigger, verdict.since_ms)
        if alert is None:
            return []
        alert.module, alert.recipe, alert.step = event.key, event.recipe_id, event.step
        alert.confidence = FAULT_CONFIDENCE
        alert.shifts = verdict.shifts[:MAX_SHIFTS]
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
            return []
        opened_by_traces = alert.kind == "fault"
        alert.kind, alert.pattern = "pattern", pattern
        alert.baseline_rate = finding.baseline_rate
        if opened_by_traces:
            self._blame(alert, finding)
        count_wafers(alert, self._lineage)
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
        told: list[Event] = [alert_event(alert, self._state, self._lineage, lots)]
        return told + self._orders.propose(alert)

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

    def removed(self, module: str, time_ms: int) -> None:
        """A module was inhibited or came back from a repair: what it makes now is new."""
        alert = self._alert_on(module)
        if alert is not None:
            alert.until_ms = max(alert.until_ms, time_ms)
            alert.quiet_traces = 0
            self._causes.refresh()

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
            if record.kind == "inhibit_module" and record.module in self._state.modules:
                self._state.modules[record.module].inhibited = True
                self.removed(record.module, self._state.now_ms)
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
