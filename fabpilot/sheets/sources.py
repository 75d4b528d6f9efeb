"""What the sheets show, taken from the fab. Everything that is asked of `fab_sim` is asked here."""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.events import ProcessEvent, Trace, WaferMap
from contracts.topics import Stream
from fab_sim import Fab, Scenario, TrueExcursion, labelled_maps
from fab_sim.fields import disc, field
from fab_sim.kinds import KINDS, TEST
from fab_sim.maps import Hit, probe_wafer
from fab_sim.modes import MODES, Mode
from fab_sim.randomness import generator
from fab_sim.scenario import NEVER_DOWN, Equipment, Excursion, Lots, Product

__all__ = [
    "LotStory",
    "ModeStory",
    "Trail",
    "gallery",
    "lot_story",
    "mode_story",
    "modes_of",
    "modes_that_can_be",
]

Floats = npt.NDArray[np.float64]
Grid = npt.NDArray[np.uint8]

_SITE, _START_MS = "show", 1_700_000_000_000
_HOUR_MS = 3_600_000
# A mode is shown on a line of one module: so many runs before it, so many to its full growth, and
# as many in all again as before. A run is a wafer, in a furnace a lot; small lots do there.
_RUNS, _GROWTH_RUNS = 50, 20
_BATCH_WAFERS = 6
# Maps to draw for a gallery before a pattern that did not come is given up.
_GALLERY_MAPS = 1500
# Wafers that make a mode's mean field.
_FIELD_WAFERS = 40
# Steps of the fab after which a lot that is not through its route is shown as far as it is.
_MOST_STEPS = 400_000
# Of so many lots one in the last third is shown: before it the line is still empty.
_LOTS_ON_THE_LINE = 30
_SHOWN_LOT = 2 / 3


class ModeStory(NamedTuple):
    """One failure mode: what the sensors say and what the wafers suffer.

    Attributes:
        mode: what it is.
        module: 'equipment/module' it is shown on.
        in_scenario: the scenario has an excursion of it.
        variables: of its signature.
        time_s: (samples,) from the start of the recipe.
        before: (runs, samples, variables) of normal runs of that module.
        after: (runs, samples, variables) of the runs since the onset, in order.
        run: what one trace is of: 'wafer', or 'lot' where a lot is treated together.
        growth_runs: through the module from onset to full growth.
        first_bad: number in `after`, from 1, of the first run whose maps show it; 0 if none.
        product: whose dies the field and the maps have.
        field: (rows, columns) mean kill probability at full strength, NaN off the wafer.
        grids: maps it makes, each with the pattern it truly has.
    """

    mode: Mode
    module: str
    in_scenario: bool
    variables: tuple[str, ...]
    time_s: Floats
    before: Floats
    after: Floats
    run: str
    growth_runs: int
    first_bad: int
    product: Product
    field: Floats
    grids: list[tuple[Grid, str]]


class Trail(NamedTuple):
    """A wafer in a module: hours since the lot's start."""

    step: str
    kind: str
    equipment: str
    module: str
    slot: int
    sequence: int
    start_h: float
    end_h: float


class LotStory(NamedTuple):
    """A lot's way through the line, in the order of its starts."""

    lot_id: str
    product: str
    wafers: int
    trails: list[Trail]
    finished: bool


def modes_that_can_be(scenario: Scenario) -> list[str]:
    """The failure modes that the scenario's equipment can have, sorted."""
    kinds = {tool.kind for tool in scenario.equipment}
    return sorted(name for name, mode in MODES.items() if kinds.intersection(mode.kinds))


def modes_of(scenario: Scenario) -> list[str]:
    """The modes of the scenario's excursions; all that can be if it has none."""
    named = sorted({excursion.mode for excursion in scenario.excursions})
    return named or modes_that_can_be(scenario)


def gallery(scenario: Scenario, modes: list[str], each: int, seed: int) -> dict[str, list[Grid]]:
    """Maps by their true pattern, as the scenario's products make them.

    Args:
        scenario: its products and its variety are used.
        modes: what may have gone wrong.
        each: how many of every pattern.
        seed: of all of them.
    """
    made = msgspec.structs.replace(
        scenario,
        excursions=tuple(
            Excursion(id=mode, mode=mode, equipment="any", module="any", onset_wafers=0)
            for mode in modes
        ),
    )
    drawn = labelled_maps(made, wafers=_GALLERY_MAPS, seed=seed)
    found: dict[str, list[Grid]] = {}
    for grid, label in zip(drawn.grids, drawn.labels, strict=True):
        found.setdefault(label, []).append(grid)
    # Lots of one product follow one another: evenly over all of them, so that each is seen.
    return {
        label: [grids[len(grids) * place // each] for place in range(min(each, len(grids)))]
        for label, grids in found.items()
    }


def mode_story(scenario: Scenario, mode: str, seed: int, maps: int) -> ModeStory:
    """What a mode does on one module of the scenario's own fab.

    The module of the scenario's first excursion of this mode, or the first that can have it.
    """
    excursion = next((item for item in scenario.excursions if item.mode == mode), None)
    tool = _tool_for(scenario, mode, excursion)
    module = excursion.module if excursion is not None else tool.modules[0]
    magnitude = excursion.magnitude if excursion is not None else 1.0
    traces, truth = _run_alone(scenario, tool, module, mode, magnitude, seed)
    variables, time_s, before, after, first_bad = _split(traces, truth, MODES[mode])
    product = max(scenario.products, key=lambda item: item.weight)
    mean_field, grids = _spoilt(scenario, product, mode, magnitude, seed, maps)
    return ModeStory(
        MODES[mode],
        f"{tool.id}/{module}",
        excursion is not None,
        variables,
        time_s,
        before,
        after,
        "lot" if KINDS[tool.kind].batch else "wafer",
        _GROWTH_RUNS,
        first_bad,
        product,
        mean_field,
        grids,
    )


def _tool_for(scenario: Scenario, mode: str, excursion: Excursion | None) -> Equipment:
    if excursion is not None:
        return next(tool for tool in scenario.equipment if tool.id == excursion.equipment)
    return next(tool for tool in scenario.equipment if tool.kind in MODES[mode].kinds)


def _run_alone(
    scenario: Scenario, tool: Equipment, module: str, mode: str, magnitude: float, seed: int
) -> tuple[list[Trace], TrueExcursion | None]:
    """Traces of one module that falls ill, and the truth; the rest of the line is left out."""
    steps = [step for step in scenario.route if step.kind == tool.kind]
    if not steps:
        # The scenario has the equipment and never uses it.
        return [], None
    wafers = _BATCH_WAFERS if KINDS[tool.kind].batch else 25
    # Runs become wafers where a run is one, and lots of them where it is a lot.
    a_run = wafers if KINDS[tool.kind].batch else 1
    alone = msgspec.structs.replace(
        scenario,
        equipment=(
            msgspec.structs.replace(tool, modules=(module,)),
            *(other for other in scenario.equipment if other.kind == TEST),
        ),
        route=(steps[0], scenario.route[-1]),
        lots=Lots(wafers=wafers, every_h=168.0, in_flight=200, total=2 * _RUNS * a_run // wafers),
        excursions=(
            Excursion(
                id=mode,
                mode=mode,
                equipment=tool.id,
                module=module,
                onset_wafers=_RUNS * a_run + 1,
                growth_wafers=_GROWTH_RUNS * a_run,
                magnitude=magnitude,
                share=1.0,
            ),
        ),
        sporadic_share=0.0,
        # Nothing but the mode: sensors tell the truth, and nobody repairs it before it is grown.
        reliability=NEVER_DOWN,
        sensor_faults=(),
    )
    fab = Fab(alone, site=_SITE, seed=seed, start_ms=_START_MS, streams=frozenset({Stream.TRACES}))
    traces: list[Trace] = []
    while not fab.finished:
        traces += [event for event in fab.step() if isinstance(event, Trace)]
    return traces, fab.truth()[0]


def _split(
    traces: list[Trace], truth: TrueExcursion | None, mode: Mode
) -> tuple[tuple[str, ...], Floats, Floats, Floats, int]:
    """The variables of the signature before and after the onset, and the first bad wafer."""
    if truth is None or not traces:
        return (), np.empty(0), np.empty((0, 0, 0)), np.empty((0, 0, 0)), 0
    names = traces[0].variables
    wanted = tuple(name for name, _ in mode.signature if name in names)
    columns = [names.index(name) for name in wanted]
    # Recipes of one kind may differ by a sample or two.
    samples = min(trace.values.shape[0] for trace in traces)
    before, after, first_bad = [], [], 0
    for trace in traces:
        values = trace.values.numpy()[:samples, columns]
        if trace.time_ms <= truth.onset_ms:
            before.append(values)
            continue
        after.append(values)
        bad_ms = truth.first_affected_ms
        # A wafer is spoilt before its trace is complete.
        if not first_bad and bad_ms is not None and trace.time_ms >= bad_ms:
            first_bad = len(after)
    time_s = np.arange(samples, dtype=np.float64) * (traces[0].sample_period_ms / 1000.0)
    return (
        wanted,
        np.asarray(time_s, np.float64),
        np.array(before, np.float64),
        np.array(after, np.float64),
        first_bad,
    )


def _spoilt(
    scenario: Scenario, product: Product, mode: str, magnitude: float, seed: int, maps: int
) -> tuple[Floats, list[tuple[Grid, str]]]:
    """The mean field of one cause of a mode, and maps of wafers that suffered from it."""
    wafer = disc(product.rows, product.columns)
    cause = f"show/{seed}/{mode}"
    own = generator("show", "field", seed, mode)
    mean = np.zeros(len(wafer.r))
    for _ in range(_FIELD_WAFERS):
        drawn = generator("cause", cause)
        mean += field(MODES[mode].family, wafer, magnitude, drawn, own, scenario.variety)
    picture = np.full(wafer.on.shape, np.nan)
    picture[wafer.on] = mean / _FIELD_WAFERS
    grids = []
    for _ in range(maps):
        hit = Hit(mode, magnitude, cause, 0)
        probed = probe_wafer(product, [hit], detuned=0.0, variety=scenario.variety, random=own)
        grids.append((probed.grid, " + ".join(probed.patterns)))
    return picture, grids


def lot_story(scenario: Scenario, seed: int) -> LotStory:
    """The way of a lot through the scenario's fab, on a line that is no longer empty."""
    total = min(_LOTS_ON_THE_LINE, scenario.lots.total or _LOTS_ON_THE_LINE)
    few = msgspec.structs.replace(
        scenario, lots=msgspec.structs.replace(scenario.lots, total=total)
    )
    fab = Fab(
        few,
        site=scenario.sites[0] if scenario.sites else _SITE,
        seed=seed,
        start_ms=_START_MS,
        streams=frozenset({Stream.PROCESS, Stream.WAFER_MAPS}),
    )
    told: dict[str, list[ProcessEvent]] = {}
    tested: set[str] = set()
    for _ in range(_MOST_STEPS):
        if fab.finished:
            break
        for event in fab.step():
            if isinstance(event, ProcessEvent):
                told.setdefault(event.lot_id, []).append(event)
            elif isinstance(event, WaferMap):
                tested.add(event.lot_id)
    # Sampled lots are measured, the others pass by: one with all steps tells more.
    steps = {name: len({event.sequence for event in told[name]}) for name in tested or told}
    complete = [name for name in steps if steps[name] == max(steps.values())]
    complete.sort(key=lambda name: told[name][0].time_ms)
    lot_id = complete[int(_SHOWN_LOT * len(complete))]
    kinds = {tool.id: tool.kind for tool in scenario.equipment}
    return LotStory(
        lot_id,
        told[lot_id][0].product,
        scenario.lots.wafers,
        _trails(told[lot_id], kinds),
        lot_id in tested,
    )


def _trails(events: list[ProcessEvent], kinds: dict[str, str]) -> list[Trail]:
    begin = events[0].time_ms
    open_: dict[tuple[int, int], ProcessEvent] = {}
    trails = []
    for event in events:
        place = (event.slot, event.sequence)
        if event.phase == "started":
            open_[place] = event
        elif place in open_:
            started = open_.pop(place)
            trails.append(
                Trail(
                    event.step,
                    kinds.get(event.equipment_id, "other"),
                    event.equipment_id,
                    event.module_id,
                    event.slot,
                    event.sequence,
                    (started.time_ms - begin) / _HOUR_MS,
                    (event.time_ms - begin) / _HOUR_MS,
                )
            )
    return sorted(trails, key=lambda trail: (trail.start_h, trail.slot))
