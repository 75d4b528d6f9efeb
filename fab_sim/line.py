"""The line: lots travel over equipment, wafers spread over modules. Written as simpy processes.

Wafers of a lot are put into a new order at every step, as fabs do to keep causes apart, and are
taken by whichever module of the equipment is free next.
"""

from collections.abc import Generator
from typing import Any, Protocol

import simpy

from contracts.events import E10State
from fab_sim.kinds import KINDS, METROLOGY, TEST
from fab_sim.lots import Lot, Wafer
from fab_sim.maps import Hit
from fab_sim.modules import Illness, Module, ModuleRun
from fab_sim.randomness import logic_random
from fab_sim.scenario import Equipment, Excursion, Scenario, Step

__all__ = ["HOUR_MS", "Line", "Report"]

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
# Robot exchange between two wafers of a module, and carrier transport between two tools.
_EXCHANGE_MS, _TRANSPORT_MIN = 12_000, (4.0, 10.0)
_PM_H = (3.0, 5.0)
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

Process = Generator[simpy.Event, Any, None]


class Report(Protocol):
    """Is told what happens on the line, as it happens."""

    def state(self, module: Module, reason: str) -> None:
        """A module is in another state, or is inhibited or released."""
        ...

    def started(self, lot: Lot, wafer: Wafer, module: Module, step: Step, place: int) -> None:
        """A wafer starts a step on a module; `place` is the step's place in the route."""
        ...

    def completed(self, lot: Lot, wafer: Wafer, module: Module, step: Step, place: int) -> None:
        """A wafer has completed a step on a module."""
        ...

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
        ...

    def measured(self, lot: Lot, wafer: Wafer, module: Module) -> None:
        """Metrology has measured a wafer's `to_measure`."""
        ...

    def tested(self, lot: Lot, wafer: Wafer) -> None:
        """Electrical test has tested a wafer."""
        ...

    def began(self, module: Module, illness: Illness) -> None:
        """An excursion began."""
        ...

    def cleared(self, module: Module, illness: Illness) -> None:
        """Maintenance ended an excursion."""
        ...


class _Tool:
    def __init__(self, spec: Equipment, key: str) -> None:
        self.spec = spec
        self.modules = [Module(spec, name, key) for name in spec.modules]
        self.busy = False

    @property
    def ready(self) -> bool:
        return not self.busy and any(module.usable for module in self.modules)


class Line:
    """Everything on the floor of one site.

    Args:
        env: the simulation's clock, in milliseconds since the epoch.
        scenario: what the fab has and what goes wrong.
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
        key = f"{site}:{seed}"
        self._report = report
        self._tools = [_Tool(spec, key) for spec in scenario.equipment]
        self.modules = {module.name: module for tool in self._tools for module in tool.modules}
        self.lots: dict[str, Lot] = {}
        self._queues: dict[str, list[tuple[Lot, simpy.Event]]] = {kind: [] for kind in KINDS}
        self._wafers_started = 0
        self._room: simpy.Event | None = None
        self._floor = logic_random(key, "floor")
        self._fate = logic_random(key, "fate")
        habit = logic_random(site, "habit")
        self._pace = habit.uniform(0.95, 1.08)
        self._liking = {tool.spec.id: habit.uniform(0.8, 1.25) for tool in self._tools}
        self._waiting_excursions = [
            item for item in scenario.excursions if item.onset_wafers is not None
        ]
        env.process(self._open())
        for excursion in scenario.excursions:
            if excursion.onset_h is not None:
                env.process(self._begin_later(excursion, excursion.onset_h))

    @property
    def now_ms(self) -> int:
        """The fab's clock."""
        return int(self.env.now)

    # -- lots ---------------------------------------------------------------------------------

    def _open(self) -> Process:
        """Say how every module stands, then start lots."""
        yield self.env.timeout(1)
        for module in self.modules.values():
            self._report.state(module, "the fab starts")
        lots = self.scenario.lots
        number = 0
        while lots.total is None or number < lots.total:
            while sum(not lot.held for lot in self.lots.values()) >= lots.in_flight:
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
        lot = Lot(number, lot_id, f"FOUP-{number % 1000:03d}", product, [])
        for slot in range(1, self.scenario.lots.wafers + 1):
            wafer = Wafer(f"{lot_id}.{slot:02d}", slot)
            if self._fate.random() < self.scenario.sporadic_share:
                names, weights = zip(*_MISHAPS, strict=True)
                mode = self._fate.choices(names, weights)[0]
                strength = self._fate.uniform(0.6, 1.0)
                wafer.hits.append(Hit(mode, strength, wafer.substrate_id, self.now_ms))
            lot.wafers.append(wafer)
        self.lots[lot_id] = lot
        self._wafers_started += len(lot.wafers)
        for excursion in list(self._waiting_excursions):
            if self._wafers_started >= (excursion.onset_wafers or 0):
                self._waiting_excursions.remove(excursion)
                self._begin(excursion)
        self.env.process(self._travel(lot))

    def _travel(self, lot: Lot) -> Process:
        """A lot's way through the route."""
        sampling = self.scenario.sampling
        for place, step in enumerate(self.scenario.route):
            lot.waiting = list(lot.wafers)
            self._floor.shuffle(lot.waiting)
            if step.kind == METROLOGY:
                lot.waiting = lot.waiting[: sampling.metrology_wafers]
            if step.kind == TEST:
                yield self.env.timeout(int(sampling.test_delay_h * HOUR_MS))
            while lot.waiting:
                if lot.held:
                    yield self.env.timeout(_HOLD_LIMIT_MS)
                    break
                tool = yield self._queue(lot, step)
                if tool is not None:
                    yield self.env.process(self._visit(tool, lot, step, place))
            if lot.waiting:
                break
            yield self.env.timeout(int(self._floor.uniform(*_TRANSPORT_MIN) * MINUTE_MS))
        del self.lots[lot.lot_id]
        self._make_room()

    def hold(self, lot: Lot, reason: str) -> None:
        """Stop a lot; wafers in a module finish."""
        lot.held = reason
        for queue in self._queues.values():
            for entry in [entry for entry in queue if entry[0] is lot]:
                queue.remove(entry)
                entry[1].succeed(None)
        self._make_room()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.triggered:
            self._room.succeed()

    # -- dispatching --------------------------------------------------------------------------

    def _queue(self, lot: Lot, step: Step) -> simpy.Event:
        """An event that gives the equipment that takes the lot, or None if it was held."""
        turn = self.env.event()
        self._queues[step.kind].append((lot, turn))
        self._dispatch(step.kind)
        return turn

    def _dispatch(self, kind: str) -> None:
        """First come, first served, onto any equipment that is ready."""
        queue = self._queues[kind]
        while queue:
            ready = [tool for tool in self._tools if tool.spec.kind == kind and tool.ready]
            if not ready:
                return
            liking = [self._liking[tool.spec.id] for tool in ready]
            tool = self._floor.choices(ready, liking)[0]
            tool.busy = True
            queue.pop(0)[1].succeed(tool)

    # -- on the equipment ---------------------------------------------------------------------

    def _visit(self, tool: _Tool, lot: Lot, step: Step, place: int) -> Process:
        """A lot at an equipment, until it is done, held, or no module takes wafers."""
        usable = [module for module in tool.modules if module.usable]
        self._floor.shuffle(usable)
        if step.kind in (METROLOGY, TEST):
            if usable:
                yield self.env.process(self._measure_lot(usable[0], lot, step, place))
        else:
            work = [self.env.process(self._work(module, lot, step, place)) for module in usable]
            yield self.env.all_of(work)
        tool.busy = False
        self._dispatch(step.kind)

    def _work(self, module: Module, lot: Lot, step: Step, place: int) -> Process:
        """A module takes wafers of the lot, one after another."""
        while lot.waiting and not lot.held and module.usable:
            wafer = lot.waiting.pop()
            # The recipe's time is fixed; clamping, pumping and aligning are not.
            minutes = step.minutes * self._pace * self._floor.uniform(1.0, 1.3)
            self._occupy(module)
            run = module.process(step.recipe, self._fate, self.now_ms)
            self._report.started(lot, wafer, module, step, place)
            yield self.env.timeout(int(minutes * MINUTE_MS))
            wafer.hits.extend(run.hits)
            wafer.detuned += run.detuned
            if KINDS[step.kind].measured is not None:
                wafer.to_measure.append((step.name, step.kind, place, run.metrology_shift))
            self._report.completed(lot, wafer, module, step, place)
            self._report.sensed(lot, wafer, module, step, place, run)
            module.busy = False
            if module.usable and lot.waiting and not lot.held:
                yield self.env.timeout(_EXCHANGE_MS + self._floor.randrange(6_000))
        self._release(module)

    def _measure_lot(self, module: Module, lot: Lot, step: Step, place: int) -> Process:
        """Metrology or test of a lot's wafers together."""
        wafers, lot.waiting = sorted(lot.waiting, key=lambda wafer: wafer.slot), []
        self._occupy(module)
        for wafer in wafers:
            self._report.started(lot, wafer, module, step, place)
        minutes = step.minutes * self._pace * self._floor.uniform(0.9, 1.1)
        yield self.env.timeout(int(minutes * MINUTE_MS))
        for wafer in wafers:
            self._report.completed(lot, wafer, module, step, place)
            if step.kind == METROLOGY:
                self._report.measured(lot, wafer, module)
            else:
                self._report.tested(lot, wafer)
        if step.kind == METROLOGY:
            for wafer in lot.wafers:
                wafer.to_measure.clear()
        module.busy = False
        self._release(module)

    def _occupy(self, module: Module) -> None:
        module.busy = True
        self.set_state(module, "productive", "")

    def _release(self, module: Module) -> None:
        """A module has no more wafers for now: maintenance that was waiting begins."""
        if module.pm_due:
            self.env.process(self._maintain(module))
        elif not module.in_pm:
            self.set_state(module, "standby", "")

    # -- states, maintenance, excursions ------------------------------------------------------

    def set_state(self, module: Module, state: E10State, reason: str) -> None:
        """Change a module's E10 state and report it, if it is another one."""
        if module.state != state:
            module.state = state
            self._report.state(module, reason)

    def schedule_pm(self, module: Module, reason: str) -> None:
        """Take a module down for maintenance as soon as its wafer is done."""
        module.pm_due = reason
        if not module.busy and module.state != "productive":
            self.env.process(self._maintain(module))

    def _maintain(self, module: Module) -> Process:
        reason, module.pm_due, module.in_pm = module.pm_due, "", True
        self.set_state(module, "scheduled_down", reason)
        yield self.env.timeout(int(self._floor.uniform(*_PM_H) * HOUR_MS))
        module.in_pm = False
        for illness in module.maintain():
            self._report.cleared(module, illness)
        self.set_state(module, "standby", f"maintenance is done: {reason}")
        self._dispatch(module.kind)

    def _begin(self, excursion: Excursion) -> None:
        module = self.modules[f"{excursion.equipment}/{excursion.module}"]
        self._report.began(module, module.fall_ill(excursion, self.now_ms))

    def _begin_later(self, excursion: Excursion, hours: float) -> Process:
        yield self.env.timeout(int(hours * HOUR_MS) + 1)
        self._begin(excursion)
