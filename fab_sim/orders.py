"""Obeying actions: what the fab refuses, and what it does.

Nothing happens at once: a lot stops when its wafers leave the modules, a module is inhibited or
goes down once its wafer is done, a changed recipe is for the next wafer, and a lot is measured when
its present step is over.
"""

from collections.abc import Callable
from typing import NamedTuple

from contracts.events import LOT_ACTIONS, Action, ActionKind
from fab_sim.kinds import INSPECTION, KINDS, METROLOGY
from fab_sim.line import Line
from fab_sim.lots import Lot
from fab_sim.modules import Module

__all__ = ["Answer", "obey"]


class Answer(NamedTuple):
    """What became of an action.

    Attributes:
        reason: of a refusal; '' if it was done.
        touched: modules whose state it may have changed.
    """

    reason: str
    touched: tuple[Module, ...] = ()


def obey(line: Line, action: Action) -> Answer:
    """Do what an approved action says, or say why not."""
    if action.kind in LOT_ACTIONS:
        lot = line.lots.get(action.lot_id)
        if lot is None:
            return Answer(f"lot {action.lot_id!r} is not on the line: it has left or never was")
        return Answer(_ON_LOTS[action.kind](line, action, lot))
    modules = _targets(line, action)
    if not modules:
        target = f"{action.equipment_id}/{action.module_id}".rstrip("/")
        return Answer(f"there is no module {target!r} here")
    if action.kind == "adjust_recipe":
        return Answer(_adjust(line, action, modules), modules)
    if len(modules) != 1:
        wanted = f"{action.kind} needs one module, {action.equipment_id} has {len(modules)}"
        return Answer(wanted, ())
    return Answer(_ON_MODULES[action.kind](line, action, modules[0]), modules)


def _targets(line: Line, action: Action) -> tuple[Module, ...]:
    """The module an action names; without a module all of the equipment's."""
    return tuple(
        module
        for module in line.modules.values()
        if module.equipment_id == action.equipment_id and action.module_id in ("", module.module_id)
    )


def _hold(line: Line, action: Action, lot: Lot) -> str:
    if lot.held:
        return f"lot {lot.lot_id} is on hold already ({lot.held})"
    line.hold(lot, f"action {action.action_id}")
    return ""


def _release_lot(line: Line, action: Action, lot: Lot) -> str:
    if not lot.held:
        return f"lot {lot.lot_id} is not on hold"
    line.release(lot)
    return ""


def _request_metrology(line: Line, action: Action, lot: Lot) -> str:
    if lot.wants_metrology:
        return f"all wafers of lot {lot.lot_id} are to be measured already"
    kinds = {module.kind for module in line.modules.values()}
    if not kinds & {METROLOGY, INSPECTION}:
        return "there is no metrology and no inspection equipment here"
    lot.wants_metrology = True
    return ""


def _inhibit(line: Line, action: Action, module: Module) -> str:
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


def _release_module(line: Line, action: Action, module: Module) -> str:
    if not module.inhibited:
        return f"{module.name} is not inhibited"
    module.inhibited = False
    line.dispatch(module.kind)
    return ""


def _schedule_pm(line: Line, action: Action, module: Module) -> str:
    if module.down or module.down_due:
        return f"{module.name} is down or about to go down already"
    line.upkeep.schedule_pm(module, f"maintenance, action {action.action_id}")
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


_ON_LOTS: dict[ActionKind, Callable[[Line, Action, Lot], str]] = {
    "hold_lot": _hold,
    "release_lot": _release_lot,
    "request_metrology": _request_metrology,
}
_ON_MODULES: dict[ActionKind, Callable[[Line, Action, Module], str]] = {
    "inhibit_module": _inhibit,
    "release_module": _release_module,
    "schedule_pm": _schedule_pm,
}
