"""`fabpilot evaluate` on a model file, as its users run it."""

from pathlib import Path

import numpy as np
import pytest

from tests.command_line import Home, npz
from tests.factories import wafer_grid
from tests.model_files import write_model

MAPS = 60


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str, str]:
    folder = tmp_path_factory.mktemp("evaluate")
    grids = [wafer_grid(24, 26, 0.05 + 0.3 * (i % 2), i) for i in range(MAPS)]
    labels = np.arange(MAPS, dtype=np.int8) % 2
    data = npz(folder / "maps.npz", grids, label=labels)
    model = write_model(folder / "model.onnx")
    return Home(folder / "home"), str(model), str(data)


def test_the_quick_look_has_figures_alone(judged: tuple[Home, str, str]) -> None:
    home, model, data = judged
    said = home.json("evaluate", model, "--data", data)
    assert said["n"] == MAPS
    assert said["intervals"] == {}
    assert "latency_ms" not in said
    assert sum(answers for answers, _, _ in said["reliability"]) == MAPS


def test_the_full_one_adds_intervals_robustness_and_latency(
    judged: tuple[Home, str, str], tmp_path: Path
) -> None:
    home, model, data = judged
    folder = tmp_path / "report"
    said = home.json("evaluate", model, "--data", data, "--full", "--report", str(folder))
    low, high = said["intervals"]["accuracy"]
    assert low <= said["accuracy"] <= high
    assert set(said["robustness_macro_f1"]) == {"die_flips", "missing_dies", "rotation"}
    assert 0.0 < said["latency_ms"]["median"] <= said["latency_ms"]["p95"]
    page = (folder / "report.md").read_text()
    assert f"| maps | {MAPS} |" in page
    for picture in ("classes", "confusion_matrix", "reliability", "mistakes"):
        assert f"({picture}.png)" in page
        assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_people_get_a_table_that_fits(judged: tuple[Home, str, str]) -> None:
    home, model, data = judged
    said = home.run("evaluate", model, "--data", data).stdout
    assert "rows (see --json)" in said
    assert "{" not in said
