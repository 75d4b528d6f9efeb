"""What to do about an alert: the actions that could help, the best one first.

Worth is counted in good dies per lot still to come: what the cause would destroy, times the
probability that the action removes it, less what the action costs. docs/control.md has the sums.
"""

import math

from contracts.events import Action, ActionKind, ActionStatus
from contracts.ids import derived_id
from control.policy import Policy, RecipeParameter
from control.state import AlertRecord, ControlState

__all__ = ["kill_ratio", "lost_share", "options"]


def kill_ratio(pattern: str, policy: Policy) -> float:
    """Share of a wafer's dies that a pattern kills; the default for an unknown one."""
    ratios = policy.economics.kill_ratio
    return ratios.get(pattern, ratios["default"])


def lost_share(alert: AlertRecord, policy: Policy) -> float:
    """Share of the good dies of a wafer through the suspect that the cause destroys, 0 to 1."""
    if alert.kind == "fault":
        return policy.economics.fault_yield_risk * kill_ratio("default", policy)
    # One good and one bad wafer added (Laplace), so that three of three is not yet certainty.
    rate = (alert.affected_count + 1) / (alert.examined_count + 2)
    return max(0.0, rate - alert.baseline_rate) * kill_ratio(alert.pattern, policy)


def options(
    alert: AlertRecord, state: ControlState, policy: Policy, share_of_lot: float, lots: list[str]
) -> list[Action]:
    """Actions that could help, best first, none that was refused for this alert before.

    Args:
        alert: with a suspect module, else there is nothing to act on.
        state: with the actions applied so far.
        policy: what things are worth.
        share_of_lot: share of a lot's wafers that go through the suspect, 0 to 1.
        lots: lots at risk, the one with most wafers first.
    """
    if not alert.module:
        return []
    kinds: list[ActionKind] = ["schedule_pm"]
    if alert.kind == "pattern":
        kinds.append("inhibit_module")
        if lots:
            kinds.append("hold_lot")
    if alert.shifts:
        kinds.append("adjust_recipe")
    made = [
        _action(kind, alert, state, policy, share_of_lot, lots)
        for kind in kinds
        if kind not in alert.refused
    ]
    found = [action for action in made if action is not None]
    found.sort(key=lambda action: (action.cost_good_dies - action.expected_good_dies, action.kind))
    # Stopping lots stops product, not the cause: only where nothing removes the cause.
    return sorted(found, key=lambda action: action.kind == "hold_lot")


def _action(
    kind: ActionKind,
    alert: AlertRecord,
    state: ControlState,
    policy: Policy,
    share_of_lot: float,
    lots: list[str],
) -> Action | None:
    economics = policy.economics
    success = economics.success[kind]
    per_lot = economics.wafers_per_lot * economics.dies_per_wafer * share_of_lot
    equipment_id, _, module_id = alert.module.partition("/")
    lot_id = recipe_id = parameter = ""
    value = 0.0
    if kind == "hold_lot":
        lot_id, equipment_id, module_id = lots[0], "", ""
    if kind == "adjust_recipe":
        found = _correction(alert, state, policy)
        if found is None:
            return None
        recipe_id, parameter, value = found
    action_id = derived_id("action", alert.alert_id, kind, alert.proposals)
    automatic = policy.approvals[kind] == "automatic"
    status: ActionStatus = "approved" if automatic else "proposed"
    return Action(
        event_id=Action.event_id_for(action_id, status),
        site=state.site,
        time_ms=state.now_ms,
        action_id=action_id,
        alert_id=alert.alert_id,
        kind=kind,
        status=status,
        by=f"policy:{policy.name}" if automatic else "advisor",
        comment=_why(alert),
        equipment_id=equipment_id,
        module_id=module_id,
        lot_id=lot_id,
        recipe_id=recipe_id,
        parameter=parameter,
        value=value,
        expected_good_dies=round(per_lot * lost_share(alert, policy) * success, 1),
        cost_good_dies=economics.cost_good_dies[kind],
        confidence=round(alert.confidence * success, 4),
        check=_check(kind, alert, policy),
    )


def _correction(
    alert: AlertRecord, state: ControlState, policy: Policy
) -> tuple[str, str, float] | None:
    """Recipe, parameter and value that bring the largest shift back, or None if none is allowed."""
    shift = alert.shifts[0]
    for name, limit in sorted(policy.recipe_parameters.items()):
        if limit.variable != shift.variable:
            continue
        step = _step(shift.mean - shift.normal, limit)
        applied = [
            action.value
            for action in state.actions.values()
            if action.status == "applied"
            and (action.module, action.recipe_id, action.parameter)
            == (alert.module, shift.recipe_id, name)
        ]
        # Without a change of ours, the set point is what the variable normally follows.
        value = (applied[-1] if applied else shift.normal / limit.gain) + step
        if math.isfinite(value) and limit.min <= value <= limit.max:
            return shift.recipe_id, name, round(value, 6)
    return None


def _step(error: float, limit: RecipeParameter) -> float:
    return max(-limit.max_step, min(limit.max_step, -error / limit.gain))


def _why(alert: AlertRecord) -> str:
    parts = []
    if alert.pattern:
        parts.append(
            f"{alert.pattern} on {alert.affected_count} of {alert.examined_count} wafers after"
            f" {alert.module}, {alert.baseline_rate:.1%} elsewhere"
        )
    if alert.shifts:
        top = alert.shifts[0]
        parts.append(f"{top.variable} at {top.mean:.4g}, normally {top.normal:.4g} ({top.z:+.1f}σ)")
    return "; ".join(parts)


def _check(kind: ActionKind, alert: AlertRecord, policy: Policy) -> str:
    clean = policy.detection.clean_wafers
    sign = alert.pattern or "the shift"
    if kind == "inhibit_module":
        return (
            f"no {sign} above background on wafers started after the inhibit; on release, at most"
            f" one or two among the first {clean} wafers of {alert.module}"
        )
    if kind == "hold_lot":
        return f"electrical test of the held lot: is {sign} on the wafers of {alert.module}?"
    what = "maintenance" if kind == "schedule_pm" else "the change"
    return f"traces of {alert.module} back in their limits and {clean} clean wafers after {what}"
