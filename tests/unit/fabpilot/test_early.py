"""The reference detector, and that it sees what grows before wafers suffer."""

import numpy as np
import pytest
from scipy.stats import f as fisher_f

from fab_sim.kinds import KINDS
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.traces import draw_trace, phase_slices
from fabpilot.benchmarks.early import Watch, bench_kinds, measure_early, step_means


def watch(past: np.ndarray, arl: float, weight: float = 1.0) -> Watch:
    return Watch(past, np.zeros(len(past), dtype=np.int64), arl, weight)


def test_the_limit_is_hotellings_and_keeps_its_run_length() -> None:
    random = np.random.default_rng(1)
    n, a = 400, 10
    mix = np.eye(a) + 0.3
    chart = watch(random.normal(size=(n, a)) @ mix, 100.0)
    expected = a * (n - 1) * (n + 1) / (n * (n - a)) * fisher_f.ppf(0.99, a, n - a)
    # Half a percent more, because the centre follows ageing.
    assert chart.limit == pytest.approx(expected, rel=0.006)
    assert chart.limit > expected
    alarms = sum(chart.alarms(x, 0) for x in random.normal(size=(20_000, a)) @ mix)
    # 200 expected; the past it was trained on moves that by some ten percent.
    assert 140 < alarms < 270


def test_a_moving_average_sees_a_small_shift_that_lasts_sooner_and_alarms_no_more() -> None:
    random = np.random.default_rng(3)
    past, quiet = random.normal(size=(600, 10)), random.normal(size=(5000, 10))
    single, average = watch(past, 200.0), watch(past, 200.0, 0.2)
    assert sum(average.alarms(x, 0) for x in quiet) <= sum(single.alarms(x, 0) for x in quiet)

    def wafers_to_alarm(weight: float) -> float:
        found = []
        for _ in range(30):
            chart = watch(past, 200.0, weight)
            shifted = random.normal(size=(400, 10)) + np.eye(10)[0] * 2.0
            found.append(next((n for n, x in enumerate(shifted) if chart.alarms(x, 0)), 400))
        return float(np.mean(found))

    assert wafers_to_alarm(0.2) < 0.7 * wafers_to_alarm(1.0)


def test_a_lots_first_wafer_is_compared_with_first_wafers() -> None:
    random = np.random.default_rng(4)
    orders = np.arange(600) % 4
    past = random.normal(size=(600, 5)) + 20.0 * (orders == 0)[:, None]
    chart = Watch(past, orders, 1000.0, 1.0)
    assert not chart.alarms(np.full(5, 20.0), 0)
    assert chart.alarms(np.full(5, 20.0), 1)


def test_a_missing_feature_counts_as_normal() -> None:
    chart = watch(np.random.default_rng(2).normal(size=(300, 5)), 1000.0)
    features = np.zeros(5)
    features[2] = np.nan
    assert not chart.alarms(features, 0)
    features[1] = 30.0
    assert chart.alarms(features, 0)


@pytest.mark.parametrize("kind", ["etch", "clean"])
def test_step_means_are_the_means_of_the_recipes_steps(kind: str) -> None:
    levels = np.array([variable.level for variable in KINDS[kind].variables])
    values = draw_trace(
        kind,
        2.0,
        levels,
        np.zeros(len(levels)),
        order=0,
        faults=(),
        random=generator("step-means"),
    ).values.copy()
    means = step_means(kind, values).reshape(-1, len(levels))
    steps = phase_slices(kind, len(values))
    assert len(means) == len(steps)
    for mean, rows in zip(means, steps.values(), strict=True):
        assert mean == pytest.approx(values[rows].mean(axis=0, dtype=np.float64), rel=1e-6)
    values[::2, 0] = np.nan
    values[:, 1] = np.nan
    holes = step_means(kind, values).reshape(-1, len(levels))
    assert np.isfinite(holes[:, 0]).all()
    assert np.isnan(holes[:, 1]).all()


def test_every_mode_is_seen_before_a_wafers_failure_rate_has_doubled() -> None:
    calls = []
    result = measure_early(
        [3],
        growth_wafers=16,
        trained=600,
        quiet=100,
        wafers_per_false_alarm=1000.0,
        progress=lambda: calls.append(1),
    )
    assert {(lead.mode, lead.kind) for lead in result.modes} == {
        (name, kind) for name, mode in MODES.items() for kind in mode.kinds
    }
    assert result.seen_early_share == 1.0
    assert result.ahead_least >= 1
    assert result.pattern_ahead_least >= 1
    # 0.7 expected in 700; more than 7 has a chance below one in a million.
    assert result.quiet_wafers == 100 * len(bench_kinds())
    assert result.false_alarms <= 7
    assert len(calls) == len(bench_kinds())
