"""Who lets an action happen: a person, the policy, or the policy unless a person objects."""

import msgspec

from contracts.events import Action, AutomationSwitch
from control.policy import Policy
from control.state import ActionRecord, AlertRecord, ControlState

__all__ = ["Approvals"]

_MINUTE_MS = 60_000


class Approvals:
    """Approves what the policy says it may, as long as the switch is on.

    Args:
        policy: who approves what.
        state: with the switch and the open actions.
    """

    def __init__(self, policy: Policy, state: ControlState) -> None:
        self._policy = policy
        self._state = state
        self._waiting = {name for name, known in state.actions.items() if known.due_ms >= 0}

    def decide(self, action: Action, alert: AlertRecord) -> tuple[Action, int]:
        """A new action as it is to be sent, and when it is approved if nobody objects (or -1)."""
        who = self._policy.approval(action.kind, alert.severity, self._state.site)
        if not self._state.automatic or who == "person":
            return action, -1
        if who == "semi_automatic":
            return action, self._state.now_ms + int(self._policy.limits.veto_min * _MINUTE_MS)
        return self._approved(action, action.comment), -1

    def note(self, action_id: str, record: ActionRecord) -> None:
        """A new action is on record."""
        if record.due_ms >= 0:
            self._waiting.add(action_id)

    def due(self) -> list[str]:
        """Ids of proposals that nobody answered in time."""
        found = []
        for action_id in sorted(self._waiting):
            record = self._state.actions.get(action_id)
            if record is None or record.status != "proposed" or record.due_ms < 0:
                self._waiting.discard(action_id)
            elif record.due_ms <= self._state.now_ms and self._state.automatic:
                self._waiting.discard(action_id)
                found.append(action_id)
        return found

    def switch(self, event: AutomationSwitch) -> None:
        """A person turned automation on or off; off ends every automatic approval under way."""
        self._state.automatic = event.automatic
        if not event.automatic:
            for record in self._state.actions.values():
                record.due_ms = -1

    def unopposed(self, action: Action) -> Action:
        """The approval of a proposal that nobody objected to."""
        minutes = self._policy.limits.veto_min
        return self._approved(action, f"nobody objected within {minutes:g} minutes")

    def _approved(self, action: Action, comment: str) -> Action:
        return msgspec.structs.replace(
            action,
            event_id=Action.event_id_for(action.action_id, "approved"),
            time_ms=self._state.now_ms,
            status="approved",
            by=f"policy:{self._policy.name}",
            comment=comment,
        )
