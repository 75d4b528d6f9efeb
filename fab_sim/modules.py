"""Hidden state of a module: offsets, drift, recipe changes, and what is going wrong in it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from contracts.events import E10State
from fab_sim.kinds import KINDS
from fab_sim.maps import Hit
from fab_sim.modes import MODES, Mode
from fab_sim.randomness import generator
from fab_sim.scenario import Equipment, Excursion, Reliability
from fab_sim.scenario import SensorFault as ScenarioFault
from fab_sim.sensor_faults import MAX_WAFERS, SensorFault, chance_faults

__all__ = ["Illness", "Module", "ModuleRun"]

# Matching between modules, and what maintenance leaves behind, in wafer-to-wafer deviations: well
# inside what tool matching tolerates.
_MATCHING, _AFTER_PM = 0.45, 0.3
# Drift ends near one deviation after so many wafers since maintenance.
_DRIFT, _DRIFT_WAFERS = 0.5, 1500.0
# Below this strength a field touches no die worth the name.
_LEAST_STRENGTH = 0.05

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Illness:
    """An excursion at work on a module.

    Attributes:
        wafers: processed by the module since the onset.
    """

    excursion: Excursion
    mode: Mode
    cause: str
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

    def left_by(self, parameter: str, value: float) -> float:
        """Share of its effects that a recipe with this parameter at this value leaves.

        1 for a parameter that has nothing to do with it; more than 1 for the wrong way.
        """
        cure = self.mode.compensation
        if cure is None or cure.parameter != parameter:
            return 1.0
        known = {item.name: item for kind in self.mode.kinds for item in KINDS[kind].parameters}
        return min(1.5, abs(1.0 - (value - known[parameter].nominal) / cure.shift))

    def hits_slot(self, slot: int) -> bool:
        """Whether a wafer at this place can suffer; most modes do not ask."""
        boat = self.mode.boat
        return boat is None or boat[0] <= slot <= boat[1]


@dataclass(slots=True)
class ModuleRun:
    """What the module was like while it processed one wafer; all a trace needs.

    Attributes:
        offset: (variables,) of the module's own, in wafer-to-wafer deviations.
        drift: (variables,) full drift; `aged` is the share of it that is there.
        levels: (variables,) set points, in the variables' units.
        number: wafers the module had treated before, in all its life.
        sensor_faults: that a scenario asked for.
        order: wafers the module has taken from this lot before, from 0.
        signature: place of a variable and its shift, of everything that is going wrong.
        metrology_shift: of the value measured afterwards, in its deviations.
        defect_shift: of the defect density found afterwards, in its deviations.
        hits: what happened to the wafer.
        detuned: distance of the recipe from right, 0 for right, about 1 for the range's end.
    """

    offset: Floats
    drift: Floats
    aged: float
    levels: Floats
    metrology_shift: float
    number: int = 0
    order: int = 0
    sensor_faults: tuple[SensorFault, ...] = ()
    signature: list[tuple[int, float]] = field(default_factory=list)
    defect_shift: float = 0.0
    hits: list[Hit] = field(default_factory=list)
    detuned: float = 0.0

    @property
    def shifts(self) -> Floats:
        """(variables,) of the wafer's mean, in wafer-to-wafer deviations."""
        shifts = self.offset + self.drift * self.aged
        for place, sigmas in self.signature:
            shifts[place] += sigmas
        return shifts


class Module:
    """A module and its hidden state.

    Args:
        tool: the equipment it is in.
        module_id: its name there.
        key: what its offsets are drawn from (site and seed).
        reliability: how often it goes down by itself.
    """

    def __init__(self, tool: Equipment, module_id: str, key: str, reliability: Reliability) -> None:
        self.equipment_id = tool.id
        self.module_id = module_id
        self.kind = tool.kind
        self.name = f"{tool.id}/{module_id}"
        self.state: E10State = "standby"
        self.inhibited = False
        self.busy = False
        self.down_due = ""
        self.down_planned = True
        self.down = False
        self.illnesses: list[Illness] = []
        self.wafers_since_pm = 0
        self.maintained_ms = 0
        spec = KINDS[tool.kind]
        draw = generator(key, "module", self.name)
        self._index = {variable.name: i for i, variable in enumerate(spec.variables)}
        self._levels = np.array([variable.level for variable in spec.variables])
        self._offset = _MATCHING * draw.normal(size=len(self._levels))
        self._drift = _DRIFT * draw.normal(size=len(self._levels))
        self.metrology_offset = 0.4 * float(draw.normal())
        self._parameters = {parameter.name: parameter for parameter in spec.parameters}
        self._changed: dict[str, dict[str, float]] = {}
        self._draw = draw
        # Streams of their own, so that one more maintenance does not move the next breakdown.
        self._breakdowns = generator(key, "breakdown", self.name)
        self._downs = generator(key, "down", self.name)
        self._reliability = reliability
        self._key = key
        self._treated = 0
        self._sensor_faults: list[SensorFault] = []
        self._until_breakdown = self._next_breakdown()

    @property
    def usable(self) -> bool:
        """Whether a new wafer may be sent to it."""
        return not (self.inhibited or self.down_due or self.down)

    def change_recipe(self, recipe: str, parameter: str, value: float) -> None:
        """Set a recipe parameter from the next wafer on. The caller has checked its range."""
        self._changed.setdefault(recipe, {})[parameter] = value

    def maintain(self, now_ms: int) -> list[Illness]:
        """Put everything right, with the small shift that maintenance leaves.

        Returns:
            What it ended.
        """
        ended, self.illnesses = self.illnesses, []
        self._sensor_faults.clear()
        self.wafers_since_pm = 0
        self.maintained_ms = now_ms
        self._offset = self._offset + _AFTER_PM * self._draw.normal(size=len(self._levels))
        self.inhibited = False
        return ended

    def down_hours(self, low: float, high: float) -> float:
        """How long it stays down this time."""
        return float(self._downs.uniform(low, high))

    def process(
        self, recipe: str, *, order: int, slot: int, suffer: float, strength: float, now_ms: int
    ) -> ModuleRun:
        """One more wafer: what it suffers, what the sensors are to show.

        Args:
            recipe: that it runs.
            order: wafers the module has taken from this lot before.
            slot: of the wafer, which is its place in a furnace's boat.
            suffer: the wafer's luck, 0 to 1: suffers what has at least this share.
            strength: of what hits it.
            now_ms: when.
        """
        aged = min(1.0, self.wafers_since_pm / _DRIFT_WAFERS)
        run = ModuleRun(self._offset, self._drift, aged, self._levels, self.metrology_offset, order)
        changed = self._changed.get(recipe)
        if changed or self.illnesses:
            self._unusual(run, changed or {}, slot, suffer, strength, now_ms)
        if self._sensor_faults:
            run.sensor_faults = tuple(self._sensor_faults)
        self._age()
        return run

    def faults_of(self, run: ModuleRun) -> tuple[SensorFault, ...]:
        """What the sensors of a run suffered from: what was said in the scenario, and chance.

        Apart from `process`, as only a trace asks.
        """
        mean = self._reliability.sensor_fault_wafers
        if mean is None:
            return run.sensor_faults
        chance = chance_faults(self._key, self.name, self.kind, run.number, float(mean))
        return (*run.sensor_faults, *chance)

    def sensor_fails(self, fault: ScenarioFault) -> SensorFault:
        """A sensor begins to say something else than what is, until `sensor_mended`."""
        begun = SensorFault(
            module=self.name,
            variable=fault.variable,
            kind=fault.kind,
            onset=self._treated,
            until=MAX_WAFERS,
        )
        self._sensor_faults.append(begun)
        return begun

    def sensor_mended(self, fault: SensorFault) -> None:
        """It tells the truth again; maintenance may have seen to it before."""
        if fault in self._sensor_faults:
            self._sensor_faults.remove(fault)

    def _unusual(
        self,
        run: ModuleRun,
        changed: dict[str, float],
        slot: int,
        suffer: float,
        strength: float,
        now_ms: int,
    ) -> None:
        if changed:
            run.levels = self._levels.copy()
            for name, value in changed.items():
                if name in self._index:
                    run.levels[self._index[name]] = value
        wrong = {name: self._moved(name, value) for name, value in changed.items()}
        for illness in self.illnesses:
            illness.wafers += 1
            mode, level = illness.mode, illness.sensor_level()
            run.signature += [
                (self._index[name], sigmas * level) for name, sigmas in mode.signature
            ]
            left = 1.0
            cure = mode.compensation
            if cure is not None and cure.parameter in changed:
                # A change that makes up for the mode is no detuning; too much or the wrong way is.
                left = illness.left_by(cure.parameter, changed[cure.parameter])
                wrong[cure.parameter] = 0.0
            if not illness.hits_slot(slot):
                continue
            run.metrology_shift += mode.metrology_shift * level * left
            run.defect_shift += mode.defect_shift * level * left
            suffers = illness.field_level() * left * strength
            if suffer < illness.excursion.share and suffers > _LEAST_STRENGTH:
                run.hits.append(Hit(illness.excursion.mode, suffers, illness.cause, now_ms))
        run.detuned = sum(abs(share) for share in wrong.values())

    def _age(self) -> None:
        """A wafer older: maintenance or a breakdown may be due."""
        self.wafers_since_pm += 1
        self._treated += 1
        self._until_breakdown -= 1
        limit = self._reliability.pm_wafers
        if self.down_due:
            return
        if self._until_breakdown <= 0:
            self._until_breakdown = self._next_breakdown()
            self.down_due, self.down_planned = "breakdown", False
        elif limit is not None and self.wafers_since_pm >= limit:
            self.down_due, self.down_planned = "planned maintenance", True

    def _next_breakdown(self) -> float:
        mean = self._reliability.breakdown_wafers
        return float("inf") if mean is None else float(self._breakdowns.exponential(mean)) + 1.0

    def _moved(self, name: str, value: float) -> float:
        parameter = self._parameters[name]
        return (value - parameter.nominal) / (0.5 * (parameter.high - parameter.low))

    def fall_ill(self, excursion: Excursion, key: str, now_ms: int) -> Illness:
        """An excursion begins.

        Args:
            excursion: which.
            key: site and seed: names an excursion among all sites and seeds, as wafers of one
                cause look alike.
            now_ms: when.
        """
        illness = Illness(excursion, MODES[excursion.mode], f"{key}/{excursion.id}", now_ms)
        self.illnesses.append(illness)
        return illness
