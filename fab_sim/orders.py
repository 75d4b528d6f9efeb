"""Obeying actions: what the fab refuses, and what it does."""

from contracts.events import Action
from fab_sim.kinds import KINDS
from fab_sim.line import Line
from fab_sim.modules import Module

__all__ = ["obey"]


def obey(line: Line, action: Action) -> tuple[str, tuple[Module, ...]]:
    """Do what an approved action says, or say why not.

    Returns:
        The reason of a refusal ('' if it was done) and the modules whose state it touched.
    """
    if action.kind == "hold_lot":
        return _hold(line, action), ()
    modules = _targets(line, action)
    if not modules:
        target = f"{action.equipment_id}/{action.module_id}".rstrip("/")
        return f"there is no module {target!r} here", ()
    if action.kind == "adjust_recipe":
        return _adjust(line, action, modules), modules
    if len(modules) != 1:
        return f"{action.kind} needs one module, {action.equipment_id} has {len(modules)}", ()
    if action.kind == "inhibit_module":
        return _inhibit(line, modules[0]), modules
    return _schedule_pm(line, action, modules[0]), modules


def _targets(line: Line, action: Action) -> tuple[Module, ...]:
    """The module an action names; without a module all of the equipment's."""
    return tuple(
        module
        for module in line.modules.values()
        if module.equipment_id == action.equipment_id and action.module_id in ("", module.module_id)
    )


def _hold(line: Line, action: Action) -> str:
    lot = line.lots.get(action.lot_id)
    if lot is None:
        return f"lot {action.lot_id!r} is not on the line: it has left or never was"
    if lot.held:
        return f"lot {lot.lot_id} is on hold already ({lot.held})"
    line.hold(lot, f"action {action.action_id}")
    return ""


def _inhibit(line: Line, module: Module) -> str:
    if module.inhibited:
        return f"{module.name} is inhibited already"
    others = [
        other
        for other in line.modules.values()
        if other.kind == module.kind and other is not module and not other.inhibited
    ]
    if not others:
        return f"{module.name} is the last module for {module.kind}: the line would stop"
    module.inhibited = True
    return ""


def _schedule_pm(line: Line, action: Action, module: Module) -> str:
    if module.in_pm or module.pm_due:
        return f"{module.name} is in maintenance or waiting for it already"
    line.schedule_pm(module, f"maintenance, action {action.action_id}")
    return ""


def _adjust(line: Line, action: Action, modules: tuple[Module, ...]) -> str:
    kind = modules[0].kind
    recipes = {step.recipe for step in line.scenario.route if step.kind == kind}
    if action.recipe_id not in recipes:
        return f"{modules[0].equipment_id} runs no recipe {action.recipe_id!r}"
    known = {parameter.name: parameter for parameter in KINDS[kind].parameters}
    parameter = known.get(action.parameter)
    if parameter is None:
        return (
            f"recipe {action.recipe_id} has no parameter {action.parameter!r}:"
            f" it has {', '.join(known) or 'none'}"
        )
    if not parameter.low <= action.value <= parameter.high:
        return (
            f"{parameter.name} = {action.value:g} is outside"
            f" {parameter.low:g} to {parameter.high:g}"
        )
    for module in modules:
        module.change_recipe(action.recipe_id, parameter.name, action.value)
    return ""
