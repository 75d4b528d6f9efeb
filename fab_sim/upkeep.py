"""States, maintenance and faults of modules: what befalls them between and beside wafers."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import simpy

from contracts.events import E10State
from fab_sim.modules import Module
from fab_sim.report import Report
from fab_sim.scenario import Excursion, SensorFault

__all__ = ["HOUR_MS", "Process", "Upkeep"]

HOUR_MS = 3_600_000
# Planned maintenance, and the repair of a breakdown.
_PM_H, _REPAIR_H = (3.0, 5.0), (1.0, 6.0)

Process = Generator[simpy.Event, Any, None]
"""A process of simpy that gives nothing back."""


class Upkeep:
    """Keeps the E10 states of all modules, maintains them, and makes them ill.

    Args:
        env: the simulation's clock, in milliseconds since the epoch.
        modules: by 'equipment/module'.
        key: what excursions are drawn from (site and seed).
        report: is told what happens.
        dispatch: called with the kind of a module that takes wafers again.
    """

    def __init__(
        self,
        env: simpy.Environment,
        modules: Mapping[str, Module],
        key: str,
        report: Report,
        dispatch: Callable[[str], None],
    ) -> None:
        self._env = env
        self._modules = modules
        self._key = key
        self._report = report
        self._dispatch = dispatch

    def occupy(self, module: Module) -> None:
        """A module begins to process a wafer."""
        module.busy = True
        if module.state != "productive":
            self._set_state(module, "productive", "")

    def release(self, module: Module) -> None:
        """A module has no more wafers for now: maintenance that was waiting begins."""
        module.busy = False
        if module.down_due:
            self._env.process(self._go_down(module))
        elif not module.down:
            self._set_state(module, "standby", "")

    def _set_state(self, module: Module, state: E10State, reason: str) -> None:
        """Change a module's E10 state and report it, if it is another one."""
        if module.state != state:
            module.state = state
            self._report.state(module, reason)

    def schedule_pm(self, module: Module, reason: str) -> None:
        """Take a module down for maintenance as soon as its wafer is done."""
        module.down_due, module.down_planned = reason, True
        if not module.busy and module.state != "productive":
            self._env.process(self._go_down(module))

    def _go_down(self, module: Module) -> Process:
        """Maintenance, which puts everything right, or the repair of what broke, which does not."""
        reason, planned = module.down_due, module.down_planned
        module.down_due, module.down = "", True
        self._set_state(module, "scheduled_down" if planned else "unscheduled_down", reason)
        hours = module.down_hours(*(_PM_H if planned else _REPAIR_H))
        yield self._env.timeout(int(hours * HOUR_MS))
        module.down = False
        if planned:
            for illness in module.maintain(int(self._env.now)):
                self._report.cleared(module, illness)
        what = "maintenance is done" if planned else "repaired"
        self._set_state(module, "standby", f"{what}: {reason}")
        self._dispatch(module.kind)

    def begin(self, excursion: Excursion) -> None:
        """An excursion begins on its module now."""
        module = self._modules[f"{excursion.equipment}/{excursion.module}"]
        self._report.began(module, module.fall_ill(excursion, self._key, int(self._env.now)))

    def begin_later(self, excursion: Excursion, hours: float) -> Process:
        """An excursion begins `hours` after the fab has started."""
        yield self._env.timeout(int(hours * HOUR_MS) + 1)
        self.begin(excursion)

    def sensor_fault(self, fault: SensorFault) -> Process:
        """A sensor fails at its time, and is mended if the scenario says when."""
        module = self._modules[f"{fault.equipment}/{fault.module}"]
        yield self._env.timeout(int(fault.onset_h * HOUR_MS) + 1)
        begun = module.sensor_fails(fault)
        if fault.until_h is not None:
            yield self._env.timeout(int((fault.until_h - fault.onset_h) * HOUR_MS))
            module.sensor_mended(begun)
