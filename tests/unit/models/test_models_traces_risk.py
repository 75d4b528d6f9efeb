from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import DatasetError, ModelFileError
from models.traces import Run, TraceSet, load_traces
from models.traces.risk import RiskTask, learner_of, state_of
from models.traces.risk_learner import WINDOW, RiskLearner
from serving.trace_session import open_trace_session

SIGNALS = 60


def secom(n: int = 700, seed: int = 0, strength: float = 1.0) -> TraceSet:
    """Failures shift two signals and widen a third; all drift, some are missing, one is dead."""
    rng = np.random.default_rng(seed)
    failed = rng.random(n) < 0.1
    values = rng.standard_normal((n, SIGNALS)) + np.linspace(0, 6, n)[:, np.newaxis]
    values[:, 3] += strength * failed
    values[:, 7] -= strength * failed
    values[:, 11] *= np.where(failed, 1.0 + strength, 1.0)
    values[rng.random(values.shape) < 0.05] = np.nan
    values[:, 20], values[:, 21] = 5.0, np.nan
    return TraceSet(
        name="drawn secom",
        runs=tuple(Run(row[np.newaxis].astype(np.float32), np.zeros(1)) for row in values),
        variables=tuple(f"V{i}" for i in range(SIGNALS)),
        group=np.arange(n).astype(np.str_),
        order=np.arange(n, dtype=float),
        target=failed.astype(float),
    )


def train(traces: TraceSet):
    return RiskTask().train(traces, seed=0, code_version="test", on_progress=lambda share: None)


def opened(trained, folder):
    path = folder / "risk.onnx"
    path.write_bytes(trained.content)
    return open_trace_session(path, "cpu", threads=1)


def forecasts(traces: TraceSet) -> np.ndarray:
    learner = RiskLearner(SIGNALS)
    found = []
    for run, failed in zip(traces.runs, traces.target, strict=True):
        row = run.values[0].astype(np.float64)
        forecast = learner.forecast(row)
        found.append(forecast.probability)
        learner.learn(row, forecast, float(failed))
    return np.array(found)


@pytest.fixture(scope="module")
def wafers():
    return secom()


def test_it_finds_what_there_is_and_says_so_in_probabilities(wafers):
    report = train(wafers).report
    assert report.n == 600
    assert report.auc > 0.7
    assert report.more["auc_low"] < report.auc < report.more["auc_high"]
    assert report.more["failures_expected"] == pytest.approx(report.more["failed"], rel=0.35)


def test_where_there_is_nothing_it_claims_nothing():
    report = train(secom(seed=3, strength=0.0)).report
    assert report.more["auc_low"] < 0.5 < report.more["auc_high"]


def test_no_forecast_depends_on_the_future(wafers):
    cut = 400
    rng = np.random.default_rng(1)
    order = np.r_[np.arange(cut), cut + rng.permutation(len(wafers) - cut)]
    shuffled = wafers.subset(order)
    target = shuffled.target.copy()
    target[cut:] = 1.0 - target[cut:]
    changed = replace(shuffled, target=target)
    now, then = forecasts(wafers), forecasts(changed)
    np.testing.assert_array_equal(now[:cut], then[:cut])
    # Its own result is no part of a wafer's forecast either.
    assert then[cut] == pytest.approx(forecasts(shuffled)[cut], abs=0)
    assert not np.array_equal(now[cut:], then[cut:])


def test_a_model_goes_on_where_its_file_ends(wafers, tmp_path):
    session = opened(train(wafers.subset(np.arange(450))), tmp_path)
    task = RiskTask()
    later = task.evaluate(session, wafers.subset(np.arange(450, 700)))
    both = task.evaluate(session, wafers)
    assert later == both
    assert later.n == 250
    straight = forecasts(wafers)[450:]
    assert later.more["failures_expected"] == pytest.approx(straight.sum(), rel=1e-3)


def test_its_own_wafers_are_forecast_from_the_beginning(wafers, tmp_path):
    trained = train(wafers)
    assert RiskTask().evaluate(opened(trained, tmp_path), wafers) == trained.report


def test_the_file_names_the_signals(wafers, tmp_path):
    session = opened(train(wafers), tmp_path)
    deviations = np.zeros((1, SIGNALS), dtype=np.float32)
    deviations[0, [3, 7, 11, 40]] = 3.0, -3.0, 3.0, 3.0
    given = session.run({"deviations": deviations, "prior": np.array([-2.0], dtype=np.float32)})
    assert set(np.argsort(-given["contributions"][0])[:3]) == {3, 7, 11}
    assert given["probability"][0] > 1 / (1 + np.exp(2.0))


def test_state_is_bounded():
    learner = RiskLearner(4)
    rng = np.random.default_rng(0)
    for i in range(2_300):
        row = rng.standard_normal(4)
        learner.learn(row, learner.forecast(row), float(i % 10 == 0))
    assert learner.window.shape == (WINDOW, 4)
    assert len(learner.remembered) == 2_000


def test_a_wafer_without_a_result_is_forecast_and_not_learned_from(wafers):
    unknown = replace(wafers, target=np.where(np.arange(700) == 300, np.nan, wafers.target))
    assert train(unknown).report.n == 599


def test_lost_signals_are_unknown_and_most_of_them_too_many(wafers, tmp_path):
    session = opened(train(wafers.subset(np.arange(450))), tmp_path)
    later = wafers.subset(np.arange(450, 700))

    def keeping(columns):
        return replace(
            later,
            variables=tuple(later.variables[c] for c in columns),
            runs=tuple(replace(run, values=run.values[:, columns]) for run in later.runs),
        )

    assert RiskTask().evaluate(session, keeping(list(range(50)))).n == 250
    with pytest.raises(DatasetError, match="10 of the 60 signals"):
        RiskTask().evaluate(session, keeping(list(range(10))))


def test_unfit_sets_are_refused(wafers):
    with pytest.raises(DatasetError, match="1 for a wafer that failed"):
        train(replace(wafers, target=wafers.target * 2.0))
    with pytest.raises(DatasetError, match="too few to learn from"):
        train(wafers.subset(np.arange(60)))
    with pytest.raises(ModelFileError, match="does not fit its signals"):
        learner_of(state_of(RiskLearner(5), 0.0, ()), 6)


def test_secom_is_read_in_time(tmp_path):
    path = tmp_path / "secom.parquet"
    day = 86_400_000_000
    table = {
        "timestamp": pa.array([2 * day, day, 3 * day], pa.timestamp("us")),
        "V2": [1.0, None, 3.0],
        "label": [1, -1, None],
        "V10": [4.0, 5.0, 6.0],
    }
    pq.write_table(pa.table(table), path)
    read = load_traces(path)
    assert read.variables == ("V2", "V10")
    np.testing.assert_array_equal(read.target, [0.0, 1.0, np.nan])
    np.testing.assert_array_equal(read.runs[0].values, [[np.nan, 5.0]])
    assert read.order.tolist() == [86_400.0, 172_800.0, 259_200.0]
    pq.write_table(pa.table({**table, "label": [1, 0, 2]}), path)
    with pytest.raises(DatasetError, match="label must be -1"):
        load_traces(path)
    with pytest.raises(DatasetError, match="no part 'train'"):
        load_traces(path, "train")
