"""Actions: what was proposed, what became of it, and what to propose next."""

import msgspec

from contracts.events import Action, ActionKind, ActionStatus, Event
from control.advisor import options
from control.alerts import at_risk, share_of_lot
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

    def propose(self, alert: AlertRecord) -> list[Event]:
        """The best action that the guard rails allow, if one is due for this alert."""
        mine = [a for a in self._state.actions.values() if a.alert_id == alert.alert_id]
        if not alert.module or alert.proposals >= MAX_PROPOSALS or alert.until_ms >= 0:
            return []
        live = [action for action in mine if is_open(action)]
        done = {a.kind for a in mine if a.status == "applied"}
        lots, _ = at_risk(alert, self._lineage)
        share = share_of_lot(alert, self._lineage)
        for action in options(alert, self._state, self._policy, share, lots):
            if any(known.kind == action.kind for known in live) or action.kind in done:
                return []
            if any(known.status == "approved" for known in live):
                return []
            # What nobody has answered yet is withdrawn first, so that it does not fill its place.
            withdrawn = self._withdraw(alert.alert_id, action.kind)
            reason = refusal(action, alert, self._state, self._policy, set(lots))
            if reason:
                self._restore(withdrawn)
                continue
            alert.proposals += 1
            self._state.proposed_ms = [
                time_ms
                for time_ms in self._state.proposed_ms
                if time_ms > self._state.now_ms - HOUR_MS
            ]
            self._state.proposed_ms.append(self._state.now_ms)
            self._remember(action.action_id, _record(action, self._state.now_ms))
            return [*withdrawn, action]
        return []

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
        if refusal(action, evidence, self._state, self._policy, set()):
            return []
        if self._policy.approvals[action.kind] == "automatic":
            action = msgspec.structs.replace(
                action,
                event_id=Action.event_id_for(action.action_id, "approved"),
                status="approved",
                by=f"policy:{self._policy.name}",
            )
        recent = self._state.now_ms - HOUR_MS
        self._state.proposed_ms = [ms for ms in self._state.proposed_ms if ms > recent]
        self._state.proposed_ms.append(self._state.now_ms)
        self._remember(action.action_id, _record(action, self._state.now_ms))
        return [action]

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
            equipment_id, _, module_id = known.module.partition("/")
            out.append(
                Action(
                    event_id=Action.event_id_for(action_id, "rejected"),
                    site=self._state.site,
                    time_ms=self._state.now_ms,
                    action_id=action_id,
                    alert_id=alert_id,
                    kind=known.kind,
                    status="rejected",
                    by="advisor",
                    comment=comment or f"withdrawn: {better} is the better answer now",
                    equipment_id=equipment_id,
                    module_id=module_id,
                    lot_id=known.lot_id,
                    recipe_id=known.recipe_id,
                    parameter=known.parameter,
                    value=known.value,
                )
            )
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
