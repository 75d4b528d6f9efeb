import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contracts.errors import TraceError
from contracts.trace_features import Driver, FeatureSpec, feature_names, trace_features

SPEC = FeatureSpec(
    variables=("wafers", "pressure", "gas"),
    counters=(0,),
    steps=(1, 2),
    drivers=(Driver(1, 5.0), Driver(2, 50.0)),
)


def named(spec, values, times=None, step=None):
    values = np.asarray(values, dtype=np.float32)
    times = np.arange(len(values), dtype=float) if times is None else times
    found = trace_features(spec, values, times, step)
    return dict(zip(feature_names(spec), found.tolist(), strict=True))


def test_sections_and_phases_are_told_apart():
    # Step 1: nothing on; step 2: pressure 10, then 12, gas pulsed.
    values = [[7, 0, 0]] * 4 + [[7, 10, 100]] * 2 + [[8, 12, 0]] * 2
    step = np.array([1] * 4 + [2] * 4)
    found = named(SPEC, values, step=step)
    assert found["wafers.start"] == 7
    assert found["wafers.rise"] == 1
    assert found["run.duration_s"] == 8
    assert found["run.on_s"] == 4
    assert found["run.on.pressure.level"] == 11
    assert found["run.high.pressure.level"] == 10
    assert found["run.low.pressure.level"] == 12
    assert found["step1.all.pressure.level"] == 0
    assert found["step2.all.pressure.slope"] > 0
    assert found["step2.pressure.total"] == 44
    assert found["step2.pressure.crossings"] == 1
    assert np.isnan(found["step1.on.pressure.level"])


def test_settling_is_the_last_time_outside_the_band():
    rise = 1 - np.exp(-np.arange(40) / 4.0)
    found = named(FeatureSpec(variables=("p",)), rise[:, None])
    # exp(-t/4) is below 0.05 after t = 4 ln 20 = 11.98.
    assert found["run.p.settling_s"] == pytest.approx(11, abs=1)


def test_a_gap_counts_as_little():
    times = np.array([0.0, 1.0, 2.0, 1002.0, 1003.0])
    found = named(FeatureSpec(variables=("p",)), np.ones((5, 1)), times)
    assert found["run.duration_s"] == 1 + 1 + 5 + 1 + 1


def test_missing_samples_hold_the_last_value_and_a_dead_sensor_gives_nothing():
    spec = FeatureSpec(variables=("p", "dead"))
    found = named(spec, [[np.nan, np.nan], [2, np.nan], [np.nan, np.nan], [2, np.nan]])
    assert found["run.all.p.level"] == 2
    assert found["run.all.p.spread"] == 0
    assert np.isnan(found["run.all.dead.level"])


def test_an_empty_run_and_a_wrong_width():
    assert np.isnan(trace_features(SPEC, np.zeros((0, 3), np.float32), np.zeros(0), None)).all()
    with pytest.raises(TraceError, match="3 variables"):
        trace_features(SPEC, np.zeros((4, 2), np.float32), np.arange(4.0), None)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 12), st.just(3)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_any_trace_gives_numbers_or_nothing(values):
    step = np.arange(len(values)) % 3
    found = trace_features(SPEC, values, np.arange(len(values), dtype=float), step)
    assert found.shape == (len(feature_names(SPEC)),)
    assert not np.isinf(found).any()
