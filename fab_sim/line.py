"""The line: lots travel over equipment, wafers spread over modules. Written as simpy processes.

Wafers of a lot are put into a new order at every step, as fabs do to keep causes apart, and are
taken by whichever module of the equipment is free next.
"""

from bisect import bisect, bisect_left
from collections import deque
from collections.abc import Generator
from itertools import accumulate
from typing import Any

import simpy

from fab_sim.kinds import INSPECTION, KINDS, METROLOGY, TEST
from fab_sim.lots import Lot, Luck, ToMeasure, Wafer
from fab_sim.maps import Hit
from fab_sim.modules import Module, ModuleRun
from fab_sim.randomness import logic_random
from fab_sim.report import Report
from fab_sim.scenario import Scenario, Step
from fab_sim.tools import JUDGES, Tool
from fab_sim.upkeep import HOUR_MS, Process, Upkeep

__all__ = ["Line"]

MINUTE_MS = 60_000
# Robot exchange between two wafers of a module, and carrier transport between two tools.
_EXCHANGE_MS, _TRANSPORT_MIN = 15_000, (4.0, 10.0)
# A lot on hold for so long is scrapped: nobody is coming for it.
_HOLD_LIMIT_MS = 72 * HOUR_MS
# One-off mishaps: mostly handling, which scratches and leaves marks at one place.
_MISHAPS = (
    ("robot_blade_scratch", 4),
    ("gas_flow_offset", 3),
    ("edge_ring_wear", 3),
    ("helium_chuck_leak", 1),
    ("rf_match_drift", 1),
    ("particle_burst", 1),
)


class Line:
    """Everything on the floor of one site.

    Args:
        env: the simulation's clock, in milliseconds since the epoch.
        scenario: what the fab has and what goes wrong here.
        site: its name; sites differ in pace, offsets and which tools they like.
        seed: of everything that is drawn.
        report: is told what happens.
    """

    def __init__(
        self, env: simpy.Environment, scenario: Scenario, site: str, seed: int, report: Report
    ) -> None:
        self.env = env
        self.scenario = scenario
        self.site = site
        self._key = f"{site}:{seed}"
        self._report = report
        self._tools = [Tool(spec, scenario, self._key) for spec in scenario.equipment]
        self.modules = {module.name: module for tool in self._tools for module in tool.modules}
        self.lots: dict[str, Lot] = {}
        self._queues: dict[str, deque[tuple[Lot, float, simpy.Event]]] = {
            kind: deque() for kind in KINDS
        }
        self._of_kind = {
            kind: [tool for tool in self._tools if tool.spec.kind == kind] for kind in KINDS
        }
        self._wafers_started = 0
        self._lots_started = 0
        self._on_hold = 0
        self._room: simpy.Event | None = None
        self._floor = logic_random(self._key, "floor")
        self._fate = logic_random(self._key, "fate")
        habit = logic_random(site, "habit")
        self._pace = habit.uniform(0.95, 1.08)
        self._liking = {tool.spec.id: habit.uniform(0.8, 1.25) for tool in self._tools}
        self._waiting_excursions = [
            item for item in scenario.excursions if item.onset_wafers is not None
        ]
        self.upkeep = Upkeep(env, self.modules, self._key, report, self.dispatch)
        # Processes of one moment run in the order they were made in: this order is the fab's.
        env.process(self._open())
        for excursion in scenario.excursions:
            if excursion.onset_h is not None:
                env.process(self.upkeep.begin_later(excursion, excursion.onset_h))
        for fault in scenario.sensor_faults:
            env.process(self.upkeep.sensor_fault(fault))

    @property
    def now_ms(self) -> int:
        """The fab's clock."""
        return int(self.env.now)

    @property
    def all_done(self) -> bool:
        """Whether all lots that will ever start have left the line."""
        return self._lots_started == self.scenario.lots.total and not self.lots

    # -- lots ---------------------------------------------------------------------------------

    def _open(self) -> Process:
        """Say how every module stands, then start lots."""
        yield self.env.timeout(1)
        for module in self.modules.values():
            self._report.state(module, "the fab starts")
        lots = self.scenario.lots
        number = 0
        while lots.total is None or number < lots.total:
            while len(self.lots) - self._on_hold >= lots.in_flight:
                self._room = self.env.event()
                yield self._room
            number += 1
            self._start_lot(number)
            wait_h = lots.every_h * self._floor.uniform(0.85, 1.15)
            yield self.env.timeout(int(wait_h * HOUR_MS))

    def _start_lot(self, number: int) -> None:
        products = self.scenario.products
        product = self._floor.choices(products, [item.weight for item in products])[0]
        lot_id = f"{self.site.upper()}-{number:05d}"
        wafers = self.scenario.lots.wafers
        luck = Luck(self._key, number, len(self.scenario.route), wafers)
        lot = Lot(number, lot_id, f"FOUP-{number % 1000:03d}", product, luck, self.now_ms, [])
        for place in range(wafers):
            wafer = Wafer(f"{lot_id}.{place + 1:02d}", place)
            if self._fate.random() < self.scenario.sporadic_share:
                names, weights = zip(*_MISHAPS, strict=True)
                mode = self._fate.choices(names, weights)[0]
                strength = self._fate.uniform(0.6, 1.0)
                wafer.hits.append(Hit(mode, strength, wafer.substrate_id, self.now_ms))
            lot.wafers.append(wafer)
        self.lots[lot_id] = lot
        self._lots_started += 1
        self._wafers_started += wafers
        for excursion in list(self._waiting_excursions):
            if self._wafers_started >= (excursion.onset_wafers or 0):
                self._waiting_excursions.remove(excursion)
                self.upkeep.begin(excursion)
        self._report.entered(lot)
        self.env.process(self._travel(lot))

    def _travel(self, lot: Lot) -> Process:
        """A lot's way through the route."""
        low, high = _TRANSPORT_MIN
        sampling = self.scenario.sampling
        for place, step in enumerate(self.scenario.route):
            lot.place = place
            if lot.wants_metrology:
                scrapped = yield from self._extra_metrology(lot, place)
                if scrapped:
                    break
            lot.waiting = [lot.wafers[number] for number in lot.luck.orders[place]]
            if step.kind in (METROLOGY, INSPECTION):
                sampled = lot.number % sampling.every_lots == 0
                lot.waiting = lot.waiting[: sampling.metrology_wafers if sampled else 0]
                if not lot.waiting:
                    _forget(lot, step.kind)
                    continue
            if step.kind == TEST:
                yield self.env.timeout(int(sampling.test_delay_h * HOUR_MS))
            scrapped = yield from self._process(lot, step, place)
            if scrapped:
                break
            minutes = low + (high - low) * lot.luck.transport[place]
            yield self.env.timeout(int(minutes * MINUTE_MS))
        else:
            scrapped = False
        del self.lots[lot.lot_id]
        if lot.held:
            self._on_hold -= 1
        self._make_room()
        self._report.left(lot, scrapped=scrapped)

    def _process(self, lot: Lot, step: Step, place: int) -> Generator[simpy.Event, Any, bool]:
        """All of a lot's waiting wafers through a step, over holds and modules that go down.

        Returns:
            Whether the lot was scrapped instead.
        """
        while lot.waiting:
            if lot.held:
                lot.released = self.env.event()
                yield lot.released | self.env.timeout(_HOLD_LIMIT_MS)
                lot.released = None
                if lot.held:
                    return True
            tool = yield self._queue(lot, step.kind, lot.luck.choice[place])
            if tool is not None:
                yield from self._visit(tool, lot, step, place)
        return False

    def _extra_metrology(self, lot: Lot, place: int) -> Generator[simpy.Event, Any, bool]:
        """All wafers of the lot to metrology and inspection, where an action asked for it.

        Returns:
            Whether the lot was scrapped instead.
        """
        lot.wants_metrology = False
        for kind, recipe in ((METROLOGY, "MET-EXTRA"), (INSPECTION, "INS-EXTRA")):
            if self._of_kind[kind]:
                step = Step(name=recipe, kind=kind, recipe=recipe, minutes=40.0)
                lot.waiting = list(lot.wafers)
                scrapped = yield from self._process(lot, step, place)
                if scrapped:
                    return True
        return False

    def hold(self, lot: Lot, reason: str) -> None:
        """Stop a lot; wafers in a module finish."""
        lot.held = reason
        self._on_hold += 1
        for queue in self._queues.values():
            for entry in [entry for entry in queue if entry[0] is lot]:
                queue.remove(entry)
                entry[2].succeed(None)
        self._make_room()

    def release(self, lot: Lot) -> None:
        """Let a lot on hold go on."""
        lot.held = ""
        self._on_hold -= 1
        if lot.released is not None and not lot.released.triggered:
            lot.released.succeed()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.triggered:
            self._room.succeed()

    def visits_to_come(self, kind: str) -> float:
        """Wafers that modules of a kind will have to process yet; endless for an endless fab."""
        total = self.scenario.lots.total
        if total is None:
            return float("inf")
        places = [place for place, step in enumerate(self.scenario.route) if step.kind == kind]
        lots = (total - self._lots_started) * len(places)
        for lot in self.lots.values():
            lots += len(places) - bisect_left(places, lot.place)
        return lots * self.scenario.lots.wafers

    # -- dispatching --------------------------------------------------------------------------

    def _queue(self, lot: Lot, kind: str, choice: float) -> simpy.Event:
        """An event that gives the equipment that takes the lot, or None if it was held."""
        turn = self.env.event()
        self._queues[kind].append((lot, choice, turn))
        self.dispatch(kind)
        return turn

    def dispatch(self, kind: str) -> None:
        """First come, first served, onto any equipment that has a free load port and can work."""
        queue = self._queues[kind]
        while queue:
            ready = [tool for tool in self._of_kind[kind] if tool.ready]
            if not ready:
                return
            # An idle tool before one where the carrier would wait behind another.
            ready = [tool for tool in ready if tool.idle] or ready
            _, choice, turn = queue.popleft()
            sums = list(accumulate(self._liking[tool.spec.id] for tool in ready))
            tool = ready[min(bisect(sums, choice * sums[-1]), len(ready) - 1)]
            tool.free_ports -= 1
            turn.succeed(tool)

    # -- on the equipment ---------------------------------------------------------------------

    def _visit(
        self, tool: Tool, lot: Lot, step: Step, place: int
    ) -> Generator[simpy.Event, Any, None]:
        """A lot docked at an equipment, until it is done, held, or no module takes wafers."""
        while not tool.idle and any(module.usable for module in tool.modules):
            turn = self.env.event()
            tool.docked.append(turn)
            yield turn
        tool.at_work += 1
        usable = [module for module in tool.modules if module.usable and not module.busy]
        if place % 2:
            usable.reverse()
        if lot.held or not usable:
            pass
        elif step.kind in JUDGES:
            yield from self._judge_lot(usable[0], lot, step, place)
        elif KINDS[step.kind].batch:
            yield from self._bake_lot(usable[0], lot, step, place)
        else:
            work = [self.env.process(self._work(module, lot, step, place)) for module in usable]
            yield self.env.all_of(work)
        tool.at_work -= 1
        tool.free_ports += 1
        if tool.docked:
            tool.docked.popleft().succeed()
        self.dispatch(step.kind)

    def _work(self, module: Module, lot: Lot, step: Step, place: int) -> Process:
        """A module takes wafers of the lot, one after another."""
        env, report, luck = self.env, self._report, lot.luck
        minute_ms = step.minutes * self._pace * MINUTE_MS
        order = 0
        while lot.waiting and not lot.held and module.usable:
            wafer = lot.waiting.pop()
            self.upkeep.occupy(module)
            run = self._run(module, lot, wafer, step, place, order)
            order += 1
            report.started(lot, wafer, module, step, place)
            # The recipe's time is fixed; clamping, pumping and aligning are not.
            yield env.timeout(_EXCHANGE_MS + int(minute_ms * luck.pace[place][wafer.number]))
            self._note(wafer, step, place, run)
            report.completed(lot, wafer, module, step, place)
            report.sensed(lot, wafer, module, step, place, run)
        self.upkeep.release(module)

    def _bake_lot(
        self, module: Module, lot: Lot, step: Step, place: int
    ) -> Generator[simpy.Event, Any, None]:
        """A furnace takes the whole lot; the slot is the place in the boat."""
        wafers, lot.waiting = sorted(lot.waiting, key=lambda wafer: wafer.number), []
        self.upkeep.occupy(module)
        runs = [self._run(module, lot, wafer, step, place, 0) for wafer in wafers]
        for wafer in wafers:
            self._report.started(lot, wafer, module, step, place)
        pace = self._pace * lot.luck.pace[place][0]
        yield self.env.timeout(int(step.minutes * pace * MINUTE_MS))
        for wafer, run in zip(wafers, runs, strict=True):
            self._note(wafer, step, place, run)
            self._report.completed(lot, wafer, module, step, place)
        # One furnace run, one trace; it carries the first wafer's id.
        self._report.sensed(lot, wafers[0], module, step, place, runs[0])
        self.upkeep.release(module)

    def _run(
        self, module: Module, lot: Lot, wafer: Wafer, step: Step, place: int, order: int
    ) -> ModuleRun:
        return module.process(
            step.recipe,
            order=order,
            slot=wafer.number + 1,
            suffer=lot.luck.suffer[place][wafer.number],
            strength=lot.luck.strength[place][wafer.number],
            now_ms=int(self.env.now),
        )

    def _note(self, wafer: Wafer, step: Step, place: int, run: ModuleRun) -> None:
        """What the wafer carries away from a module."""
        if run.hits:
            wafer.hits.extend(run.hits)
        wafer.detuned += run.detuned
        kind = KINDS[step.kind]
        if kind.measured is not None:
            wafer.to_measure.append(ToMeasure(step.name, step.kind, place, run.metrology_shift))
        if kind.defects is not None:
            wafer.to_inspect.append(ToMeasure(step.name, step.kind, place, run.defect_shift))

    def _judge_lot(
        self, module: Module, lot: Lot, step: Step, place: int
    ) -> Generator[simpy.Event, Any, None]:
        """Metrology, inspection or test of a lot's wafers together."""
        wafers, lot.waiting = sorted(lot.waiting, key=lambda wafer: wafer.number), []
        self.upkeep.occupy(module)
        for wafer in wafers:
            self._report.started(lot, wafer, module, step, place)
        pace = self._pace * lot.luck.pace[place][0] * 0.87
        yield self.env.timeout(int(step.minutes * pace * MINUTE_MS))
        for wafer in wafers:
            self._report.completed(lot, wafer, module, step, place)
            if step.kind == METROLOGY:
                self._report.measured(lot, wafer, module)
            elif step.kind == INSPECTION:
                self._report.inspected(lot, wafer, module)
            else:
                self._report.tested(lot, wafer)
        _forget(lot, step.kind)
        self.upkeep.release(module)


def _forget(lot: Lot, kind: str) -> None:
    """Metrology or inspection has seen a lot, or let it pass: the next one judges what comes."""
    for wafer in lot.wafers:
        if kind == METROLOGY:
            wafer.to_measure.clear()
        elif kind == INSPECTION:
            wafer.to_inspect.clear()
