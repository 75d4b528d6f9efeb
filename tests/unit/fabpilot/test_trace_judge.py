from fabpilot.settings import Settings
from fabpilot.trace_judge import judge_traces
from models.traces import load_traces
from models.traces.metrology import MetrologyTask
from tests.trace_sets import polishing, write_long


def test_runs_it_was_trained_on_are_told(tmp_path):
    data, file = tmp_path / "polishing.parquet", tmp_path / "model.onnx"
    write_long(polishing(60), data)
    trained = MetrologyTask().train(
        load_traces(data, "train"), seed=0, code_version="x", on_progress=lambda share: None
    )
    file.write_bytes(trained.content)
    settings = Settings(home=tmp_path, device="cpu")
    own = judge_traces(settings, file, data, "train")
    later = judge_traces(settings, file, data, "later")
    assert own["seen_in_training"] is True
    assert own["n"] == 42
    assert "seen_in_training" not in later
    assert later["part"] == "later"
    assert later["rmse"] > own["rmse"]
