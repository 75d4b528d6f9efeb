from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import DatasetError, ModelFileError
from contracts.trace_fault import FaultDetail
from models.traces import load_traces
from models.traces.fault import FaultTask
from models.traces.fault_detector import INPUT
from models.traces.fault_model import deviations_of, fit_fault_model, matching_of
from models.traces.fault_names import LAM_FAULTS, changed_by
from models.traces.load_lam import load
from models.traces.tool_matching import Matching, Reference
from serving.trace_session import open_trace_session
from tests.etch_sets import VARIABLES, etch_set, write_lam

FAULTS = (
    ("Vat Valve", 10.0),
    ("Pressure", -9.0),
    ("Cl2 Flow", 12.0),
    ("Endpt A", 10.0),
    ("He Press", 12.0),
)


@pytest.fixture(scope="module")
def two_experiments():
    return etch_set(40, experiments=2, faults=FAULTS, seed=1)


@pytest.fixture(scope="module")
def first(two_experiments):
    return two_experiments.subset(two_experiments.context["experiment"] == "0", "0")


@pytest.fixture(scope="module")
def trained(first):
    shown = []
    made = FaultTask().train(first, seed=0, code_version="test", on_progress=shown.append)
    assert shown == sorted(shown)
    assert shown[-1] == 1.0
    return made


@pytest.fixture(scope="module")
def session(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("fault") / "fault.onnx"
    path.write_bytes(trained.content)
    return open_trace_session(path, "cpu", threads=1)


def test_learned_from_one_experiment_it_finds_the_faults_of_the_other(session, two_experiments):
    report = FaultTask().evaluate(session, two_experiments)
    assert report.more["learned_from"] == 40
    assert report.n == 2 * 45 - 40 - 1  # the first wafer of the other experiment is its reference
    assert report.more["not_judged"] == 1
    assert report.auc > 0.98
    assert report.more["auc_low"] < report.auc
    assert report.detected_at_1pct_false_alarms >= 0.8
    assert report.top3_contribution_hit == 1.0
    assert report.more["top3_by_chance"] < 0.6
    assert report.more["false_alarms_at_own_limit"] <= 0.1


def test_the_training_report_is_of_wafers_it_had_not_seen(trained):
    report = trained.report
    assert report.n == 5 + 40 - 26
    assert report.auc > 0.9  # of 14 normal wafers and 5 faults, learned from 26
    assert trained.card.metrics["auc"] == report.auc


def test_no_score_depends_on_the_future(session, two_experiments):
    rng = np.random.default_rng(7)
    rows = np.argsort(two_experiments.order, kind="stable")
    cut = 70
    shuffled = two_experiments.subset(np.r_[rows[:cut], rng.permutation(rows[cut:])])
    # What comes later is not only in another order but something else altogether.
    shuffled = replace(
        shuffled,
        order=two_experiments.order[rows],
        runs=(
            *shuffled.runs[:cut],
            *(replace(run, values=3.0 * run.values) for run in shuffled.runs[cut:]),
        ),
        fault=(*shuffled.fault[:cut], *(["normal"] * (len(rows) - cut))),
    )
    detail = FaultDetail.read(session.card.detail)
    now = deviations_of(two_experiments.subset(rows), detail.layout, matching_of(detail)).values
    then = deviations_of(shuffled, detail.layout, matching_of(detail)).values
    np.testing.assert_array_equal(now[:cut], then[:cut])
    assert np.nanmax(np.abs(now[cut:] - then[cut:])) > 1.0


def test_labels_change_no_score(session, two_experiments):
    detail = FaultDetail.read(session.card.detail)
    blind = replace(two_experiments, fault=(None,) * len(two_experiments))
    np.testing.assert_array_equal(
        deviations_of(two_experiments, detail.layout, matching_of(detail)).values,
        deviations_of(blind, detail.layout, matching_of(detail)).values,
    )


def test_the_file_says_what_the_model_says(session, first):
    model = fit_fault_model(first.subset(np.array([f == "normal" for f in first.fault])))
    rng = np.random.default_rng(8)
    rows = 4.0 * rng.standard_normal((17, model.deviations.shape[1]))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows = rows.astype(np.float32)
    given = session.run({INPUT: rows})
    for name, expected in model.detector.apply(rows.astype(np.float64)).items():
        np.testing.assert_allclose(given[name], expected, rtol=1e-3, atol=1e-3)


def test_faults_teach_nothing(first, trained):
    normal = first.subset(np.array([label == "normal" for label in first.fault]))
    again = FaultTask().train(normal, seed=1, code_version="test", on_progress=lambda share: None)
    here, there = (FaultDetail.read(made.card.detail) for made in (trained, again))
    assert here == there


def test_too_little_and_unfit_sets_are_refused(session, first, trained):
    task = FaultTask()
    with pytest.raises(DatasetError, match="too few for fault detection"):
        task.train(
            first.subset(np.arange(12)), seed=0, code_version="x", on_progress=lambda share: None
        )
    normal = first.subset(np.array([label == "normal" for label in first.fault]))
    with pytest.raises(DatasetError, match="has not learned from"):
        task.evaluate(session, normal)
    renamed = replace(first, variables=("Other", *VARIABLES[1:]))
    with pytest.raises(DatasetError, match="lacks variables of the model: Pressure"):
        task.evaluate(session, renamed)
    with pytest.raises(ModelFileError, match="not ours"):
        FaultDetail.read(b"{}")


def test_columns_in_another_order_change_nothing(session, two_experiments):
    turned = replace(
        two_experiments,
        variables=VARIABLES[::-1],
        runs=tuple(replace(run, values=run.values[:, ::-1]) for run in two_experiments.runs),
    )
    task = FaultTask()
    assert task.evaluate(session, turned) == task.evaluate(session, two_experiments)


def test_every_label_of_the_table_means_variables_of_the_set():
    variables = ("TCP Top Pwr", "RF Btm Pwr", "Pressure", "BCl3 Flow", "Cl2 Flow", "He Press")
    assert {changed_by(f"{name} +5", variables) for name in LAM_FAULTS} == set(LAM_FAULTS.values())
    assert changed_by("RF -12", variables).read_by[0] == "RF Btm Pwr"
    assert changed_by("Cl2 -5", ("Heater",)) is None
    assert changed_by("Heater zone 2 +5", ("Heater", "Heater zone 2")).read_by == ("Heater zone 2",)


# Tool matching alone.


def reference(scale: float = 1.0) -> Reference:
    return Reference(
        Matching(np.array([0.2]), np.array([scale]), np.array([0.0]), np.array([0.01]))
    )


def test_a_fault_moves_the_reference_by_three_deviations_at_most():
    rng = np.random.default_rng(0)
    one = reference()
    for value in 100.0 + rng.standard_normal(50):
        one.deviations(np.array([value]))
    before = one.level.copy()
    assert one.deviations(np.array([1e6]))[0] > 1e5
    assert abs(one.level - before)[0] < 3 * 0.2 * 1.2
    assert one.variance[0] < 1.5


def test_a_new_level_is_followed_and_a_noisier_module_widens():
    rng = np.random.default_rng(1)
    one = reference()
    for value in rng.standard_normal(50):
        one.deviations(np.array([value]))
    moved = [one.deviations(np.array([8.0 + x]))[0] for x in rng.standard_normal(40)]
    assert moved[0] > 6
    assert abs(np.mean(moved[20:])) < 1
    noisy = [one.deviations(np.array([8.0 + 3 * x]))[0] for x in rng.standard_normal(200)]
    assert np.std(noisy[100:]) < 1.6 < np.std(noisy[:20])


def test_a_fault_among_the_first_runs_is_outvoted():
    rng = np.random.default_rng(2)
    one = reference()
    off = [one.deviations(np.array([x]))[0] for x in (30.0, 0.3, -0.2, 0.1, 0.0)]
    # The second run is far from the first, and nobody can say which of them is off.
    assert abs(off[1]) > 10
    later = [one.deviations(np.array([x]))[0] for x in rng.standard_normal(20)]
    assert np.max(np.abs(later)) < 3
    assert abs(one.level[0]) < 1


def test_five_runs_on_one_side_are_a_new_level():
    rng = np.random.default_rng(3)
    one = reference()
    for value in rng.standard_normal(50):
        one.deviations(np.array([value]))
    for value in 100.0 + rng.standard_normal(5):
        one.deviations(np.array([value]))
    after = [one.deviations(np.array([100.0 + x]))[0] for x in rng.standard_normal(20)]
    assert np.max(np.abs(after)) < 4
    # Five faults in a row that are not of one kind do not make one.
    for value in (108.0, 92.0, 108.0, 92.0, 108.0):
        one.deviations(np.array([value]))
    assert abs(one.level[0] - 100.0) < 2


def test_a_first_run_is_no_deviation_and_a_second_a_wide_one():
    one = reference()
    assert np.isnan(one.deviations(np.array([5.0]))[0])
    assert one.deviations(np.array([7.0]))[0] == pytest.approx(2.0 / np.sqrt(2.0))


# The loader of LAM 9600.


def named(traces) -> list[str]:
    count = {"0": 0, "1": 0}
    found = []
    for experiment in traces.context["experiment"]:
        count[str(experiment)] += 1
        found.append(f"l{29 + 2 * int(experiment)}{count[str(experiment)]:02d}.txm")
    return found


@pytest.fixture
def lam(two_experiments, tmp_path):
    path = tmp_path / "lam.npz"
    write_lam(path, two_experiments, named(two_experiments))
    return path


def test_the_last_row_belongs_to_the_next_wafer_and_names_tell_the_order(lam, two_experiments):
    read = load_traces(lam).in_time()
    assert read.parts == ("all", "29", "normal-29", "31", "normal-31")
    assert read.fault == two_experiments.fault
    for left, right in zip(read.runs, two_experiments.runs, strict=True):
        np.testing.assert_array_equal(left.values, right.values)
        np.testing.assert_allclose(left.times_s, right.times_s, atol=1e-9)
        np.testing.assert_array_equal(left.step, right.step)
    part = load_traces(lam, "normal-31")
    assert len(part) == 40
    assert set(part.context["experiment"]) == {"31"}
    assert set(part.fault) == {"normal"}
    assert part.parts == read.parts


def test_a_damaged_file_is_refused(lam, tmp_path):
    arrays = dict(np.load(lam))
    for change, says in (
        ({"wafer": np.array(["x"] * 90)}, "not named like"),
        ({"offsets": arrays["offsets"][:-1]}, "offsets do not fit"),
        ({"variables": np.array(["Time", *"abcdef"])}, "Step Number"),
        ({"fault": arrays["fault"][:-1]}, "do not fit each other"),
    ):
        path = tmp_path / "damaged.npz"
        np.savez(path, **{**arrays, **change})
        with pytest.raises(DatasetError, match=says):
            load_traces(path)
    np.savez(path, data=arrays["data"])
    with pytest.raises(DatasetError, match="lacks fault, offsets"):
        load(path, None)
