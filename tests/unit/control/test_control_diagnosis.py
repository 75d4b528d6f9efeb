"""Which mode is it: the site's list against sensors that lie and what is on no list."""

from itertools import combinations

import numpy as np
import pytest

from control.diagnosis import OTHER, SENSOR, Diagnosis, Evidence, diagnose
from control.failure_modes import load_failure_modes
from fab_sim.kinds import KINDS

MODES = load_failure_modes().modes
CASES = [(kind, name) for name, mode in MODES.items() for kind in mode.kinds]


def shifts(kind: str, seed: int, **moved: float) -> dict[str, float]:
    """What charts would say: noise of an EWMA and ageing, and what moved."""
    noise = np.random.default_rng(seed)
    return {
        variable.name: float(noise.normal(0.0, 0.45)) + moved.get(variable.name, 0.0)
        for variable in KINDS[kind].variables
    }


def of(kind: str, moved: dict[str, float], **more: object) -> Diagnosis:
    return diagnose(Evidence(module="E-1/A", kind=kind, moved=moved, **more), MODES)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("severity", [0.5, 1.0, 2.0])
def test_each_mode_is_recognised_by_its_signature(kind: str, name: str, severity: float) -> None:
    right = 0
    for seed in range(5):
        moved = {v: severity * s for v, s in MODES[name].signature.items()}
        found = of(kind, shifts(kind, seed, **moved))
        right += found.causes[0].mode == name and found.real > 0.85
        assert sum(cause.probability >= 0.5 for cause in found.causes) == 1
    assert right == 5


@pytest.mark.parametrize("name", sorted(MODES))
def test_a_mode_that_has_just_begun_is_no_sensor_fault(name: str) -> None:
    # However far it moves its variables in the end: all of them have begun to move.
    begun = 2.6 / max(abs(shift) for shift in MODES[name].signature.values())
    for seed in range(5):
        moved = {v: begun * s for v, s in MODES[name].signature.items()}
        found = of(MODES[name].kinds[0], shifts(MODES[name].kinds[0], seed, **moved))
        assert found.causes[0].mode != SENSOR or found.causes[0].probability < 0.5


def test_two_modes_at_once_are_both_named() -> None:
    for kind in sorted({kind for kind, _ in CASES}):
        of_kind = [name for name, mode in MODES.items() if kind in mode.kinds]
        for one, two in combinations(of_kind, 2):
            moved: dict[str, float] = {}
            for name, severity in ((one, 0.5), (two, 1.2)):
                for variable, shift in MODES[name].signature.items():
                    moved[variable] = moved.get(variable, 0.0) + severity * shift
            found = of(kind, shifts(kind, 6, **moved))
            assert {cause.mode for cause in found.causes if cause.probability >= 0.5} == {one, two}
            assert all(0.0 <= cause.probability <= 1.0 for cause in found.causes)
            assert found.real > 0.95


def test_a_mode_is_named_though_another_sensor_lies() -> None:
    moved = {"rf_reflected_w": 6.0, "match_position_pct": 5.0, "rf_power_w": -2.5}
    found = of("etch", shifts("etch", 7, **moved, wall_temp_c=-6.0))
    assert found.causes[0].mode == "rf_match_drift"
    assert found.causes[0].probability > 0.5


def test_a_sensor_that_moves_without_its_companions_is_a_sensor() -> None:
    for variable, size in (("rf_power_w", -9.0), ("chuck_temp_c", 6.0), ("wall_temp_c", 12.0)):
        found = of("etch", shifts("etch", 1, **{variable: size}))
        assert found.causes[0].mode == SENSOR
        assert found.real < 0.5
        assert any(variable in said for said in found.causes[0].evidence)


def test_several_that_fit_no_mode_are_something_else() -> None:
    found = of("etch", shifts("etch", 2, pressure_pa=9.0, wall_temp_c=-8.0, argon_flow_sccm=7.0))
    assert found.causes[0].mode == OTHER
    assert found.real > 0.9


def test_what_maintenance_leaves_is_mostly_nothing() -> None:
    feared = sum(of("etch", shifts("etch", seed)).real > 0.8 for seed in range(100))
    assert feared == 0


def test_readings_that_jump_are_a_sensors_fault() -> None:
    found = of("cmp", shifts("cmp", 3), unsteady=("motor_current_a",))
    assert found.causes[0].mode == SENSOR
    assert found.real < 0.05


def test_maps_and_metrology_tell_modes_apart_that_traces_do_not() -> None:
    # No trace was seen at all: only what kind it is, and what its wafers show.
    by_map = of("deposition", {}, pattern="Donut")
    assert by_map.causes[0].mode == "showerhead_clogging"
    blank = of("clean", {}, pattern="Random")
    assert {cause.mode for cause in blank.causes[:2]} == {"bath_dilution", "particle_burst"}
    measured = of("etch", {}, measured=-8.2, measured_wafers=6, defects=0.1, defect_wafers=6)
    assert measured.causes[0].mode == "process_abort"
    # And they speak against what traces seem to say.
    moved = shifts("implant", 4, blade_vibration_um=4.0)
    alone = of("implant", moved)
    denied = of("implant", moved, measured=0.1, measured_wafers=9, defects=-0.2, defect_wafers=9)
    assert denied.real < alone.real


def test_fewer_defects_than_ever_are_no_fault() -> None:
    well = shifts("etch", 8)
    fewer = of("etch", well, defects=-2.6, defect_wafers=3)
    more = of("etch", well, defects=2.6, defect_wafers=3)
    assert fewer.real < 0.1 < more.real


def test_severity_follows_the_growth() -> None:
    small, large = (
        of("litho", shifts("litho", 5, focus_offset_nm=7.0 * s, stage_error_nm=5.0 * s))
        for s in (0.4, 1.5)
    )
    assert small.severity < 0.7 < 1.1 < large.severity
