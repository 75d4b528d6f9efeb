"""The open alerts of a site: opened, told, revised and closed, whatever the evidence was."""

from itertools import islice

from contracts.events import Commonality, Event
from contracts.ids import derived_id
from control.alerts import alert_event, at_risk, grown, severity
from control.causes import Causes
from control.faults import FaultWatch
from control.lineage import Lineage
from control.orders import Orders
from control.policy import Policy
from control.root_cause import root_cause
from control.state import AlertRecord, ControlState
from control.suspects import say_modes

__all__ = ["AlertBook"]

# Tested wafers among which bad and good ones are compared.
COMPARED = 500
MAX_ALERTS = 100


class AlertBook:
    """Opens, revises and closes alerts.

    Args:
        policy: how sure to be.
        state: with the alerts.
        lineage: which wafer went where.
        causes: which wafers are explained.
        faults: the trace charts, to start again after a fault.
        orders: propose what helps.
    """

    def __init__(
        self,
        policy: Policy,
        state: ControlState,
        lineage: Lineage,
        causes: Causes,
        faults: FaultWatch,
        orders: Orders,
    ) -> None:
        self._policy = policy
        self._state = state
        self._lineage = lineage
        self._causes = causes
        self._faults = faults
        self._orders = orders

    def alert_on(self, module: str) -> AlertRecord | None:
        """The open alert that suspects a module, on evidence of the controller's own."""
        return self._on(module, judged_only=False)

    def judged_on(self, module: str) -> AlertRecord | None:
        """The open alert on a module of which served models alone speak."""
        return self._on(module, judged_only=True)

    def _on(self, module: str, *, judged_only: bool) -> AlertRecord | None:
        for alert in self._state.alerts.values():
            if alert.module == module and alert.judged_only == judged_only:
                return alert
        return None

    def full(self) -> bool:
        """Whether there are too many alerts for one more; counted if so."""
        if len(self._state.alerts) < MAX_ALERTS:
            return False
        reason = "too many open alerts"
        self._state.ignored[reason] = self._state.ignored.get(reason, 0) + 1
        return True

    def new_alert(self, kind: str, pattern: str, trigger: str, since_ms: int) -> AlertRecord:
        """An alert that is not told yet."""
        alert_id = derived_id("alert", self._state.site, kind, pattern, trigger, since_ms)
        return AlertRecord(
            alert_id=alert_id,
            kind="fault" if kind == "fault" else "pattern",
            pattern=pattern,
            module="",
            since_ms=since_ms,
            opened_ms=self._state.now_ms,
        )

    def relapse(self, alert: AlertRecord) -> None:
        """What was done did not help: the excursion goes on, and another action is due."""
        alert.until_ms = -1
        self._causes.refresh()
        for action in self._state.actions.values():
            tried = action.alert_id == alert.alert_id and action.status == "applied"
            if tried and action.kind not in alert.refused:
                alert.refused.append(action.kind)

    def tell_if_grown(self, alert: AlertRecord) -> list[Event]:
        """A revision if enough wafers came since the last."""
        return self.tell(alert) if grown(alert) else []

    def tell(self, alert: AlertRecord) -> list[Event]:
        """A revision, and the action that is due with it."""
        known = self.judged_on(alert.module) if alert.module and not alert.judged_only else None
        ended: list[Event] = []
        if alert.alert_id not in self._state.alerts:
            if known is not None:
                self._take_over(known, alert)
            self._state.alerts[alert.alert_id] = alert
            self._causes.refresh()
        elif known is not None:
            # Both were told of already: one of the two has to end.
            alert.judged = known.judged
            ended = self.close(known, self._state.now_ms)
        if alert.shelved_until_ms > self._state.now_ms:
            return ended
        if alert.kind == "pattern" and alert.module:
            alert.commonalities = self.shared(alert.pattern, alert.module, alert.since_ms)
        lots, wafers = at_risk(alert, self._lineage)
        alert.severity = severity(alert, self._state, self._lineage, self._policy, wafers)
        return [*ended, self.revision(alert, lots), *self._orders.propose(alert)]

    def _take_over(self, known: AlertRecord, alert: AlertRecord) -> None:
        """What served models said first goes on as the alert that the evidence is now of."""
        del self._state.alerts[known.alert_id]
        alert.alert_id, alert.revision, alert.opened_ms = (
            known.alert_id,
            known.revision,
            known.opened_ms,
        )
        alert.since_ms = min(alert.since_ms, known.since_ms)
        alert.shelved_until_ms = known.shelved_until_ms
        alert.refused, alert.proposals = known.refused, known.proposals
        alert.proposed_for, alert.judged = known.proposed_for, known.judged

    def revision(self, alert: AlertRecord, lots: list[str]) -> Event:
        """The next revision as it is, with the lots at risk."""
        say_modes(alert)
        return alert_event(alert, self._state, self._lineage, lots)

    def close(self, alert: AlertRecord, until_ms: int) -> list[Event]:
        """It returned to normal."""
        lots, _ = at_risk(alert, self._lineage)
        told: list[Event] = [
            alert_event(alert, self._state, self._lineage, lots, normal=True),
            *self._orders.withdraw_all(alert.alert_id, "withdrawn: back to normal by itself"),
        ]
        self.end(alert, until_ms)
        return told

    def end(self, alert: AlertRecord, until_ms: int) -> None:
        """Forget it; what the suspect made until then stays explained."""
        del self._state.alerts[alert.alert_id]
        if alert.module and not alert.judged_only:
            self._faults.forgive(alert.module)
            self._causes.close(alert.module, alert.pattern, alert.since_ms, until_ms)

    def shared(self, pattern: str, suspect: str, since_ms: int) -> tuple[Commonality, ...]:
        """What the bad wafers share, among those that did the suspect's step since it began.

        Earlier wafers would be held in the suspect's favour; wafers that another cause explains
        say nothing about this one.
        """
        explained = self._causes.explained(pattern)
        steps = self._state.modules[suspect].steps
        bad: list[str] = []
        good: list[str] = []
        for name in islice(reversed(self._lineage.tested), COMPARED):
            wafer = self._lineage.wafer(name)
            if wafer is None or any(m != suspect for m in explained.get(name, ())):
                continue
            if any(
                visit.time_ms >= since_ms and self._lineage.place(visit).step in steps
                for visit in wafer.visits
            ):
                shows = pattern in wafer.patterns
                (bad if shows else good).append(name)
        return root_cause(self._lineage, self._state.modules, bad, good).found
