"""Two controllers on PostgreSQL killed in turn. Full size: `python -m bench.kill_controller`."""

import argparse
from pathlib import Path

import pytest

from bench.kill_controller import kill_controller
from tests.model_files import write_model


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.usefixtures("postgres_server")  # for its reasons not to run
def test_controllers_killed_in_turn_decide_as_an_undisturbed_one(tmp_path: Path) -> None:
    options = argparse.Namespace(
        database="postgres",
        log="embedded",
        model=str(write_model(tmp_path / "m.onnx")),
        wafers=220,
        kills=6,
        restarts=2,
        hangs=1,
        broker_kills=0,
        seed=1,
        keep="",
    )
    result = kill_controller(tmp_path, options)
    assert result["alert_revisions"] > 0
    assert result["same"] == dict.fromkeys(result["same"], True)
    assert {"alerts", "actions", "risks", "charts"} <= result["same"].keys()
    assert result["each_once"]
    assert (result["kills"], result["database_restarts"], result["hangs"]) == (6, 2, 1)
    assert result["exit_codes"] == [0, 0]
