"""What no action may do, whoever approves it. Every action the engine sends has passed here."""

import math

from contracts.events import Action
from control.policy import Policy
from control.state import ActionRecord, AlertRecord, ControlState

__all__ = ["HOUR_MS", "available_modules", "doubt", "is_open", "refusal"]

HOUR_MS = 3_600_000


def is_open(action: ActionRecord) -> bool:
    """Proposed or approved, and its end not known yet."""
    return action.status in ("proposed", "approved")


def available_modules(state: ControlState, step: str, without: str, since_ms: int) -> list[str]:
    """Modules other than `without` that do `step`, are in use and are not about to be inhibited.

    Args:
        state: with the modules and actions.
        step: the step to be done.
        without: 'equipment/module' that is to go.
        since_ms: a module that has not done the step since then does not count.
    """
    leaving = {
        action.module
        for action in state.actions.values()
        if action.kind == "inhibit_module" and is_open(action)
    }
    return [
        name
        for name, module in state.modules.items()
        if name != without
        and module.steps.get(step, -1) >= since_ms
        and not module.down
        and not module.inhibited
        and name not in leaving
    ]


def refusal(
    action: Action,
    alert: AlertRecord,
    state: ControlState,
    policy: Policy,
    at_risk: set[str],
    *,
    new: bool = True,
) -> str:
    """Why an action must not be sent, for people; '' if it may.

    Args:
        action: about to be proposed or approved.
        alert: what it answers.
        state: with open actions, the last hour's proposals, and the modules.
        policy: with the limits.
        at_risk: lots that went through the suspect and are not tested.
        new: it was not counted among the hour's actions yet.
    """
    limits = policy.limits
    doubtful = doubt(alert, state, policy)
    if doubtful:
        return doubtful
    if sum(is_open(known) for known in state.actions.values()) >= limits.max_open_actions:
        return f"{limits.max_open_actions} actions are open already"
    recent = sum(time_ms > state.now_ms - HOUR_MS for time_ms in state.proposed_ms)
    if new and recent >= limits.max_actions_per_hour:
        return f"{limits.max_actions_per_hour} actions were proposed within an hour"
    # Written so that a NaN is refused too.
    if not action.confidence >= limits.min_confidence:
        return f"confidence {action.confidence:.2f} is below {limits.min_confidence:.2f}"
    if action.kind in ("hold_lot", "request_metrology"):
        if action.lot_id not in at_risk:
            return f"lot {action.lot_id!r} is not at risk from {alert.module!r}"
        return ""
    target = f"{action.equipment_id}/{action.module_id}"
    if not alert.module or target != alert.module or target not in state.modules:
        return f"there is no evidence about {target!r}"
    if action.kind == "release_module" and not state.modules[target].inhibited:
        return f"{target!r} is not inhibited"
    if action.kind == "inhibit_module":
        return _inhibit_refusal(target, alert, state, policy)
    if action.kind == "adjust_recipe":
        return _recipe_refusal(action, policy)
    return ""


def doubt(alert: AlertRecord, state: ControlState, policy: Policy) -> str:
    """Why the data behind an alert are not good enough to act on, for people; '' if they are.

    Args:
        alert: with a suspect.
        state: what the suspect told, and the fab's clock.
        policy: how old and how incomplete its news may be.
    """
    limits = policy.limits
    if state.out_of_time:
        return "the latest events contradict the fab's clock"
    module = state.modules.get(alert.module)
    if module is None or not (module.kind or module.steps):
        return f"no equipment or process event ever named {alert.module!r}"
    oldest_ms = state.now_ms - limits.max_evidence_age_h * HOUR_MS
    if alert.until_ms < 0 and alert.evidence_ms < oldest_ms:
        return f"the latest news of {alert.module} are older than {limits.max_evidence_age_h:g} h"
    if alert.kind == "pattern":
        return ""
    seen = min(alert.affected_count, alert.profile_wafers)
    if seen < limits.min_traces and not alert.measured:
        return f"fewer than {limits.min_traces} traces of {alert.module} speak of it"
    if module.missing > limits.max_missing_sensors:
        return f"{module.missing:.0%} of the sensors of {alert.module} say nothing"
    return ""


def _inhibit_refusal(target: str, alert: AlertRecord, state: ControlState, policy: Policy) -> str:
    if alert.kind != "pattern" or alert.affected_count < policy.detection.min_bad_wafers:
        return "no wafer pattern speaks against it, only traces"
    horizon = state.now_ms - int(policy.detection.remember_h * HOUR_MS)
    steps = [step for step, last in state.modules[target].steps.items() if last >= horizon]
    if not steps:
        return f"it is not known which steps {target!r} does"
    for step in steps:
        left = len(available_modules(state, step, target, horizon))
        if left < policy.limits.min_available_modules:
            return f"only {left} other modules would be left for step {step!r}"
    return ""


def _recipe_refusal(action: Action, policy: Policy) -> str:
    limit = policy.recipe_parameters.get(action.parameter)
    if limit is None:
        return f"the policy has no limits for the recipe parameter {action.parameter!r}"
    if not (math.isfinite(action.value) and limit.min <= action.value <= limit.max):
        return f"{action.value:g} is outside {limit.min:g} to {limit.max:g}"
    return ""
