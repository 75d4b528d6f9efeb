"""LAM 9600 and SECOM, where they are at hand (FABPILOT_DATA; the project does not ship them)."""

import os
from pathlib import Path

import numpy as np
import pytest

from models.traces import load_traces
from models.traces.fault import FaultTask
from models.traces.risk import RiskTask
from serving.trace_session import TraceSession, open_trace_session

FOLDER = Path(os.environ.get("FABPILOT_DATA", "../shared/data"))


def _path(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is missing; point FABPILOT_DATA at the folder that has it")
    return path


def _session(trained, folder: Path) -> TraceSession:
    path = folder / "model.onnx"
    path.write_bytes(trained.content)
    return open_trace_session(path, "cpu", threads=1)


@pytest.mark.data
def test_lam_wafers_lose_the_row_of_the_next_one() -> None:
    arrays = np.load(_path("lam9600.npz"))
    traces = load_traces(_path("lam9600.npz"))
    rows = np.diff(arrays["offsets"])
    assert (rows - [len(run.values) for run in traces.runs] == 1).all()
    assert all(np.all(np.diff(run.times_s) > 0) for run in traces.runs)


@pytest.mark.data
@pytest.mark.parametrize("experiment", ["29", "31"])
def test_lam_learned_from_one_experiment(experiment: str, tmp_path: Path) -> None:
    file = _path("lam9600.npz")
    trained = FaultTask().train(
        load_traces(file, f"normal-{experiment}"),
        seed=0,
        code_version="test",
        on_progress=lambda share: None,
    )
    report = FaultTask().evaluate(_session(trained, tmp_path), load_traces(file))
    assert report.more["faults"] == 15
    assert report.more["not_judged"] <= 2
    assert report.auc >= 0.98
    assert report.detected_at_1pct_false_alarms >= 0.8
    assert report.top3_contribution_hit >= 0.7


@pytest.mark.data
def test_secom_in_time_order(tmp_path: Path) -> None:
    traces = load_traces(_path("secom.parquet"))
    earlier = RiskTask().train(
        traces.subset(np.arange(700)), seed=0, code_version="test", on_progress=lambda share: None
    )
    whole = RiskTask().train(traces, seed=0, code_version="test", on_progress=lambda share: None)
    assert whole.report.auc >= 0.62
    assert whole.report.more["auc_low"] > 0.56
    later = RiskTask().evaluate(_session(earlier, tmp_path), traces)
    assert later.n == len(traces) - 700
    assert later.auc >= 0.62
