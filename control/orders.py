"""Actions: what was proposed, what became of it, and what to propose next."""

import msgspec

from contracts.events import Action, ActionKind, ActionStatus, AutomationSwitch, Event
from contracts.ids import derived_id
from control.advisor import ASK_FROM, options, previous_value
from control.alerts import at_risk, outlook
from control.approvals import Approvals
from control.guard_rails import HOUR_MS, is_open, refusal
from control.lineage import Lineage
from control.policy import Policy
from control.state import ActionRecord, AlertRecord, ControlState

__all__ = ["Orders"]

MAX_ACTIONS = 200
# Proposals per alert: one, and two more after refusals or when the evidence has changed.
MAX_PROPOSALS = 3
_RANK: dict[ActionStatus, int] = {
    "proposed": 0,
    "approved": 1,
    "rejected": 1,
    "applied": 2,
    "failed": 2,
}


class Orders:
    """The actions of a site, ours and those others made.

    Args:
        policy: guard rails and what things are worth.
        state: with the actions.
        lineage: for lots at risk.
    """

    def __init__(self, policy: Policy, state: ControlState, lineage: Lineage) -> None:
        self._policy = policy
        self._state = state
        self._lineage = lineage
        self._approvals = Approvals(policy, state)

    def switch(self, event: AutomationSwitch) -> None:
        """A person turned automatic approvals on or off."""
        self._approvals.switch(event)

    def due(self) -> list[Action]:
        """Approvals of proposals that nobody objected to in time, if they are still the best."""
        out: list[Action] = []
        for action_id in self._approvals.due():
            record = self._state.actions[action_id]
            record.due_ms = -1
            alert = self._state.alerts.get(record.alert_id)
            if alert is None or alert.shelved_until_ms > self._state.now_ms:
                continue
            lots, _ = at_risk(alert, self._lineage)
            ahead = outlook(alert, self._state, self._lineage, self._policy, lots)
            record.status = "rejected"  # so that it is not counted as open against itself
            for action in options(alert, self._state, self._policy, ahead)[:1]:
                same = (action.kind, action.lot_id) == (record.kind, record.lot_id)
                lots_at_risk = set(lots)
                if same and not refusal(
                    action, alert, self._state, self._policy, lots_at_risk, new=False
                ):
                    action = msgspec.structs.replace(
                        action, action_id=action_id, value=record.value, recipe_id=record.recipe_id
                    )
                    out.append(self._approvals.unopposed(action))
            record.status = "approved" if out and out[-1].action_id == action_id else "proposed"
        return out

    def heard(self, event: Action) -> ActionRecord | None:
        """Take note of a stage of an action; None if it is old news."""
        known = self._state.actions.get(event.action_id)
        if known is not None:
            if _RANK[event.status] <= _RANK[known.status]:
                return None
            known.status = event.status
            return known
        record = _record(event, self._state.now_ms)
        self._remember(event.action_id, record)
        return record

    def may_propose(self, alert: AlertRecord) -> bool:
        """A quick look, for every trace, whether it is worth thinking about an action."""
        return (
            bool(alert.module)
            and alert.proposals < MAX_PROPOSALS
            and alert.confidence >= ASK_FROM
            and not any(
                action.alert_id == alert.alert_id and is_open(action)
                for action in self._state.actions.values()
            )
        )

    def propose(self, alert: AlertRecord) -> list[Event]:
        """The best action that the guard rails allow, if one is due for this alert."""
        mine = [a for a in self._state.actions.values() if a.alert_id == alert.alert_id]
        if not alert.module or alert.proposals >= MAX_PROPOSALS:
            return []
        live = [action for action in mine if is_open(action)]
        done = {a.kind for a in mine if a.status == "applied"}
        lots, _ = at_risk(alert, self._lineage)
        ahead = outlook(alert, self._state, self._lineage, self._policy, lots)
        found = options(alert, self._state, self._policy, ahead)
        kept = {known.kind for known in live} & {action.kind for action in found}
        if kept and alert.proposed_for == alert.kind:
            return []  # as good as when it was proposed: people are not asked twice
        for action in found:
            if any(known.kind == action.kind for known in live) or action.kind in done:
                return []
            if any(known.status == "approved" for known in live):
                return []
            # What nobody has answered yet is withdrawn first, so that it does not fill its place.
            withdrawn = self._withdraw(alert.alert_id, action.kind)
            if refusal(action, alert, self._state, self._policy, set(lots)):
                self._restore(withdrawn)
                continue
            return [*withdrawn, self._send(action, alert)]
        return []

    def undo(self, record: ActionRecord, alert: AlertRecord) -> list[Event]:
        """The opposite of an action that did not help, where there is one and it is allowed."""
        kind: ActionKind = "release_module" if record.kind == "inhibit_module" else record.kind
        if kind not in ("release_module", "adjust_recipe"):
            return []
        if kind == "adjust_recipe" and record.previous is None:
            return []
        action_id = derived_id("action", alert.alert_id, "undo", kind, alert.proposals)
        action = _action_of(action_id, record, self._state, "proposed")
        action = msgspec.structs.replace(
            action,
            kind=kind,
            by="advisor",
            comment=f"takes back {record.kind}, which did not help",
            value=record.previous or 0.0,
            cost_good_dies=self._policy.economics.cost_good_dies.get(kind, 0.0),
            confidence=max(alert.confidence, self._policy.limits.min_confidence),
            check="as before the action",
        )
        if refusal(action, alert, self._state, self._policy, set()):
            return []
        return [self._send(action, alert)]

    def steer(self, action: Action) -> list[Event]:
        """A change of a set point that run-to-run control wants, if the guard rails allow it.

        Args:
            action: an `adjust_recipe` on one module; its `alert_id` is that of the thread.
        """
        module = f"{action.equipment_id}/{action.module_id}"
        # Measured wafers are the evidence, as test results are for a pattern.
        evidence = AlertRecord(
            action.alert_id, "pattern", "", module, action.time_ms, action.time_ms
        )
        evidence.evidence_ms = self._state.now_ms
        if refusal(action, evidence, self._state, self._policy, set()):
            return []
        return [self._send(action, evidence)]

    def _send(self, action: Action, alert: AlertRecord) -> Action:
        state = self._state
        alert.proposals += 1
        alert.proposed_for = alert.kind
        state.proposed_ms = [time for time in state.proposed_ms if time > state.now_ms - HOUR_MS]
        state.proposed_ms.append(state.now_ms)
        sent, due_ms = self._approvals.decide(action, alert)
        record = _record(sent, state.now_ms)
        record.previous = previous_value(action, alert, state, self._policy)
        record.due_ms = due_ms
        self._remember(action.action_id, record)
        self._approvals.note(action.action_id, record)
        return sent

    def withdraw_all(self, alert_id: str, comment: str) -> list[Event]:
        """Take back every proposal of an alert that nobody has answered."""
        return list(self._withdraw(alert_id, None, comment))

    def _withdraw(
        self, alert_id: str, better: ActionKind | None, comment: str = ""
    ) -> list[Action]:
        out = []
        for action_id, known in self._state.actions.items():
            if known.alert_id != alert_id or known.status != "proposed":
                continue
            known.status = "rejected"
            action = _action_of(action_id, known, self._state, "rejected")
            said = comment or f"withdrawn: {better} is the better answer now"
            out.append(msgspec.structs.replace(action, by="advisor", comment=said))
        return out

    def _restore(self, withdrawn: list[Action]) -> None:
        for action in withdrawn:
            self._state.actions[action.action_id].status = "proposed"

    def _remember(self, action_id: str, record: ActionRecord) -> None:
        actions = self._state.actions
        if len(actions) >= MAX_ACTIONS:
            ended = next((key for key, known in actions.items() if not is_open(known)), None)
            # Only foreign floods fill this with open ones; then there are too many in any case.
            del actions[ended if ended is not None else next(iter(actions))]
        actions[action_id] = record


def _action_of(
    action_id: str, record: ActionRecord, state: ControlState, status: ActionStatus
) -> Action:
    """A stage of an action that is on record."""
    equipment_id, _, module_id = record.module.partition("/")
    return Action(
        event_id=Action.event_id_for(action_id, status),
        site=state.site,
        time_ms=state.now_ms,
        action_id=action_id,
        alert_id=record.alert_id,
        kind=record.kind,
        status=status,
        by="advisor",
        equipment_id=equipment_id,
        module_id=module_id,
        lot_id=record.lot_id,
        recipe_id=record.recipe_id,
        parameter=record.parameter,
        value=record.value,
    )


def _record(event: Action, now_ms: int) -> ActionRecord:
    module = f"{event.equipment_id}/{event.module_id}" if event.equipment_id else ""
    return ActionRecord(
        event.alert_id,
        event.kind,
        event.status,
        now_ms,
        module,
        event.lot_id,
        event.recipe_id,
        event.parameter,
        event.value,
    )
