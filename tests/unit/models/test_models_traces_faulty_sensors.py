"""Late, missing, stuck and coarse sensors: named, and neither false alarms nor blind spots."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import DatasetError
from models.traces import Run
from models.traces.fault_detector import fit_detector
from models.traces.fault_model import deviations_of, fit_fault_model, variable_names
from models.traces.step_features import Trouble, learn_layout, measure
from tests.etch_sets import VARIABLES, etch_run, etch_set


@pytest.fixture(scope="module")
def model():
    return fit_fault_model(etch_set(40))


@pytest.fixture(scope="module")
def normal():
    return etch_set(30, seed=5)


def with_run(traces, place: int, run: Run):
    runs = list(traces.runs)
    runs[place] = run
    return replace(traces, runs=tuple(runs))


def judged(model, traces, place: int):
    found = deviations_of(traces, model.layout, model.matching)
    outputs = model.detector.apply(found.values[place : place + 1])
    return outputs, found.troubles[place], bool(found.judged[place])


def faulty(run: Run, variable: str, by: float) -> Run:
    values = run.values.copy()
    values[:, VARIABLES.index(variable)] += by
    return Run(values, run.times_s, run.step)


def late(run: Run) -> Run:
    return Run(run.values[12:], run.times_s[12:] - run.times_s[12], run.step[12:])


def missing(run: Run) -> Run:
    values = run.values.copy()
    values[:, VARIABLES.index("He Press")] = np.nan
    values[np.random.default_rng(0).random(values.shape) < 0.2] = np.nan
    return Run(values, run.times_s, run.step)


def stuck(run: Run) -> Run:
    values = run.values.copy()
    values[:, VARIABLES.index("Endpt A")] = 1300.0
    return Run(values, run.times_s, run.step)


@pytest.mark.parametrize(
    ("spoil", "trouble"),
    [
        (late, {Trouble("late", 4)}),
        (missing, {Trouble("missing", 4, "He Press"), Trouble("missing", 5, "He Press")}),
        (stuck, {Trouble("stuck", 4, "Endpt A"), Trouble("stuck", 5, "Endpt A")}),
    ],
)
def test_a_spoilt_trace_is_named_not_alarmed_and_does_not_hide_a_fault(
    model, normal, spoil, trouble
):
    good = normal.runs[20]
    outputs, troubles, is_judged = judged(model, with_run(normal, 20, spoil(good)), 20)
    assert set(troubles) == trouble
    assert is_judged
    assert outputs["score"][0] < 1.0
    bad = faulty(spoil(good), "Vat Valve", 0.8)
    outputs, _, _ = judged(model, with_run(normal, 20, bad), 20)
    assert outputs["score"][0] > 1.0
    first = variable_names(model.layout)[int(outputs["contributions"][0].argmax())]
    assert first == "Vat Valve"


def test_a_stuck_sensor_does_not_spoil_the_reference_of_the_next_wafers(model, normal):
    spoilt = with_run(normal, 20, stuck(normal.runs[20]))
    clean = deviations_of(normal, model.layout, model.matching).values
    after = deviations_of(spoilt, model.layout, model.matching).values
    # One wafer less in a running mean is all that is different: a fifth of a standard deviation.
    assert np.nanmax(np.abs(after[21:] - clean[21:])) < 0.7
    np.testing.assert_array_equal(after[:20], clean[:20])


def test_a_trace_of_three_rows_is_not_judged_and_teaches_nothing(model, normal):
    run = normal.runs[20]
    short = with_run(normal, 20, Run(run.values[:3], run.times_s[:3], run.step[:3]))
    _, troubles, is_judged = judged(model, short, 20)
    assert not is_judged
    assert {trouble.kind for trouble in troubles} == {"short"}
    without = normal.subset(np.arange(30) != 20)
    np.testing.assert_array_equal(
        deviations_of(short, model.layout, model.matching).values[21:],
        deviations_of(without, model.layout, model.matching).values[20:],
    )


def test_a_step_cut_short_leaves_the_other_to_be_judged(model, normal):
    run = normal.runs[20]
    kept = (run.step == 5) | (np.arange(len(run.step)) < 3)
    cut = Run(run.values[kept], run.times_s[kept], run.step[kept])
    outputs, troubles, is_judged = judged(model, with_run(normal, 20, cut), 20)
    assert is_judged
    assert troubles == (Trouble("short", 4),)
    assert outputs["score"][0] < 1.0


def test_a_coarse_reading_may_jump_by_its_rounding():
    """A valve read in whole numbers near 49.5: the learned runs hardly show it, later ones do."""
    valve = VARIABLES.index("Vat Valve")

    def coarse(traces, level):
        runs = []
        for i, run in enumerate(traces.runs):
            values = run.values.copy()
            values[:, valve] = np.round(level[i] + 0.05 * (values[:, valve] - 50.0))
            runs.append(Run(values, run.times_s, run.step))
        return replace(traces, runs=tuple(runs))

    rng = np.random.default_rng(2)
    model = fit_fault_model(coarse(etch_set(40), 49.42 + 0.02 * rng.standard_normal(40)))
    later = coarse(etch_set(40, seed=5), 49.5 + 0.02 * rng.standard_normal(40))
    found = deviations_of(later, model.layout, model.matching)
    scores = model.detector.apply(found.values[1:])["score"]
    assert (scores > 1.0).mean() <= 0.1
    # What is far beyond rounding is still found.
    shifted = with_run(later, 30, faulty(later.runs[30], "Vat Valve", 3.0))
    found = deviations_of(shifted, model.layout, model.matching)
    outputs = model.detector.apply(found.values[30:31])
    assert variable_names(model.layout)[int(outputs["contributions"][0].argmax())] == "Vat Valve"


def test_late_samples_move_no_level(model):
    run = etch_run(np.random.default_rng(3))
    delayed = Run(run.values, run.times_s + np.linspace(0, 2.0, len(run.times_s)), run.step)
    plain, _ = measure(run, model.layout)
    shifted, _ = measure(delayed, model.layout)
    features = model.layout.features()
    same = [feature.statistic != "duration" for feature in features]
    np.testing.assert_array_equal(plain[same], shifted[same])


def test_a_late_first_step_has_neither_settling_nor_duration(model):
    found, _ = measure(late(etch_run(np.random.default_rng(3))), model.layout)
    unknown = {
        (feature.step, feature.statistic)
        for feature, value in zip(model.layout.features(), found, strict=True)
        if np.isnan(value)
    }
    assert unknown == {(4, "settling"), (4, "duration")}


def test_one_spike_moves_no_level(model):
    run = etch_run(np.random.default_rng(4))
    values = run.values.copy()
    values[20] = 1e6
    plain, _ = measure(run, model.layout)
    spiked, _ = measure(Run(values, run.times_s, run.step), model.layout)
    levels = [feature.statistic == "level" for feature in model.layout.features()]
    assert np.abs(plain - spiked)[levels].max() < 6.0


def test_univariate_limits_name_variable_and_step(model, normal):
    run = normal.runs[20]
    values = run.values.copy()
    values[run.step == 5, VARIABLES.index("Pressure")] += 4.0
    shifted = with_run(normal, 20, Run(values, run.times_s, run.step))
    found = deviations_of(shifted, model.layout, model.matching)
    beyond = [
        feature
        for feature, z in zip(model.layout.features(), found.values[20], strict=True)
        if abs(z) > model.detector.univariate_limit
    ]
    assert beyond
    assert {(feature.variable, feature.step) for feature in beyond} == {("Pressure", 5)}


def test_a_set_without_a_common_step_is_refused():
    with pytest.raises(DatasetError, match="no step"):
        learn_layout(
            replace(
                etch_set(20),
                runs=tuple(
                    Run(run.values, run.times_s, np.arange(len(run.times_s)))
                    for run in etch_set(20).runs
                ),
            )
        )


def test_the_detector_scales_up_for_what_is_unknown():
    rng = np.random.default_rng(6)
    z = rng.standard_normal((60, 12))
    detector = fit_detector(z, np.eye(12))
    half = z.copy()
    half[:, ::2] = np.nan
    whole_scores, half_scores = (detector.apply(rows)["score"] for rows in (z, half))
    assert half_scores.mean() == pytest.approx(whole_scores.mean(), rel=0.15)
