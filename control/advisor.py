"""What to do about an alert: the actions that could help, the best one first.

Worth is counted in good dies: what the cause would destroy until somebody notices, less what is
lost before the action works, and what is lost again if it does not; less what the action costs, and
what it costs to have been wrong. Waiting is an option too: it costs the next few wafers if the
cause is real, and spares a needless stop if it is not. docs/control.md has the sums.
"""

import math
from typing import NamedTuple

from contracts.events import Action, ActionKind
from contracts.ids import derived_id
from control.diagnosis import OTHER, SENSOR
from control.policy import Policy, RecipeParameter
from control.state import AlertRecord, ControlState
from control.suspects import named_modes

__all__ = ["Outlook", "kill_ratio", "lost_share", "options", "previous_value"]

# Wafers until the evidence is clearly better than now: what an EWMA of weight 0.2 remembers.
WAIT_WAFERS = 5
# What can be taken back at once if it turns out to be wrong.
REVERSIBLE: frozenset[ActionKind] = frozenset({"hold_lot", "inhibit_module", "adjust_recipe"})
# Measurements are asked for while a cause is at least so likely and not likely enough to act on,
# once so many wafers have not settled it.
ASK_FROM, ASK_AFTER = 0.25, 10
# A cause of at least this probability is what is corrected, and what its wafers are expected to be.
NAMED = 0.5
# Slots of a carrier.
_SLOTS = 25


class Outlook(NamedTuple):
    """What is to come if nothing is done.

    Attributes:
        share_of_lot: share of a lot's wafers that go through the suspect, 0 to 1.
        wafers_per_h: that the suspect treats.
        lots: lots at risk, the one with most wafers first.
    """

    share_of_lot: float
    wafers_per_h: float
    lots: list[str]


def kill_ratio(pattern: str, policy: Policy) -> float:
    """Share of a wafer's dies that a pattern kills; the default for an unknown one."""
    ratios = policy.economics.kill_ratio
    return ratios.get(pattern, ratios["default"])


def lost_share(alert: AlertRecord, policy: Policy) -> float:
    """Share of the good dies of a wafer through the suspect that the cause destroys, 0 to 1."""
    if alert.kind == "fault":
        return policy.economics.fault_yield_risk * _foreseen(alert, policy)
    # One good and one bad wafer added (Laplace), so that three of three is not yet certainty.
    rate = (alert.affected_count + 1) / (alert.examined_count + 2)
    return max(0.0, rate - alert.baseline_rate) * kill_ratio(alert.pattern, policy)


def _foreseen(alert: AlertRecord, policy: Policy) -> float:
    """Share of the dies of a spoilt wafer that a fault would kill, by its likely causes."""
    found = weight = 0.0
    for cause in alert.causes:
        mode = policy.failure_modes.get(cause.mode)
        if mode is None or not mode.patterns:
            continue
        slots = (mode.slots[1] - mode.slots[0] + 1) / _SLOTS if mode.slots else 1.0
        kills = max(kill_ratio(pattern, policy) for pattern in mode.patterns)
        found += cause.probability * kills * min(1.0, slots)
        weight += cause.probability
    return found / weight if weight >= NAMED else kill_ratio("default", policy)


def options(
    alert: AlertRecord, state: ControlState, policy: Policy, outlook: Outlook
) -> list[Action]:
    """Actions that are better than waiting, best first, none that was refused for this alert.

    Args:
        alert: with a suspect module, else there is nothing to act on.
        state: with the actions applied so far.
        policy: what things are worth.
        outlook: what is to come.
    """
    if not alert.module:
        return []
    if alert.judged_only:
        # A score names no failure mode: it is worth a look, and nothing that touches the process.
        looked = _worth_a_look(alert, policy, outlook)
        asked = _made("request_metrology", alert, state, policy, outlook) if looked else None
        return [asked] if asked is not None else []
    module = state.modules.get(alert.module)
    if alert.until_ms >= 0:
        # An inhibit contains the cause; only maintenance gives the module back.
        contained = module is not None and module.inhibited and "schedule_pm" not in alert.refused
        cure = _made("schedule_pm", alert, state, policy, outlook) if contained else None
        return [cure] if cure is not None else []
    kinds: list[ActionKind] = ["schedule_pm"]
    if alert.kind == "pattern":
        kinds.append("inhibit_module")
        if outlook.lots:
            kinds.append("hold_lot")
    # A recipe makes up for one mode; of two at once the other one would go on.
    if alert.shifts and len(named_modes(alert)) < 2:
        kinds.append("adjust_recipe")
    ranked: list[tuple[float, Action]] = []
    for kind in kinds:
        action = None if kind in alert.refused else _made(kind, alert, state, policy, outlook)
        if action is not None:
            gain = worth(kind, alert, policy, outlook) - action.cost_good_dies
            if gain > 0.0 and not _better_to_wait(kind, alert, policy):
                ranked.append((gain, action))
    # Stopping lots stops product, not the cause: only where nothing removes the cause.
    ranked.sort(key=lambda item: (item[1].kind == "hold_lot", -item[0], item[1].kind))
    if not ranked and _worth_asking(alert, policy, outlook):
        asked = _made("request_metrology", alert, state, policy, outlook)
        return [asked] if asked is not None else []
    return [action for _, action in ranked]


def worth(kind: ActionKind, alert: AlertRecord, policy: Policy, outlook: Outlook) -> float:
    """Good dies that an action is expected to save until the cause would have been noticed."""
    economics = policy.economics
    lost = alert.confidence * lost_share(alert, policy) * economics.dies_per_wafer
    if kind == "hold_lot":
        return lost * economics.wafers_per_lot * outlook.share_of_lot * economics.success[kind]
    # At least the next lot comes, however little was seen so far.
    coming = economics.wafers_per_lot * outlook.share_of_lot
    wafers = max(coming, outlook.wafers_per_h * economics.horizon_h)
    late = economics.delay_h.get(kind, 0.0) * outlook.wafers_per_h
    again = (1.0 - economics.success[kind]) * policy.detection.clean_wafers
    return lost * max(0.0, wafers - late - again)


def _better_to_wait(kind: ActionKind, alert: AlertRecord, policy: Policy) -> bool:
    """Whether a few more wafers are a fair price for not being wrong."""
    economics = policy.economics
    next_wafers = WAIT_WAFERS * lost_share(alert, policy) * economics.dies_per_wafer
    wrong = economics.needless_good_dies + economics.cost_good_dies[kind]
    if kind in REVERSIBLE:
        # Taken back as soon as it is known: after a shift instead of the whole horizon.
        wrong -= economics.cost_good_dies[kind] * max(
            0.0, 1.0 - economics.response_h / max(economics.horizon_h, 1e-9)
        )
    return alert.confidence * next_wafers < (1.0 - alert.confidence) * wrong


def _worth_asking(alert: AlertRecord, policy: Policy, outlook: Outlook) -> bool:
    """Whether measurements of a lot are worth their price: they decide what traces left open."""
    if "request_metrology" in alert.refused or not outlook.lots or alert.kind != "fault":
        return False
    if alert.confidence < ASK_FROM or alert.profile_wafers < ASK_AFTER:
        return False
    if alert.causes and alert.causes[0].mode == SENSOR:
        return False
    if not _better_to_wait("schedule_pm", alert, policy):
        return False  # it is clear enough; what would help is not wanted, or not allowed
    at_stake = worth("schedule_pm", alert, policy, outlook)
    return at_stake > policy.economics.cost_good_dies["request_metrology"]


def _worth_a_look(alert: AlertRecord, policy: Policy, outlook: Outlook) -> bool:
    """Whether what is at stake is worth the measurement of a lot."""
    if "request_metrology" in alert.refused or not outlook.lots or alert.until_ms >= 0:
        return False
    at_stake = worth("schedule_pm", alert, policy, outlook)
    return at_stake > policy.economics.cost_good_dies["request_metrology"]


def _made(
    kind: ActionKind, alert: AlertRecord, state: ControlState, policy: Policy, outlook: Outlook
) -> Action | None:
    economics = policy.economics
    success = economics.success[kind]
    per_lot = economics.wafers_per_lot * economics.dies_per_wafer * outlook.share_of_lot
    expected = per_lot * alert.confidence * lost_share(alert, policy) * success
    equipment_id, _, module_id = alert.module.partition("/")
    lot_id = recipe_id = parameter = ""
    value, confidence = 0.0, alert.confidence * success
    if kind in ("hold_lot", "request_metrology"):
        lot_id, equipment_id, module_id = outlook.lots[0], "", ""
    if kind == "request_metrology":
        confidence = alert.confidence
    if kind == "schedule_pm" and alert.until_ms >= 0:
        expected = economics.cost_good_dies["inhibit_module"] * success
    if kind == "adjust_recipe":
        found = _correction(alert, state, policy)
        if found is None:
            return None
        recipe_id, parameter, value = found
    action_id = derived_id("action", alert.alert_id, kind, alert.proposals)
    return Action(
        event_id=Action.event_id_for(action_id, "proposed"),
        site=state.site,
        time_ms=state.now_ms,
        action_id=action_id,
        alert_id=alert.alert_id,
        kind=kind,
        status="proposed",
        by="advisor",
        comment=_why(alert),
        equipment_id=equipment_id,
        module_id=module_id,
        lot_id=lot_id,
        recipe_id=recipe_id,
        parameter=parameter,
        value=value,
        expected_good_dies=round(expected, 1),
        cost_good_dies=economics.cost_good_dies[kind],
        confidence=round(confidence, 4),
        check=_check(kind, alert, policy),
        evidence=_evidence(kind, alert, policy, outlook),
    )


def _correction(
    alert: AlertRecord, state: ControlState, policy: Policy
) -> tuple[str, str, float] | None:
    """Recipe, parameter and value that make up for the cause, or None if none is allowed.

    What the failure mode's own entry says comes first; else the variable that moved most is brought
    back, if it follows a parameter.
    """
    shift = alert.shifts[0]
    first = alert.causes[0] if alert.causes else None
    mode = policy.failure_modes.get(first.mode) if first and first.probability >= NAMED else None
    if mode is not None and mode.correction is not None:
        name = mode.correction.parameter
        limit = policy.recipe_parameters.get(name)
        if limit is None:
            return None
        change = mode.correction.change * alert.grown
        start = _in_force(alert, state, shift.recipe_id, name)
        if start is None:
            start = _normal_of(alert, limit)
        if start is None:
            return None
        value = start + max(-limit.max_step, min(limit.max_step, change))
        allowed = math.isfinite(value) and limit.min <= value <= limit.max
        return (shift.recipe_id, name, round(value, 6)) if allowed else None
    for name, limit in sorted(policy.recipe_parameters.items()):
        if limit.variable != shift.variable:
            continue
        step = _step(shift.mean - shift.normal, limit)
        # Without a change of ours, the set point is what the variable normally follows.
        start = _in_force(alert, state, shift.recipe_id, name)
        value = (shift.normal / limit.gain if start is None else start) + step
        if math.isfinite(value) and limit.min <= value <= limit.max:
            return shift.recipe_id, name, round(value, 6)
    return None


def _in_force(
    alert: AlertRecord, state: ControlState, recipe_id: str, parameter: str
) -> float | None:
    """The value that an earlier action of ours set, or None."""
    applied = [
        action.value
        for action in state.actions.values()
        if action.status == "applied"
        and (action.module, action.recipe_id, action.parameter)
        == (alert.module, recipe_id, parameter)
    ]
    return applied[-1] if applied else None


def previous_value(
    action: Action, alert: AlertRecord, state: ControlState, policy: Policy
) -> float | None:
    """The recipe value that `adjust_recipe` replaces, as far as it is known."""
    limit = policy.recipe_parameters.get(action.parameter)
    if action.kind != "adjust_recipe" or limit is None:
        return None
    known = _in_force(alert, state, action.recipe_id, action.parameter)
    return _normal_of(alert, limit) if known is None else known


def _normal_of(alert: AlertRecord, limit: RecipeParameter) -> float | None:
    """The set point that the parameter's variable normally follows, if it is among the shifts."""
    for shift in alert.shifts:
        if shift.variable == limit.variable:
            return shift.normal / limit.gain
    return None


def _step(error: float, limit: RecipeParameter) -> float:
    return max(-limit.max_step, min(limit.max_step, -error / limit.gain))


def _why(alert: AlertRecord) -> str:
    parts = []
    if alert.causes and alert.causes[0].mode not in (OTHER, SENSOR):
        parts.append(f"{alert.causes[0].mode} ({alert.causes[0].probability:.0%})")
    if alert.pattern:
        parts.append(
            f"{alert.pattern} on {alert.affected_count} of {alert.examined_count} wafers after"
            f" {alert.module}, {alert.baseline_rate:.1%} elsewhere"
        )
    if alert.shifts:
        top = alert.shifts[0]
        parts.append(f"{top.variable} at {top.mean:.4g}, normally {top.normal:.4g} ({top.z:+.1f}σ)")
    return "; ".join(parts)


def _evidence(
    kind: ActionKind, alert: AlertRecord, policy: Policy, outlook: Outlook
) -> tuple[str, ...]:
    """What the decision rests on, for people."""
    economics = policy.economics
    said = [
        f"{cause.module}: {cause.mode or 'not on the list'} {cause.probability:.0%}"
        + (f" ({'; '.join(cause.evidence)})" if cause.evidence else "")
        for cause in alert.causes[:3]
    ]
    saved, cost = worth(kind, alert, policy, outlook), economics.cost_good_dies[kind]
    said.append(
        f"saves {saved:.0f} good dies within {economics.horizon_h:g} h, at {alert.confidence:.0%}"
        f" and {outlook.wafers_per_h:.1f} wafers/h; costs {cost:g},"
        f" and {economics.needless_good_dies:g} more if it was needless"
    )
    said.append("can be taken back" if kind in REVERSIBLE else "cannot be taken back")
    return tuple(said)


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
    if kind == "request_metrology":
        return f"the lot's measurements: do the wafers of {alert.module} differ from the others?"
    what = "maintenance" if kind == "schedule_pm" else "the change"
    return f"traces of {alert.module} back in their limits and {clean} clean wafers after {what}"
