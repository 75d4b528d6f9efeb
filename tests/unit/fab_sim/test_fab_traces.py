"""What sensors and metrology show."""

import numpy as np
import numpy.typing as npt
import pytest

from fab_sim.kinds import KINDS
from fab_sim.metrology import measure, site_positions
from fab_sim.modes import MODES
from fab_sim.modules import Module, ModuleRun
from fab_sim.randomness import generator, logic_random
from fab_sim.scenario import NEVER_DOWN, Equipment, Excursion
from fab_sim.traces import draw_trace, variable_names

PROCESSING = sorted(kind for kind, spec in KINDS.items() if spec.variables)


def module(kind: str) -> Module:
    tool = Equipment(id="T-01", kind=kind, modules=("A",))
    return Module(tool, "A", "test", NEVER_DOWN)


def drawn(
    kind: str,
    levels: npt.NDArray[np.float64],
    shifts: npt.NDArray[np.float64],
    random: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Two minutes of a warm module with good sensors, in 60 rows."""
    trace = draw_trace(kind, 2.0, levels, shifts, order=1000, faults=(), most=60, random=random)
    return trace.values


def treat(module: Module, recipe: str = "R", wafer: int = 0) -> ModuleRun:
    """One wafer, with the luck of its number."""
    luck = logic_random(wafer)
    return module.process(
        recipe,
        order=5,
        slot=next((i.mode.boat[0] for i in module.illnesses if i.mode.boat is not None), 1),
        suffer=luck.random(),
        strength=luck.uniform(0.85, 1.1),
        now_ms=wafer,
    )


def means(kind: str, shifts: np.ndarray, wafers: int = 60) -> np.ndarray:
    levels = np.array([variable.level for variable in KINDS[kind].variables])
    return np.array(
        [drawn(kind, levels, shifts, generator("t", k)).mean(axis=0) for k in range(wafers)]
    )


@pytest.mark.parametrize("kind", PROCESSING)
def test_a_trace_has_the_rows_columns_and_levels_it_should(kind: str) -> None:
    names = variable_names(kind)
    levels = np.array([variable.level for variable in KINDS[kind].variables])
    trace = drawn(kind, levels, np.zeros(len(names)), generator("t"))
    assert trace.dtype == np.float32
    assert trace.shape == (60, len(names))
    assert 12 <= len(names) <= 30
    assert len(set(names)) == len(names)
    assert all("_" in name for name in names)
    main = trace[30:45].mean(axis=0)
    assert np.allclose(main, levels, rtol=0.35)


@pytest.mark.parametrize("name", sorted(MODES))
def test_every_mode_shows_four_sigma_in_a_sensor_its_modules_have(name: str) -> None:
    mode = MODES[name]
    assert max(abs(sigmas) for _, sigmas in mode.signature) >= 7.0
    for kind in mode.kinds:
        names = variable_names(kind)
        shifts = np.zeros(len(names))
        for variable, sigmas in mode.signature:
            shifts[names.index(variable)] = sigmas
        normal, sick = means(kind, np.zeros(len(names))), means(kind, shifts)
        z = (sick.mean(axis=0) - normal.mean(axis=0)) / normal.std(axis=0)
        assert np.abs(z).max() > 4.0


@pytest.mark.parametrize("name", sorted(MODES))
def test_sensors_are_at_full_shift_before_wafers_suffer(name: str) -> None:
    excursion = Excursion(
        id="x", mode=name, equipment="T-01", module="A", onset_wafers=0, growth_wafers=10, share=1.0
    )
    sick = module(MODES[name].kinds[0])
    illness = sick.fall_ill(excursion, "test", 0)
    first_hit = first_full = None
    for wafer in range(20):
        run = treat(sick, wafer=wafer)
        if first_full is None and illness.sensor_level() == 1.0:
            first_full = wafer
        if first_hit is None and run.hits:
            first_hit = wafer
    assert first_full is not None
    assert first_hit is not None
    assert first_full < first_hit


@pytest.mark.parametrize(
    "name", sorted(name for name, mode in MODES.items() if mode.compensation is not None)
)
def test_the_right_recipe_change_makes_up_for_a_mode_and_the_wrong_one_does_not(name: str) -> None:
    mode = MODES[name]
    cure = mode.compensation
    assert cure is not None
    excursion = Excursion(
        id="x", mode=name, equipment="T-01", module="A", onset_wafers=0, growth="step", share=1.0
    )
    parameter = next(p for p in KINDS[mode.kinds[0]].parameters if p.name == cure.parameter)
    strengths = {}
    for share in (-0.4, 0.0, 1.0):
        sick = module(mode.kinds[0])
        sick.fall_ill(excursion, "test", 0)
        value = parameter.nominal + share * cure.shift
        assert parameter.low <= value <= parameter.high
        sick.change_recipe("R", cure.parameter, value)
        run = treat(sick)
        strengths[share] = sum(hit.strength for hit in run.hits)
    assert strengths[1.0] == 0.0
    assert 0.0 < strengths[0.0] < strengths[-0.4]


def test_a_recipe_change_on_a_healthy_module_detunes_it_and_shows_in_its_set_point() -> None:
    healthy = module("etch")
    before = treat(healthy)
    healthy.change_recipe("R", "rf_power_w", 950.0)
    after = treat(healthy)
    column = variable_names("etch").index("rf_power_w")
    assert (before.detuned, after.detuned) == (0.0, 0.5)
    assert after.levels[column] == 950.0
    assert treat(healthy, "other").detuned == 0.0


def test_maintenance_ends_what_is_wrong_and_leaves_a_small_shift() -> None:
    sick = module("etch")
    sick.inhibited = True
    sick.fall_ill(
        Excursion(
            id="x",
            mode="process_abort",
            equipment="T-01",
            module="A",
            onset_wafers=0,
            growth="step",
            share=1.0,
        ),
        "test",
        0,
    )
    during = treat(sick)
    ended = sick.maintain(0)
    after = treat(sick)
    assert [illness.excursion.id for illness in ended] == ["x"]
    assert during.hits
    assert not after.hits
    assert not sick.inhibited
    assert 0.0 < np.abs(after.shifts).max() < 3.0


def test_metrology_sites_lie_on_the_wafer_and_values_near_the_target() -> None:
    positions = site_positions(13, 200.0)
    assert len(set(positions)) == 13
    assert max(np.hypot(x, y) for x, y in positions) < 100.0
    what = KINDS["etch"].measured
    assert what is not None
    values = [measure(what, positions, 200.0, 0.0, generator("m", k)) for k in range(50)]
    assert abs(np.mean(values) - what.target) < what.spread
    shifted = [measure(what, positions, 200.0, 3.0, generator("m", k)) for k in range(50)]
    assert np.mean(shifted) - np.mean(values) == pytest.approx(3.0 * what.spread, rel=1e-3)
