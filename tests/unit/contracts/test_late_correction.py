import math

import numpy as np

from contracts.late_correction import GAINS, LateCorrection


def follow(errors, half=1.645, predicted=0.0):
    """States after measurements `errors` away from the prediction, and whether each was covered."""
    state, covered, offsets = LateCorrection(), [], []
    for error in errors:
        told = state.corrected(predicted, half)
        covered.append(told.low <= error <= told.high)
        offsets.append(state.offset)
        state = state.learned(predicted, half, float(error))
    return state, np.array(covered), np.array(offsets)


def test_pure_noise_is_left_alone():
    errors = np.random.default_rng(0).normal(0, 1, 500)
    _, covered, offsets = follow(errors)
    assert np.mean(offsets == 0.0) > 0.95
    assert 0.87 <= covered.mean() <= 0.93


def test_a_shift_is_put_right():
    rng = np.random.default_rng(1)
    errors = np.r_[rng.normal(0, 1, 100), rng.normal(5, 1, 150)]
    state, _, offsets = follow(errors)
    assert state.offset != 0.0
    left = errors[120:] - offsets[120:]
    assert np.sqrt(np.mean(left**2)) < 1.5


def test_intervals_too_narrow_grow_until_they_hold():
    errors = np.random.default_rng(2).normal(0, 1, 1500)
    _, covered, _ = follow(errors, half=0.3)
    assert 0.87 <= covered[300:].mean() <= 0.93


def test_what_teaches_nothing_changes_nothing():
    state = LateCorrection()
    assert state.learned(1.0, 1.0, math.nan) is state
    assert state.learned(math.inf, 1.0, 1.0) is state
    assert state.learned(1.0, 0.0, 1.0) is state


def test_one_wild_measurement_moves_it_by_little():
    state, _, _ = follow([0.1, -0.1, 0.0, 1e9, 0.0])
    assert abs(state.offset) <= 4 * 2 * 1.645
    assert len(state.offsets) == len(GAINS)
