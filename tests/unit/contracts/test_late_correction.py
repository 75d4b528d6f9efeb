import math

import numpy as np

from contracts.late_correction import GAINS, LateCorrection


def follow(errors, half=1.645, predicted=0.0):
    """States after measurements `errors` away from the prediction, and whether each was covered."""
    state, covered, offsets = LateCorrection(), [], []
    for error in errors:
        told = state.corrected(predicted, half)
        covered.append(told.low <= error <= told.high)
        offsets.append(state.offset())
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
    assert state.offset() != 0.0
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
    assert abs(state.offset()) <= 4 * 2 * 1.645
    assert len(state.offsets) == len(GAINS)


def test_lots_that_differ_are_each_put_right_from_their_own_first_wafers():
    rng = np.random.default_rng(3)
    state, left, raw = LateCorrection(), [], []
    for lot in range(40):
        bias = rng.normal(0, 2)
        for _ in range(10):
            error = bias + rng.normal(0, 0.5)
            raw.append(error)
            left.append(error - state.offset(str(lot)))
            state = state.learned(0.0, 3.0, error, str(lot))
    assert state.offset("the next lot") == 0.0
    assert np.std(left[100:]) < 0.6 * np.std(raw[100:])
