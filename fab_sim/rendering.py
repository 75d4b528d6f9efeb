"""What happens on the line, as events. Everything drawn here has a stream of its own.

So a fab that catches up after a crash need not draw anything, and nothing else changes.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np

from contracts.arrays import Array
from contracts.events import (
    Action,
    EquipmentState,
    Event,
    Metrology,
    ProcessEvent,
    ReviewImage,
    Trace,
    WaferMap,
)
from contracts.ids import derived_id
from contracts.topics import Stream
from contracts.wafer_map import PASS
from fab_sim.kinds import KINDS, Measured
from fab_sim.lots import Lot, ToMeasure, Wafer
from fab_sim.maps import Hit, probe_wafer
from fab_sim.metrology import measure, site_positions
from fab_sim.modules import Illness, Module, ModuleRun
from fab_sim.randomness import generator
from fab_sim.review_images import REVIEW_PIXEL_SIZE_NM, draw_review_image, encode_png
from fab_sim.review_sites import review_sites
from fab_sim.scenario import Scenario, Step
from fab_sim.tally import Tally
from fab_sim.traces import draw_trace, recipe_steps, sample_period_ms, variable_names
from fab_sim.truth import TruthBook, TruthSink, WaferTruth

__all__ = ["Renderer"]

# Beyond this a wafer cannot be more wrong than it is.
_MAX_DETUNED = 2.0
# A recipe that leaves less than this of an excursion has stopped it.
_HARMLESS = 0.2


class Renderer:
    """Turns what the line reports into events, and keeps the truth and the tally.

    Args:
        scenario: what the fab has.
        site: its name.
        seed: of everything that is drawn.
        streams: that somebody wants; nothing is drawn for the others.
        sink: is told the truth of every wafer; None if nobody asks.

    Attributes:
        silent: while True nothing is drawn; happenings are only counted.
        now_ms: the fab's clock, set before anything is reported.
        happened: things reported since `take` was last called.
        wafers_done: wafer maps so far.
        truth: what really happened.
        tally: what it was worth.
        sick: modules and what is wrong with them right now.
    """

    def __init__(
        self,
        scenario: Scenario,
        site: str,
        seed: int,
        streams: Collection[Stream],
        sink: TruthSink | None,
    ) -> None:
        self.silent = False
        self.now_ms = 0
        self.happened = 0
        self.wafers_done = 0
        self.truth = TruthBook()
        self.tally = Tally(scenario)
        self.sick: list[tuple[Module, Illness]] = []
        self._wants = {stream: stream in streams for stream in Stream}
        self._sink = sink
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

    def obeyed(self, action: Action, touched: Sequence[Module]) -> None:
        """An action was done, and touched modules."""
        if action.kind == "adjust_recipe":
            self.tally.recipe_changes += len(touched)
        for module in touched:
            self.state(module, f"{action.kind}, action {action.action_id}")
            if action.kind == "release_module":
                continue
            for illness in module.illnesses:
                left = illness.left_by(action.parameter, action.value)
                stops = action.kind != "adjust_recipe" or left < _HARMLESS
                self.truth.acted(illness.cause, self.now_ms, stops=stops)

    def _id(self, *parts: str | int) -> str:
        return derived_id("sim", self._key, *parts)

    def _besides(self, step: Step, place: int) -> tuple[str, ...]:
        """What tells a measurement that an action asked for from the step of the route after it."""
        return () if self._scenario.route[place].name == step.name else (step.name,)

    def state(self, module: Module, reason: str) -> None:
        """A module is in another state, or is inhibited or released."""
        self.happened += 1
        self._state_changes += 1
        self.tally.module(module, self.now_ms)
        if self.silent or not self._wants[Stream.EQUIPMENT]:
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

    def entered(self, lot: Lot) -> None:
        """A lot has entered the line."""
        self.tally.entered(self.now_ms)

    def left(self, lot: Lot, *, scrapped: bool) -> None:
        """A lot has left the line, tested or scrapped."""
        self.tally.left(lot.started_ms, self.now_ms, len(lot.wafers) if scrapped else 0)

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
        if self.silent or not self._wants[Stream.PROCESS]:
            return
        self._events.append(
            ProcessEvent(
                event_id=self._id(phase, wafer.substrate_id, place, *self._besides(step, place)),
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
        if self.silent or not self._wants[Stream.TRACES]:
            return
        most = self._scenario.sampling.trace_rows
        drawn = draw_trace(
            module.kind,
            step.minutes,
            run.levels,
            run.shifts,
            order=run.order,
            faults=module.faults_of(run),
            most=most,
            random=generator(self._key, "trace", wafer.substrate_id, place),
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
                sample_period_ms=sample_period_ms(module.kind, step.minutes, most),
                values=Array.of(drawn.values),
                times_ms=Array.of(drawn.times_ms),
                recipe_steps=recipe_steps(module.kind, len(drawn.values)),
            )
        )

    def measured(self, lot: Lot, wafer: Wafer, module: Module) -> None:
        """Metrology has measured a wafer's `to_measure`."""
        self.tally.measurements += 1
        for item in wafer.to_measure:
            self._judged(lot, wafer, module, item, KINDS[item.kind].measured, "metrology")

    def inspected(self, lot: Lot, wafer: Wafer, module: Module) -> None:
        """Inspection has counted the defects that each of a wafer's `to_inspect` has added."""
        self.tally.measurements += 1
        for item in wafer.to_inspect:
            self._judged(lot, wafer, module, item, KINDS[item.kind].defects, "inspection")
        if wafer.to_inspect:
            self._reviewed(lot, wafer, wafer.to_inspect[-1])

    def _reviewed(self, lot: Lot, wafer: Wafer, latest: ToMeasure) -> None:
        """Pictures were taken of some of the defects found, whichever step they came from."""
        count = self._scenario.sampling.review_images
        self.happened += count
        if self.silent or not self._wants[Stream.REVIEW_IMAGES]:
            return
        random = generator(self._key, "review", wafer.substrate_id, latest.place)
        sites = review_sites(
            wafer.hits,
            lot.product,
            lot.product.wafer_diameter_mm,
            count,
            random,
            variety=self._scenario.variety,
        )
        for number, site in enumerate(sites):
            image = draw_review_image(site.kind, random=random)
            self._events.append(
                ReviewImage(
                    event_id=self._id("review", wafer.substrate_id, latest.place, number),
                    site=self._site,
                    time_ms=self.now_ms,
                    lot_id=lot.lot_id,
                    substrate_id=wafer.substrate_id,
                    slot=wafer.slot,
                    step=latest.step,
                    x_mm=site.x_mm,
                    y_mm=site.y_mm,
                    pixel_size_nm=REVIEW_PIXEL_SIZE_NM,
                    png=encode_png(image),
                )
            )

    def _judged(
        self,
        lot: Lot,
        wafer: Wafer,
        module: Module,
        item: ToMeasure,
        what: Measured | None,
        by: str,
    ) -> None:
        self.happened += 1
        if self.silent or what is None or not self._wants[Stream.METROLOGY]:
            return
        diameter = lot.product.wafer_diameter_mm
        positions = site_positions(self._scenario.sampling.sites, diameter)
        random = generator(self._key, by, wafer.substrate_id, item.place)
        self._events.append(
            Metrology(
                event_id=self._id(by, wafer.substrate_id, item.place),
                site=self._site,
                time_ms=self.now_ms,
                lot_id=lot.lot_id,
                substrate_id=wafer.substrate_id,
                slot=wafer.slot,
                equipment_id=module.equipment_id,
                step=item.step,
                parameter=what.parameter,
                x_mm=tuple(x for x, _ in positions),
                y_mm=tuple(y for _, y in positions),
                values=measure(what, positions, diameter, item.shift, random),
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
            self.truth.shows(hit, wafer.substrate_id)
        dies = int(np.count_nonzero(probed.grid))
        good = int(np.count_nonzero(probed.grid == PASS))
        self.tally.tested(dies, good)
        if self._sink is not None and not self.silent:
            self._sink.wafer(
                WaferTruth(
                    site=self._site,
                    substrate_id=wafer.substrate_id,
                    lot_id=lot.lot_id,
                    product=lot.product.id,
                    slot=wafer.slot,
                    started_ms=lot.started_ms,
                    tested_ms=self.now_ms,
                    dies=dies,
                    good=good,
                    patterns=probed.patterns,
                    hits=tuple(wafer.hits),
                    guilty=probed.guilty,
                    grid=probed.grid,
                    killed_by=probed.killed_by,
                )
            )
        if self.silent or not self._wants[Stream.WAFER_MAPS]:
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
        self.sick.append((module, illness))
        self.truth.began(illness.cause, module, illness)

    def cleared(self, module: Module, illness: Illness) -> None:
        """Maintenance ended an excursion."""
        self.sick.remove((module, illness))
        self.truth.cleared(illness.cause, self.now_ms)


def _job(lot: Lot, module: Module, place: int) -> str:
    return f"PJ-{lot.lot_id}-{place:02d}-{module.equipment_id}"
