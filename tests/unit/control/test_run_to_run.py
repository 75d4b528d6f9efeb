"""Run-to-run control keeps to its formulas, and stops where they say that it must."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from control.gain_watch import GainWatch, stable_gain_ratio
from control.run_to_run import Controller, ControllerRecord, Tuning
from fabpilot.benchmarks.run_to_run import Loop, close_loop

TUNING = Tuning(
    target=100.0,
    gain=2.0,
    weight=0.5,
    drift_weight=0.0,
    low=30.0,
    high=70.0,
    max_step=5.0,
    dead_band=0.0,
    noise=1.0,
    learn=0,
)


def tuned(**changes: Any) -> Controller:
    return Controller(msgspec.structs.replace(TUNING, **changes), 50.0)


def run(controller: Controller, outputs: list[float]) -> list[float]:
    """Feed outputs, obey what is recommended."""
    out = []
    for value in outputs:
        at = 2 * controller.runs
        out.append(controller.measured(value, at, at))
        controller.changed(out[-1], at + 1)
    return out


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("product", [0.05, 1.0, 1.9])
def test_stable_inside_0_to_2(weight: float, product: float) -> None:
    apart = close_loop(Loop(weight, 0.0, product / weight), [1.0] * 1000)
    assert abs(apart[-1]) < 1e-3


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("product", [-0.05, 2.05])
def test_unstable_outside_of_it(weight: float, product: float) -> None:
    apart = close_loop(Loop(weight, 0.0, product / weight), [1.0] * 1000)
    assert abs(apart[-1]) > 1e3


@pytest.mark.parametrize(("weight", "drift_weight", "delay"), [(0.3, 0.2, 0), (0.5, 0.0, 2)])
def test_the_border_of_others_is_computed(weight: float, drift_weight: float, delay: int) -> None:
    border = stable_gain_ratio(weight, drift_weight, delay)
    for share, bounded in ((0.98, True), (1.02, False)):
        apart = close_loop(Loop(weight, drift_weight, share * border, delay), [1.0] * 2000)
        assert (abs(apart[-1]) < 1.0) == bounded


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.6])
def test_a_single_ewma_lags_behind_a_drift_and_a_double_one_does_not(ratio: float) -> None:
    drifting = [0.3 * number for number in range(2000)]
    single = close_loop(Loop(0.4, 0.0, ratio), drifting)
    assert single[-1] == pytest.approx(0.3 / (0.4 * ratio))
    assert close_loop(Loop(0.4, 0.3, ratio), drifting)[-1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("weight", "ratio"), [(0.3, 1.0), (0.8, 1.6)])
def test_white_noise_grows_as_the_formula_says(weight: float, ratio: float) -> None:
    noise = np.random.default_rng(0).normal(size=60_000).tolist()
    variance = np.var(close_loop(Loop(weight, 0.0, ratio), noise))
    assert variance == pytest.approx(2.0 / (2.0 - weight * ratio), rel=0.03)


def test_the_controller_is_that_loop() -> None:
    controller, set_point = tuned(), 50.0
    disturbances = np.random.default_rng(1).normal(size=40).tolist()
    apart = []
    for disturbance in disturbances:
        output = 100.0 + 2.0 * 1.3 * (set_point - 50.0) + disturbance
        apart.append(output - 100.0)
        (set_point,) = run(controller, [output])
    assert apart == pytest.approx(close_loop(Loop(0.5, 0.0, 1.3), disturbances))


def test_a_delayed_measurement_is_judged_by_the_set_point_of_its_own_run() -> None:
    controller = tuned(weight=1.0)
    controller.changed(53.0, 1000)
    # Made before the change, measured after it: all of the 4 is the process's.
    assert controller.measured(104.0, 999, 2000) == pytest.approx(48.0)
    assert controller.set_point_at(999) == 50.0
    assert controller.set_point_at(1000) == 53.0


def test_steps_limits_and_dead_band() -> None:
    assert run(tuned(), [130.0]) == [45.0]
    clipped = tuned()
    assert run(clipped, [180.0] * 6)[-1] == 30.0
    assert clipped.status == "limited"
    calm = tuned(dead_band=1.0)
    assert run(calm, [101.9]) == [50.0]
    assert calm.status == "dead_band"
    assert run(calm, [104.0]) != [50.0]
    watching = tuned(learn=3)
    assert run(watching, [104.0] * 3) == [50.0] * 3
    assert watching.status == "learning"


def test_a_virtual_measurement_counts_by_the_ratio_of_variances() -> None:
    real, virtual, doubtful = tuned(), tuned(), tuned()
    moved = 50.0 - real.measured(102.0, 0, 0)
    assert 50.0 - virtual.measured(102.0, 0, 0, deviation=1.0) == pytest.approx(moved / 2.0)
    assert 50.0 - doubtful.measured(102.0, 0, 0, deviation=1e6) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "stops"), [(-0.6, True), (0.4, False), (1.0, False), (1.6, False), (3.5, True)]
)
def test_the_guard_stops_what_is_unstable_and_nothing_else(ratio: float, stops: bool) -> None:
    stopped = 0
    for seed in range(8):
        random, controller = np.random.default_rng(seed), tuned(weight=0.7)
        for number in range(120):
            output = 100.0 + 2.0 * ratio * (controller.set_point - 50.0) + random.normal()
            run_at = 2 * number
            controller.changed(controller.measured(output, run_at, run_at), run_at + 1)
        stopped += controller.status == "stopped"
    assert stopped == (8 if stops else 0)


def test_a_stopped_controller_leaves_the_set_point_alone_until_it_is_restarted() -> None:
    controller = tuned(weight=0.9)
    sign = 1.0
    for number in range(40):
        output = 100.0 + 2.0 * 3.0 * (controller.set_point - 50.0) + sign
        controller.changed(controller.measured(output, 2 * number, 2 * number), 2 * number + 1)
    assert controller.status == "stopped"
    assert "times the model's gain" in controller.reason
    held = controller.set_point
    assert controller.measured(150.0, 900, 900) == held
    controller.restart()
    assert controller.status == "learning"
    assert controller.set_point == held
    assert controller.measured(100.0, 1000, 1000) == pytest.approx(held)


def test_the_gain_ratio_is_found_once_the_set_point_moves() -> None:
    random, watch = np.random.default_rng(2), GainWatch()
    for _ in range(60):
        set_point = random.normal()
        watch.add(1.5 * 2.0 * set_point + 0.3 * random.normal(), set_point, 2.0)
    mean, deviation = watch.estimate()
    assert mean == pytest.approx(1.5, abs=0.15)
    assert deviation < 0.2
    still = GainWatch()
    for _ in range(60):
        still.add(float(random.normal()), 0.0, 2.0)
    assert still.estimate()[1] > 1.0


def test_a_saved_controller_goes_on_as_if_nothing_had_happened() -> None:
    going, saved = tuned(drift_weight=0.2), tuned(drift_weight=0.2)
    tuning = msgspec.structs.replace(TUNING, drift_weight=0.2)
    random = np.random.default_rng(3)
    for number in range(80):
        value = 100.0 + 2.0 * (going.set_point - 50.0) + float(random.normal())
        data = msgspec.msgpack.encode(saved.record())
        record = msgspec.msgpack.decode(data, type=ControllerRecord)
        saved = Controller(tuning, 50.0, record)
        assert run(saved, [value]) == run(going, [value])
        assert len(data) < 8000
        assert number < 1 or math.isfinite(saved.set_point)
