"""Sensors that fail: what each fault looks like, when faults come, and that charts bear them."""

import msgspec
import numpy as np
import pytest

from control.traces import STATISTICS, summarise
from fab_sim.kinds import KINDS
from fab_sim.randomness import generator
from fab_sim.sensor_faults import (
    FAULT_KINDS,
    FaultKind,
    SensorFault,
    active,
    chance_faults,
)
from fab_sim.traces import draw_trace, variable_names

VARIABLE = "chuck_temp_c"
PLACE = variable_names("etch").index(VARIABLE)
SPEC = KINDS["etch"].variables[PLACE]


def fault(kind: FaultKind, onset: int = 10, until: int = 20) -> SensorFault:
    return SensorFault(module="E-01/A", variable=VARIABLE, kind=kind, onset=onset, until=until)


def drawn(number: int, *faults: SensorFault) -> np.ndarray:
    levels = np.array([variable.level for variable in KINDS["etch"].variables])
    return draw_trace(
        "etch",
        2.0,
        levels,
        np.zeros(len(levels)),
        order=20,
        faults=faults,
        random=generator("faults", number),
    ).values


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_fault_spoils_its_own_sensor_and_no_other(kind: FaultKind) -> None:
    well, spoilt = drawn(1), drawn(1, fault(kind))
    changed = ~np.all(np.equal(well, spoilt) | (np.isnan(spoilt) & np.isnan(well)), axis=0)
    assert np.flatnonzero(changed).tolist() == [PLACE]


def test_a_stuck_sensor_repeats_one_reading_on_all_its_wafers() -> None:
    readings = [drawn(number, fault("stuck"))[:, PLACE] for number in range(3)]
    assert len({float(value) for wafer in readings for value in wafer}) == 1
    assert abs(readings[0][0] - SPEC.level) < 4.0 * SPEC.spread
    # Another time it sticks elsewhere.
    assert drawn(0, fault("stuck", onset=50, until=60))[0, PLACE] != readings[0][0]


def test_a_spiking_sensor_jumps_for_single_samples() -> None:
    for number in range(20):
        apart = (drawn(number, fault("spike")) - drawn(number))[:, PLACE] / SPEC.spread
        high = np.abs(apart) > 10.0
        assert 1 <= np.count_nonzero(high) <= 24
        assert np.all(apart[~high] == 0.0)


def test_a_sensor_that_drops_out_says_nothing_for_a_while() -> None:
    for number in range(20):
        gaps = np.isnan(drawn(number, fault("dropout"))[:, PLACE])
        assert 1 <= np.count_nonzero(gaps) <= 0.61 * len(gaps)


def test_a_quantised_sensor_has_few_values_near_the_true_ones() -> None:
    well, coarse = drawn(1)[:, PLACE], drawn(1, fault("quantised"))[:, PLACE]
    quantum = 4.0 * SPEC.spread
    assert np.abs(coarse - well).max() <= 0.51 * quantum
    assert len(np.unique(coarse)) < 0.2 * len(np.unique(well))


def test_a_fault_shows_from_its_onset_until_it_is_repaired() -> None:
    faults = (fault("stuck", 10, 20), fault("spike", 15, 30))
    kinds = {n: [item.kind for item in active(faults, "E-01/A", n)] for n in (9, 10, 15, 19, 20)}
    assert kinds == {
        9: [],
        10: ["stuck"],
        15: ["stuck", "spike"],
        19: ["stuck", "spike"],
        20: ["spike"],
    }
    assert active(faults, "E-01/B", 15) == ()


def test_chance_faults_are_rare_of_all_kinds_and_end() -> None:
    wafers, onsets, sick = 2000, set(), 0
    for module in range(40):
        for wafer in range(wafers):
            found = chance_faults("kr1:1", f"E-{module:02d}/A", "etch", wafer)
            sick += bool(found)
            onsets |= {(item.module, item.variable, item.kind, item.onset) for item in found}
    # One in 4,000 wafers of a module: 20 in these 80,000, give or take 4.5.
    assert 7 <= len(onsets) <= 36
    assert {kind for _, _, kind, _ in onsets} == set(FAULT_KINDS)
    # About a dozen wafers each.
    assert 4.0 < sick / len(onsets) < 30.0


def test_chance_faults_depend_on_names_alone() -> None:
    def all_of(key: str) -> list[tuple[SensorFault, ...]]:
        return [chance_faults(key, "E-01/A", "etch", wafer) for wafer in range(20_000)]

    forward, other = all_of("kr1:1"), all_of("kr1:2")
    assert any(forward)
    assert forward != other
    # Whoever begins in the middle sees the same.
    for wafer in (19_999, 12_345, 7_000):
        assert chance_faults("kr1:1", "E-01/A", "etch", wafer) == forward[wafer]


def test_sensors_may_fail_more_often_or_never() -> None:
    def sick(wafers_per_fault: float) -> int:
        return sum(
            bool(chance_faults("kr1:1", "E-01/A", "etch", wafer, wafers_per_fault))
            for wafer in range(10_000)
        )

    assert sick(float("inf")) == 0
    assert sick(200.0) > 3 * sick(4000.0)


def test_what_has_no_sensors_has_no_faults() -> None:
    assert all(chance_faults("kr1:1", "M-01/A", "metrology", n) == () for n in range(0, 9000, 500))


def test_a_scenario_file_cannot_name_a_fault_wrongly() -> None:
    good = {"module": "E-01/A", "variable": VARIABLE, "kind": "stuck", "onset": 1, "until": 2}
    assert msgspec.convert(good, SensorFault).kind == "stuck"
    for bad in ({**good, "kind": "tired"}, {**good, "onset": -1}, {**good, "why": "x"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, SensorFault)


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_charts_bear_every_fault(kind: FaultKind) -> None:
    width = len(variable_names("etch"))
    for number in range(20):
        summary = summarise(drawn(number, fault(kind)))
        assert summary.shape == (len(STATISTICS) * width,)
        others = np.delete(summary.reshape(len(STATISTICS), width), PLACE, axis=1)
        assert np.isfinite(others).all()
        level = summary[PLACE]
        assert np.isnan(level) or abs(level - SPEC.level) < 10.0 * SPEC.spread


def test_a_silent_sensor_leaves_nan_and_not_an_error() -> None:
    values = drawn(1).copy()
    values[:, PLACE] = np.nan
    assert np.isnan(summarise(values)[PLACE])
