"""Hidden state of a module: offsets, drift, recipe changes, and what is going wrong in it."""

import random
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from contracts.events import E10State
from fab_sim.kinds import KINDS
from fab_sim.maps import Hit
from fab_sim.modes import MODES, Mode
from fab_sim.randomness import generator
from fab_sim.scenario import Equipment, Excursion

__all__ = ["Illness", "Module", "ModuleRun"]

# Matching between modules, and what maintenance leaves behind, in wafer-to-wafer deviations: well
# inside what tool matching tolerates.
_MATCHING, _AFTER_PM = 0.45, 0.3
# Drift ends near one deviation after so many wafers since maintenance.
_DRIFT, _DRIFT_WAFERS = 0.5, 1500.0
# Below this strength a field touches no die worth the name.
_LEAST_STRENGTH = 0.05


@dataclass(slots=True)
class Illness:
    """An excursion at work on a module."""

    excursion: Excursion
    mode: Mode
    onset_ms: int
    wafers: int = 0

    def progress(self) -> float:
        """How far it has grown, 0 to 1."""
        if self.excursion.growth == "step":
            return 1.0
        return min(1.0, self.wafers / self.excursion.growth_wafers)

    def sensor_level(self) -> float:
        """Share of the signature that shows: full half-way, before wafers suffer."""
        return min(1.0, 2.0 * self.progress()) * self.excursion.magnitude

    def field_level(self) -> float:
        """Share of the field that acts: nothing until half-way."""
        return max(0.0, 2.0 * self.progress() - 1.0) * self.excursion.magnitude


@dataclass(slots=True)
class ModuleRun:
    """What the module was like while it processed one wafer; all a trace needs.

    Attributes:
        shifts: (variables,) of the wafer's mean, in wafer-to-wafer deviations.
        levels: (variables,) set points, in the variables' units.
        metrology_shift: of the value measured afterwards, in its deviations.
        hits: what happened to the wafer.
        detuned: distance of the recipe from right, 0 for right, about 1 for the range's end.
    """

    shifts: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]
    metrology_shift: float
    hits: list[Hit] = field(default_factory=list)
    detuned: float = 0.0


class Module:
    """A module and its hidden state.

    Args:
        tool: the equipment it is in.
        module_id: its name there.
        key: what its offsets are drawn from (site and seed).
    """

    def __init__(self, tool: Equipment, module_id: str, key: str) -> None:
        self.equipment_id = tool.id
        self.module_id = module_id
        self.kind = tool.kind
        self.name = f"{tool.id}/{module_id}"
        self.state: E10State = "standby"
        self.inhibited = False
        self.busy = False
        self.pm_due = ""
        self.in_pm = False
        self.illnesses: list[Illness] = []
        self.wafers_since_pm = 0
        spec = KINDS[tool.kind]
        draw = generator(key, "module", self.name)
        self._index = {variable.name: i for i, variable in enumerate(spec.variables)}
        self._levels = np.array([variable.level for variable in spec.variables])
        self._offset = _MATCHING * draw.normal(size=len(self._levels))
        self._drift = _DRIFT * draw.normal(size=len(self._levels))
        self._metrology_offset = 0.4 * float(draw.normal())
        self._parameters = {parameter.name: parameter for parameter in spec.parameters}
        self._changed: dict[str, dict[str, float]] = {}
        self._draw = draw
        self._key = key

    @property
    def usable(self) -> bool:
        """Whether a new wafer may be sent to it."""
        return not self.inhibited and not self.pm_due and not self.in_pm

    def change_recipe(self, recipe: str, parameter: str, value: float) -> None:
        """Set a recipe parameter from the next wafer on. The caller has checked its range."""
        self._changed.setdefault(recipe, {})[parameter] = value

    def maintain(self) -> list[Illness]:
        """Put everything right, with the small shift that maintenance leaves.

        Returns:
            What it ended.
        """
        ended, self.illnesses = self.illnesses, []
        self.wafers_since_pm = 0
        self._offset = self._offset + _AFTER_PM * self._draw.normal(size=len(self._levels))
        self.inhibited = False
        return ended

    def process(self, recipe: str, chance: random.Random, now_ms: int) -> ModuleRun:
        """One more wafer: what it suffers, what the sensors are to show."""
        drift = self._drift * min(1.0, self.wafers_since_pm / _DRIFT_WAFERS)
        changed = self._changed.get(recipe, {})
        run = ModuleRun(self._offset + drift, self._levels, self._metrology_offset)
        if changed:
            run.levels = self._levels.copy()
            for name, value in changed.items():
                if name in self._index:
                    run.levels[self._index[name]] = value
        wrong = {name: self._moved(name, value) for name, value in changed.items()}
        for illness in self.illnesses:
            illness.wafers += 1
            self._suffer(illness, run, changed, wrong, chance, now_ms)
        run.detuned = sum(abs(share) for share in wrong.values())
        self.wafers_since_pm += 1
        return run

    def _suffer(
        self,
        illness: Illness,
        run: ModuleRun,
        changed: dict[str, float],
        wrong: dict[str, float],
        chance: random.Random,
        now_ms: int,
    ) -> None:
        mode, level = illness.mode, illness.sensor_level()
        for name, sigmas in mode.signature:
            run.shifts[self._index[name]] += sigmas * level
        left = 1.0
        cure = mode.compensation
        if cure is not None and cure.parameter in changed:
            # A change that makes up for the mode is no detuning; too much or the wrong way is.
            moved = changed[cure.parameter] - self._parameters[cure.parameter].nominal
            left = min(1.5, abs(1.0 - moved / cure.shift))
            wrong[cure.parameter] = 0.0
        run.metrology_shift += mode.metrology_shift * level * left
        # Drawn whether or not it can hit, so that a cure changes nothing else.
        suffers = chance.random() < illness.excursion.share
        strength = illness.field_level() * left * chance.uniform(0.85, 1.1)
        if suffers and strength > _LEAST_STRENGTH:
            run.hits.append(Hit(illness.excursion.mode, strength, self.cause_of(illness), now_ms))

    def cause_of(self, illness: Illness) -> str:
        """Names an excursion among all sites and seeds: wafers of one cause look alike."""
        return f"{self._key}/{illness.excursion.id}"

    def _moved(self, name: str, value: float) -> float:
        parameter = self._parameters[name]
        return (value - parameter.nominal) / (0.5 * (parameter.high - parameter.low))

    def fall_ill(self, excursion: Excursion, now_ms: int) -> Illness:
        """An excursion begins."""
        illness = Illness(excursion, MODES[excursion.mode], now_ms)
        self.illnesses.append(illness)
        return illness
