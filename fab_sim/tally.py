"""Counts what a run was worth: good dies made, time lost, material scrapped."""

from dataclasses import dataclass, field

from fab_sim.economy import COSTS
from fab_sim.modules import Module
from fab_sim.scenario import Scenario

__all__ = ["Tally"]

_HOUR_MS = 3_600_000


@dataclass
class Tally:
    """What one site did so far.

    Attributes:
        wafers: tested ones.
        dies: on them; `good_dies` of them passed.
        scrapped_wafers: thrown away with their lot.
        lots: that left the line; `lot_hours` is the time they were on it, all together.
        lost_module_hours: in which a module was down or inhibited, until the last thing counted.
        measurements: wafers measured or inspected, each stop counted.
        recipe_changes: obeyed.
    """

    scenario: Scenario
    wafers: int = 0
    dies: int = 0
    good_dies: int = 0
    scrapped_wafers: int = 0
    lots: int = 0
    lot_hours: float = 0.0
    measurements: int = 0
    recipe_changes: int = 0
    _first_ms: int | None = None
    _last_ms: int = 0
    _now_ms: int = 0
    _lost_ms: int = 0
    _lost_since: dict[str, int] = field(default_factory=dict)

    def entered(self, now_ms: int) -> None:
        """A lot has entered the line."""
        if self._first_ms is None:
            self._first_ms = now_ms
        self._last_ms = self._now_ms = now_ms

    def left(self, started_ms: int, now_ms: int, scrapped: int) -> None:
        """A lot has left the line, with so many wafers scrapped."""
        self._now_ms = now_ms
        self.lots += 1
        self.lot_hours += (now_ms - started_ms) / _HOUR_MS
        self.scrapped_wafers += scrapped

    def tested(self, dies: int, good: int) -> None:
        """A wafer was tested."""
        self.wafers += 1
        self.dies += dies
        self.good_dies += good

    def module(self, module: Module, now_ms: int) -> None:
        """A module is in another state, or is inhibited or released."""
        self._now_ms = now_ms
        lost = module.inhibited or module.state in ("scheduled_down", "unscheduled_down")
        since = self._lost_since.pop(module.name, None)
        if since is not None:
            self._lost_ms += now_ms - since
        if lost:
            self._lost_since[module.name] = now_ms

    @property
    def lost_module_hours(self) -> float:
        """Hours in which a module was down or inhibited."""
        still = sum(self._now_ms - since for since in self._lost_since.values())
        return (self._lost_ms + still) / _HOUR_MS

    @property
    def hours(self) -> float:
        """Fab time, hours: from the first lot's start to one interval after the last one's.

        Not to the last test: a finite run is to measure a line at work, not one running empty.
        """
        if self._first_ms is None:
            return 0.0
        return (self._last_ms - self._first_ms) / _HOUR_MS + self.scenario.lots.every_h

    @property
    def module_availability(self) -> float:
        """Share of the module hours in which the module could have worked."""
        modules = sum(len(tool.modules) for tool in self.scenario.equipment)
        whole = modules * (self._now_ms - (self._first_ms or 0)) / _HOUR_MS
        return 1.0 - self.lost_module_hours / whole if whole else 1.0

    @property
    def cost_wafers(self) -> float:
        """All costs, in wafers' worth of dies."""
        return (
            COSTS.module_hour * self.lost_module_hours
            + COSTS.lot_hour * self.lot_hours
            + COSTS.measurement * self.measurements
            + COSTS.recipe_change * self.recipe_changes
            + COSTS.scrap * self.scrapped_wafers
        )

    @property
    def dies_per_wafer(self) -> float:
        """Dies on a wafer, mean over those tested."""
        return self.dies / self.wafers if self.wafers else 0.0

    @property
    def value(self) -> float:
        """Good dies per hour of fab time, less all costs."""
        if not self.hours:
            return 0.0
        return (self.good_dies - self.cost_wafers * self.dies_per_wafer) / self.hours
