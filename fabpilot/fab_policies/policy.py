"""What every policy is: it watches events and answers with actions, approved under its own name."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from contracts.events import Action, ActionKind, Event
from contracts.topics import Stream

__all__ = ["FabPolicy", "NoPolicy", "approve"]


class FabPolicy(Protocol):
    """Steers one fab."""

    @property
    def streams(self) -> Collection[Stream]:
        """What it has to see; a fab need not draw the rest."""
        ...

    def observe(self, events: Sequence[Event], now_ms: int) -> list[Action]:
        """What happened in one step of the fab.

        Returns:
            Approved actions, to be obeyed in the next step.
        """
        ...


class NoPolicy:
    """Does nothing, whatever happens."""

    streams: Collection[Stream] = frozenset()

    def observe(self, events: Sequence[Event], now_ms: int) -> list[Action]:
        """Nothing."""
        return []


def approve(
    name: str, kind: ActionKind, site: str, number: int, now_ms: int, **target: Any
) -> Action:
    """An action that a policy approves by itself.

    Args:
        name: of the policy.
        kind: of the action.
        site: where.
        number: counts the policy's actions.
        now_ms: when.
        target: further fields of the action.
    """
    action_id = f"{name}-{site}-{number}"
    return Action(
        event_id=Action.event_id_for(action_id, "approved"),
        site=site,
        time_ms=now_ms,
        action_id=action_id,
        alert_id="",
        kind=kind,
        status="approved",
        by=f"policy:{name}",
        **target,
    )
