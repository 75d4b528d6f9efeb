import json

import pytest

from tests.command_line import Home, error_of
from tests.trace_sets import polishing, write_long


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("traces"), FABPILOT_DEVICE="cpu")


@pytest.fixture(scope="module")
def data(home):
    path = home.folder / "polishing.parquet"
    write_long(polishing(100), path)
    return path


def test_traces_are_learned_registered_and_judged(home, data):
    words = ["train", "trace", "--task", "metrology", "--data", str(data), "--part", "train"]
    trained = json.loads(home.run(*words, "--json").stdout)
    assert trained["model"] == "models:/trace-metrology/1"
    assert trained["aliases"] == ["champion"]
    assert trained["runs"] == 70
    assert trained["rmse"] < 0.8
    words = ["evaluate", "models:/trace-metrology@champion", "--data", str(data)]
    judged = json.loads(home.run(*words, "--part", "later", "--json").stdout)
    assert judged["n"] == 30
    assert judged["rmse"] < 0.8
    assert judged["mse"] == pytest.approx(judged["rmse"] ** 2)
    assert "seen_in_training" not in judged
    assert "auc" not in judged


def test_what_cannot_be_done_is_said_in_one_line(home, data):
    words = ["train", "trace", "--data", str(data)]
    assert "metrology, fault, risk" in home.run(*words, "--task", "yield", code=2).stderr
    done = home.run(*words, "--task", "metrology", "--part", "never", code=1)
    assert "later, train, all" in error_of(done)
