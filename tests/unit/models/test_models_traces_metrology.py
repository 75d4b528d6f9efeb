from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import DatasetError, ModelFileError
from contracts.trace_metrology import decode_detail
from models.traces.gaussian_process import fit_gaussian_process
from models.traces.metrology import MetrologyTask, inputs_of
from models.traces.metrology_report import Predictions, corrected_late
from serving.device import Device
from serving.trace_session import is_trace_model, open_trace_session
from tests.trace_sets import polishing


@pytest.fixture(scope="module")
def trained():
    traces = polishing(160, threads=2, seed=1)
    # Two wrong measurements, as PHM 2016 has them, and one run that was never measured.
    traces.target[[30, 60]] = 5000.0
    traces.target[40] = np.nan
    shares = []
    model = MetrologyTask().train(traces, seed=0, code_version="test", on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return model


@pytest.fixture(scope="module")
def session(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(trained.content)
    assert is_trace_model(path)
    return open_trace_session(path, Device.CPU, threads=1)


def test_folds_foretell_what_can_be_foretold(trained):
    report = trained.report
    assert report.n == 157
    assert report.more["outliers_left_out"] == 2
    # Noise is 0.3; without wear 1.2, without pressure 4.
    assert report.rmse < 0.6
    assert 0.85 <= report.coverage90 <= 0.95
    spec = decode_detail(trained.card).threads[0].spec
    assert [spec.variables[i] for i in spec.counters] == ["pad_wafers"]
    assert spec.steps == (1, 2)


def test_a_file_judges_other_runs_as_well(session):
    later = polishing(80, threads=2, seed=9)
    report = MetrologyTask().evaluate(session, later)
    assert report.n == 80
    assert report.rmse < 0.6
    assert report.more["unlike"] <= 8
    assert report.mse == pytest.approx(report.rmse**2)


def test_the_future_changes_nothing(session):
    """Runs after the fortieth are shuffled in everything; what was said before stays."""
    task, traces = MetrologyTask(), polishing(80, threads=2, seed=4)
    rng = np.random.default_rng(0)
    mixed = np.r_[np.arange(40), 40 + rng.permutation(40)]
    other = replace(
        traces,
        runs=tuple(traces.runs[i] for i in mixed),
        target=np.r_[traces.target[:40], rng.normal(0, 100, 40)],
    )

    def said(some):
        detail = decode_detail(session.card)
        inputs = inputs_of(session.card, detail, some)
        inputs["known_until"] = some.context["start_s"].astype(np.float32)[:, None]
        outputs = session.run(inputs)
        return corrected_late(
            Predictions(
                outputs["predicted"].astype(float),
                outputs["half_width"].astype(float),
                some.target,
                some.order,
                some.context["thread"],
                some.group,
            )
        )

    before, after = said(traces), said(other)
    np.testing.assert_array_equal(before.predicted[:40], after.predicted[:40])
    np.testing.assert_array_equal(before.half_width[:40], after.half_width[:40])
    assert not np.allclose(before.predicted[44:], after.predicted[44:])
    assert task.evaluate(session, traces).n == 80


def test_past_only_forgets_learned_runs_that_came_later(session):
    """Known until the beginning: the process says its mean and is as unsure as it can be."""
    inputs = inputs_of(session.card, decode_detail(session.card), polishing(10, threads=2, seed=2))
    everything = session.run(inputs)
    inputs["known_until"] = np.full((10, 1), -1.0, np.float32)
    nothing = session.run(inputs)
    assert (nothing["half_width"] >= everything["half_width"]).all()
    np.testing.assert_array_equal(nothing["novelty"], everything["novelty"])


def test_what_it_never_saw_is_said_to_be_unlike(session):
    strange = polishing(12, threads=2, seed=3)
    runs = [replace(run, values=run.values.copy()) for run in strange.runs]
    runs[5].values[30:, 2] = 0.0  # the flow stops
    runs[7].values[:, 1] = np.nan  # no pressure sensor
    inputs = inputs_of(
        session.card, decode_detail(session.card), replace(strange, runs=tuple(runs))
    )
    outputs = session.run(inputs)
    assert outputs["novelty"][5] > 1
    assert outputs["novelty"][7] > 1
    assert np.isfinite(outputs["predicted"]).all()


def test_other_variables_and_nothing_measured_are_refused(session):
    traces = polishing(5)
    with pytest.raises(DatasetError, match="lacks pad_wafers"):
        MetrologyTask().evaluate(
            session, replace(traces, variables=("a", "pressure_kpa", "flow_ml_min"))
        )
    with pytest.raises(DatasetError, match="no run has a measured value"):
        MetrologyTask().evaluate(session, replace(traces, target=np.full(5, np.nan)))
    with pytest.raises(DatasetError, match="no thread has 20"):
        MetrologyTask().train(traces, seed=0, code_version="x", on_progress=lambda share: None)


def test_the_order_of_columns_does_not_matter(session):
    traces = polishing(25, threads=2, seed=5)
    turned = replace(
        traces,
        variables=traces.variables[::-1],
        runs=tuple(replace(run, values=run.values[:, ::-1]) for run in traces.runs),
    )
    task = MetrologyTask()
    assert task.evaluate(session, turned).rmse == task.evaluate(session, traces).rmse


def test_a_file_that_says_something_else_is_not_served(trained, tmp_path):
    cut, other = tmp_path / "cut.onnx", tmp_path / "other.onnx"
    cut.write_bytes(trained.content[:-100])
    with pytest.raises(ModelFileError):
        open_trace_session(cut, Device.CPU)
    other.write_bytes(trained.content.replace(b"fabpilot.trace_model", b"fabpilot.trace_modem"))
    with pytest.raises(ModelFileError, match="train trace"):
        open_trace_session(other, Device.CPU)


def test_known_rows_are_all_that_counts():
    """Cutting the sums at a row says exactly what a process over the rows before it says."""
    rng = np.random.default_rng(0)
    u, z = rng.normal(size=(40, 1)), rng.normal(size=(40, 2))
    y = np.sin(u[:, 0]) + z[:, 0] + rng.normal(0, 0.1, 40)
    process = fit_gaussian_process(u, z, y)
    known = np.zeros((3, 40))
    known[:, :25] = 1.0
    mean, spread = process.predict(u[30:33], z[30:33], known)

    def covariance(a, b, c, d):
        far = np.sqrt((((a[:, None] - c[None]) / process.counter_scales) ** 2).sum(2) + 1e-12)
        near = (((b[:, None] - d[None]) / process.signal_scales) ** 2).sum(2)
        return process.a1 * np.exp(-far) + process.a2 * np.exp(-near / 2)

    prior = covariance(u[:25], z[:25], u[:25], z[:25]) + process.noise * np.eye(25)
    cross = covariance(u[30:33], z[30:33], u[:25], z[:25])
    target = (y[:25] - process.mean) / process.scale
    expected = cross @ np.linalg.solve(prior, target) * process.scale + process.mean
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    variance = process.a1 + process.a2 + process.noise
    variance -= np.einsum("ij,ji->i", cross, np.linalg.solve(prior, cross.T))
    np.testing.assert_allclose(spread, np.sqrt(variance) * process.scale, atol=1e-6)
    # Rows left out, one by one, by the closed form and by leaving them out.
    without = np.delete(np.arange(40), 39)
    k = covariance(u[without], z[without], u[without], z[without]) + process.noise * np.eye(39)
    cross = covariance(u[39:], z[39:], u[without], z[without])
    said = cross @ np.linalg.solve(k, (y[without] - process.mean) / process.scale)
    left = y[39] - (said[0] * process.scale + process.mean)
    assert process.left_out()[39] == pytest.approx(left, abs=1e-6)


def test_late_measurements_are_used_when_they_are_there_and_not_before():
    same = {"order": np.arange(60.0), "thread": np.full(60, "a"), "group": np.full(60, "lot")}
    said = Predictions(
        predicted=np.zeros(60), half_width=np.full(60, 1.0), target=np.full(60, 5.0), **same
    )
    told = corrected_late(said)
    assert told.predicted[:3].tolist() == [0.0, 0.0, 0.0]
    assert abs(told.predicted[-1] - 5.0) < 0.1
