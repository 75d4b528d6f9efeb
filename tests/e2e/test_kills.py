"""The commands killed with SIGKILL while they work. Full size: `python -m bench.kill`."""

import argparse
from pathlib import Path

import pytest

from bench.kill import kill_controller, kill_processor
from tests.command_line import npz
from tests.factories import wafer_grid
from tests.model_files import write_model


@pytest.mark.slow
def test_a_killed_processor_leaves_one_prediction_per_map(tmp_path: Path) -> None:
    data = npz(tmp_path / "maps.npz", [wafer_grid(26, 26, 0.1, i) for i in range(3000)])
    options = argparse.Namespace(
        log="embedded",
        data=str(data),
        model=str(write_model(tmp_path / "m.onnx")),
        wafers=3000,
        kills=4,
        processors=1,
        seed=1,
    )
    result = kill_processor(tmp_path, options)
    assert result["predictions"] == result["maps"] == 3000
    assert (result["missing"], result["doubled"], result["dead_letters"]) == (0, 0, 0)
    assert (result["disordered_keys"], result["redone"]) == (0, 0)
    assert result["kills"] == 4
    assert result["good"]


@pytest.mark.slow
def test_a_killed_controller_decides_as_an_undisturbed_one(tmp_path: Path) -> None:
    model = str(write_model(tmp_path / "m.onnx"))
    options = argparse.Namespace(model=model, wafers=220, kills=4, seed=1)
    result = kill_controller(tmp_path, options)
    assert result["alert_revisions"] > 0
    assert result["same_alerts"]
    assert result["same_actions"]
    assert result["each_once"]
