"""Statistics of traces: steps of the recipe, lag, noise, a lot's first wafer, times, same bytes."""

import hashlib
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from fab_sim.kinds import KINDS
from fab_sim.randomness import generator
from fab_sim.traces import (
    MAX_SAMPLES,
    DrawnTrace,
    draw_trace,
    phase_slices,
    recipe_steps,
    sample_count,
    sample_period_ms,
    variable_names,
)

PROCESSING = sorted(kind for kind, spec in KINDS.items() if spec.variables)
WARM = 1000


def draw(
    kind: str, number: int, *, minutes: float = 2.0, order: int = WARM, shift: float = 0.0
) -> DrawnTrace:
    levels = np.array([variable.level for variable in KINDS[kind].variables])
    return draw_trace(
        kind,
        minutes,
        levels,
        np.full(len(levels), shift),
        order=order,
        faults=(),
        random=generator("draw", kind, number),
    )


def minutes(kind: str) -> float:
    return 120.0 if KINDS[kind].batch else 2.0


def column(kind: str, variable: str) -> int:
    return variable_names(kind).index(variable)


def main_parts(kind: str, wafers: int) -> np.ndarray:
    """(wafers, samples, variables) of the settled half of the main phase.

    Without its last row, which sees the next step of the recipe where it was read late.
    """
    parts = []
    for number in range(wafers):
        values = draw(kind, number, minutes=minutes(kind)).values
        rows = phase_slices(kind, len(values))["main"]
        parts.append(values[(rows.start + rows.stop) // 2 : rows.stop - 1].astype(np.float64))
    return np.array(parts)


@pytest.mark.parametrize("kind", PROCESSING)
def test_a_trace_covers_its_recipe_at_the_rate_of_its_kind(kind: str) -> None:
    values, times_ms = draw(kind, 0)
    assert values.dtype == times_ms.dtype == np.float32
    assert values.shape == (len(times_ms), len(variable_names(kind)))
    assert np.isfinite(values).all()
    assert 1000.0 / sample_period_ms(kind, 2.0) == pytest.approx(KINDS[kind].rate_hz)
    assert times_ms[-1] == pytest.approx(120_000.0, rel=0.02)


@pytest.mark.parametrize(("minutes", "rows"), [(0.5, 40), (1.0, 60), (4.0, 240), (600.0, 240)])
def test_long_recipes_are_sampled_more_slowly(minutes: float, rows: int) -> None:
    assert sample_count("cmp", minutes) == rows <= MAX_SAMPLES
    assert rows * sample_period_ms("cmp", minutes) == pytest.approx(minutes * 60_000.0)


@pytest.mark.parametrize("kind", PROCESSING)
def test_sample_times_jitter_and_rise(kind: str) -> None:
    period = sample_period_ms(kind, 120.0)
    late = []
    for number in range(40):
        times = draw(kind, number, minutes=120.0).times_ms.astype(np.float64)
        assert np.all(np.diff(times) > 0.5 * period)
        late.append(times / period - np.arange(len(times)))
    assert np.min(late) >= -1e-3
    assert np.max(late) <= 0.31
    # Half-normal: its mean is sqrt(2/pi) of the scale.
    assert np.mean(late) == pytest.approx(0.04 * math.sqrt(2.0 / math.pi), rel=0.1)


def test_the_recipe_has_its_steps_and_an_over_etch_where_it_applies() -> None:
    assert list(phase_slices("etch", 240)) == ["stabilise", "main", "over_etch", "purge"]
    assert list(phase_slices("litho", 120)) == ["stabilise", "main", "purge"]
    numbers, counts = np.unique(recipe_steps("etch", 240).numpy(), return_counts=True)
    assert numbers.tolist() == [1, 2, 3, 4]
    assert counts.tolist() == [36, 161, 24, 19]
    rows = phase_slices("etch", 240)
    assert rows["stabilise"].start == 0
    assert rows["purge"].stop == 240
    assert all(before.stop == after.start for before, after in itertools.pairwise(rows.values()))
    power = np.mean(
        [draw("etch", n).values[:, column("etch", "rf_power_w")] for n in range(30)], axis=0
    )
    # Off while the pressure settles, full in the main step, 70 % in the over-etch, off again.
    assert abs(power[rows["stabilise"]].mean()) < 5.0
    assert power[rows["main"]][20:].mean() == pytest.approx(900.0, rel=0.01)
    assert power[rows["over_etch"]][10:].mean() == pytest.approx(630.0, rel=0.02)
    assert abs(power[rows["purge"]][-5:].mean()) < 15.0


def test_a_variable_follows_its_set_point_with_its_lag() -> None:
    rows = phase_slices("etch", 240)["main"]
    for name, lag_s in (("rf_power_w", 1.5), ("edge_ring_bias_v", 2.0), ("bias_voltage_v", 1.5)):
        place = column("etch", name)
        spec = KINDS["etch"].variables[place]
        mean = np.mean([draw("etch", n).values[:, place] for n in range(80)], axis=0)
        rest = 1.0 - mean[rows] / spec.level
        # One time constant after the step a fraction 1/e is left: sampled at 2 Hz, a little late.
        after = round(lag_s * 2.0)
        start = 1.0 - spec.idle
        assert rest[after - 1] / start == pytest.approx(math.exp(-1.0), abs=0.06)


@pytest.mark.parametrize("kind", PROCESSING)
def test_noise_remembers_itself_half_as_long_as_the_variable_lags(kind: str) -> None:
    parts = main_parts(kind, 120)
    period_s = sample_period_ms(kind, minutes(kind)) / 1000.0
    # Against the wafers' mean course; what is left of a wafer is its own mean and its noise.
    noise = parts - parts.mean(axis=0)
    noise -= noise.mean(axis=1, keepdims=True)
    rows = noise.shape[1]
    for place, variable in enumerate(KINDS[kind].variables):
        expected = math.exp(-period_s / (0.5 * variable.lag_s))
        if variable.lag_s > 5.0 * period_s:
            # A short trace does not tell a long memory from an offset.
            continue
        x = noise[:, :, place]
        measured = float((x[:, 1:] * x[:, :-1]).sum() / (x * x).sum())
        # Taking the mean of a short AR(1) away lowers what is seen by about (1 + 3 phi) / n.
        assert measured == pytest.approx(expected - (1.0 + 3.0 * expected) / rows, abs=0.05)


@pytest.mark.parametrize("kind", PROCESSING)
def test_variables_of_one_cause_move_together_with_the_signs_of_their_ties(kind: str) -> None:
    variables = KINDS[kind].variables
    means = main_parts(kind, 400).mean(axis=1)
    seen = np.corrcoef(means.T)
    tied = 0
    for i, first in enumerate(variables):
        for j, second in enumerate(variables[:i]):
            if first.tied is None or second.tied is None or first.tied[0] != second.tied[0]:
                # Standard error of no correlation in 400 wafers is 0.05.
                assert abs(seen[i, j]) < 0.22
                continue
            expected = first.tied[1] * second.tied[1]
            assert seen[i, j] == pytest.approx(expected, abs=0.2)
            if abs(expected) > 0.2:
                assert np.sign(seen[i, j]) == np.sign(expected)
                tied += 1
    assert tied >= 1


@pytest.mark.parametrize("kind", PROCESSING)
def test_a_wafers_mean_has_the_spread_it_should(kind: str) -> None:
    means = main_parts(kind, 300).mean(axis=1)
    for place, variable in enumerate(KINDS[kind].variables):
        # Noise inside the wafer adds a little: its mean over the phase is not quite zero.
        assert 0.85 < means[:, place].std() / variable.spread < 1.3, variable.name


def test_a_shift_moves_a_wafer_by_its_spread() -> None:
    plain, moved = draw("etch", 1).values, draw("etch", 1, shift=5.0).values
    rows = phase_slices("etch", len(plain))["main"]
    spreads = np.array([variable.spread for variable in KINDS["etch"].variables])
    change = (moved - plain)[rows][-40:].mean(axis=0) / spreads
    assert change == pytest.approx(np.full(len(spreads), 5.0), rel=0.1)


def test_a_lots_first_wafer_finds_the_module_cold_and_the_next_ones_less() -> None:
    place = column("etch", "wall_temp_c")
    spec = KINDS["etch"].variables[place]
    assert spec.warm < 0.0

    def shift(order: int) -> float:
        apart = [
            (draw("etch", n, order=order).values - draw("etch", n).values)[-60:-30, place].mean()
            for n in range(5)
        ]
        return float(np.mean(apart)) / spec.spread

    shifts = [shift(order) for order in range(6)]
    assert shifts[0] == pytest.approx(spec.warm, rel=0.05)
    assert all(before < after < 0.0 for before, after in itertools.pairwise(shifts))
    # 1/e after 2.5 wafers.
    assert shifts[5] / shifts[0] == pytest.approx(math.exp(-2.0), rel=0.1)
    unmoved = column("etch", "rf_power_w")
    assert np.array_equal(
        draw("etch", 3, order=0).values[:, unmoved], draw("etch", 3).values[:, unmoved]
    )


def fingerprint() -> str:
    digest = hashlib.sha256()
    for kind in PROCESSING:
        for part in draw(kind, 7, order=1):
            digest.update(part.astype("<f4").tobytes())
    return digest.hexdigest()


def test_another_process_draws_the_same_bytes() -> None:
    code = "from tests.unit.fab_sim.test_fab_draw_trace import fingerprint; print(fingerprint())"
    other = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert other.stdout.strip() == fingerprint()


def test_another_stream_draws_other_bytes() -> None:
    assert not np.array_equal(draw("etch", 1).values, draw("etch", 2).values)
