"""What happens on the line, as events. Everything drawn here has a stream of its own.

So a fab that catches up after a crash need not draw anything, and nothing else changes.
"""

from typing import Literal

from contracts.arrays import Array
from contracts.events import (
    EquipmentState,
    Event,
    Metrology,
    ProcessEvent,
    Trace,
    WaferMap,
)
from contracts.ids import derived_id
from fab_sim.kinds import KINDS
from fab_sim.lots import Lot, Wafer
from fab_sim.maps import Hit, probe_wafer
from fab_sim.metrology import measure, site_positions
from fab_sim.modules import Illness, Module, ModuleRun
from fab_sim.randomness import generator
from fab_sim.scenario import Scenario, Step
from fab_sim.traces import SAMPLE_PERIOD_MS, render_trace, variable_names
from fab_sim.truth import TruthBook

__all__ = ["Renderer"]

# Beyond this a wafer cannot be more wrong than it is.
_MAX_DETUNED = 2.0


class Renderer:
    """Turns what the line reports into events, and keeps the truth.

    Attributes:
        silent: while True nothing is drawn; happenings are only counted.
        now_ms: the fab's clock, set before anything is reported.
        happened: things reported since `take` was last called.
        wafers_done: wafer maps so far.
        truth: what really happened.
    """

    def __init__(self, scenario: Scenario, site: str, seed: int) -> None:
        self.silent = False
        self.now_ms = 0
        self.happened = 0
        self.wafers_done = 0
        self.truth = TruthBook()
        self._scenario = scenario
        self._site = site
        self._seed = seed
        self._key = f"{site}:{seed}"
        self._state_changes = 0
        self._events: list[Event] = []

    def take(self) -> list[Event]:
        """The events since the last call, in order."""
        events, self._events, self.happened = self._events, [], 0
        return events

    def add(self, event: Event) -> None:
        """An event that somebody else made."""
        self.happened += 1
        if not self.silent:
            self._events.append(event)

    def _id(self, *parts: str | int) -> str:
        return derived_id("sim", self._key, *parts)

    def state(self, module: Module, reason: str) -> None:
        """A module is in another state, or is inhibited or released."""
        self.happened += 1
        self._state_changes += 1
        if self.silent:
            return
        self._events.append(
            EquipmentState(
                event_id=self._id("state", self._state_changes),
                site=self._site,
                time_ms=self.now_ms,
                equipment_id=module.equipment_id,
                module_id=module.module_id,
                kind=module.kind,
                state=module.state,
                inhibited=module.inhibited,
                reason=reason,
            )
        )

    def started(self, lot: Lot, wafer: Wafer, module: Module, step: Step, place: int) -> None:
        """A wafer starts a step on a module."""
        self._process("started", lot, wafer, module, step, place)

    def completed(self, lot: Lot, wafer: Wafer, module: Module, step: Step, place: int) -> None:
        """A wafer has completed a step on a module."""
        self._process("completed", lot, wafer, module, step, place)

    def _process(
        self,
        phase: Literal["started", "completed"],
        lot: Lot,
        wafer: Wafer,
        module: Module,
        step: Step,
        place: int,
    ) -> None:
        self.happened += 1
        if self.silent:
            return
        self._events.append(
            ProcessEvent(
                event_id=self._id(phase, wafer.substrate_id, place),
                site=self._site,
                time_ms=self.now_ms,
                phase=phase,
                product=lot.product.id,
                lot_id=lot.lot_id,
                carrier_id=lot.carrier_id,
                substrate_id=wafer.substrate_id,
                slot=wafer.slot,
                equipment_id=module.equipment_id,
                module_id=module.module_id,
                process_job_id=_job(lot, module, place),
                recipe_id=step.recipe,
                step=step.name,
                sequence=place,
            )
        )

    def sensed(
        self,
        lot: Lot,
        wafer: Wafer,
        module: Module,
        step: Step,
        place: int,
        run: ModuleRun,
    ) -> None:
        """The sensors saw it being processed."""
        self.happened += 1
        if self.silent:
            return
        values = render_trace(
            module.kind,
            step.minutes,
            run.levels,
            run.shifts,
            generator(self._key, "trace", wafer.substrate_id, place),
        )
        self._events.append(
            Trace(
                event_id=self._id("trace", wafer.substrate_id, place),
                site=self._site,
                time_ms=self.now_ms,
                lot_id=lot.lot_id,
                substrate_id=wafer.substrate_id,
                slot=wafer.slot,
                equipment_id=module.equipment_id,
                module_id=module.module_id,
                process_job_id=_job(lot, module, place),
                recipe_id=step.recipe,
                step=step.name,
                sequence=place,
                variables=variable_names(module.kind),
                sample_period_ms=float(SAMPLE_PERIOD_MS),
                values=Array.of(values),
            )
        )

    def measured(self, lot: Lot, wafer: Wafer, module: Module) -> None:
        """Metrology has measured a wafer's `to_measure`."""
        diameter = lot.product.wafer_diameter_mm
        positions = site_positions(self._scenario.sampling.sites, diameter)
        for step, kind, place, shift in wafer.to_measure:
            self.happened += 1
            what = KINDS[kind].measured
            if self.silent or what is None:
                continue
            random = generator(self._key, "metrology", wafer.substrate_id, place)
            self._events.append(
                Metrology(
                    event_id=self._id("metrology", wafer.substrate_id, place),
                    site=self._site,
                    time_ms=self.now_ms,
                    lot_id=lot.lot_id,
                    substrate_id=wafer.substrate_id,
                    slot=wafer.slot,
                    equipment_id=module.equipment_id,
                    step=step,
                    parameter=what.parameter,
                    x_mm=tuple(x for x, _ in positions),
                    y_mm=tuple(y for _, y in positions),
                    values=measure(what, positions, diameter, shift, random),
                )
            )

    def tested(self, lot: Lot, wafer: Wafer) -> None:
        """Electrical test has tested a wafer."""
        self.happened += 1
        self.wafers_done += 1
        if self.silent and not wafer.hits:
            self.truth.tested(wafer.substrate_id, ("None",))
            return
        probed = probe_wafer(
            lot.product,
            wafer.hits,
            detuned=min(wafer.detuned, _MAX_DETUNED),
            variety=self._scenario.variety,
            random=generator(self._key, "map", wafer.substrate_id),
        )
        self.truth.tested(wafer.substrate_id, probed.patterns)
        # A module visited twice may have hit twice; the wafer counts once, from the first time.
        first: dict[str, Hit] = {}
        for hit, shows in zip(wafer.hits, probed.guilty, strict=True):
            if shows:
                first.setdefault(hit.cause, hit)
        for hit in first.values():
            self.truth.shows(hit)
        if self.silent:
            return
        self._events.append(
            WaferMap(
                event_id=self._id("map", wafer.substrate_id),
                site=self._site,
                time_ms=self.now_ms,
                product=lot.product.id,
                lot_id=lot.lot_id,
                substrate_id=wafer.substrate_id,
                slot=wafer.slot,
                grid=Array.of(probed.grid),
                source="sim",
            )
        )

    def began(self, module: Module, illness: Illness) -> None:
        """An excursion began."""
        self.truth.began(module.cause_of(illness), module, illness)

    def cleared(self, module: Module, illness: Illness) -> None:
        """Maintenance ended an excursion."""
        self.truth.cleared(module.cause_of(illness), self.now_ms)


def _job(lot: Lot, module: Module, place: int) -> str:
    return f"PJ-{lot.lot_id}-{place:02d}-{module.equipment_id}"
