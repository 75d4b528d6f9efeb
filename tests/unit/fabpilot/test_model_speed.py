import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from contracts.errors import ConfigError, ModelError, ModelFileError
from fabpilot.benchmarks.frontier import measure_frontier
from fabpilot.benchmarks.model_speed import measure_model, torch_network, untrained_file
from fabpilot.commands import bench, quantize
from fabpilot.map_data import load_named_maps
from models import quantize as int8_form
from models.export import build_card
from models.networks import WaferMapNet
from models.quantize import is_int8, read_card
from models.registry import list_versions
from serving.device import Device
from serving.session import open_session

SIM = ("--data", "sim:mixed", "--wafers", "300", "--seed", "3")


@pytest.fixture(scope="module")
def small() -> bytes:
    torch.manual_seed(0)
    return untrained_file("mapnet_xs", 32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bytes) -> Path:
    monkeypatch.setenv("FABPILOT_HOME", str(tmp_path / "home"))
    (tmp_path / "small.onnx").write_bytes(small)
    return tmp_path


def _said(app: typer.Typer, *arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def _bench() -> typer.Typer:
    app = typer.Typer()
    bench.register(app)
    return app


def _models() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    quantize.register(app)
    return app


def test_the_torch_network_is_the_one_the_card_names(small: bytes) -> None:
    net = WaferMapNet("mapnet_xs", 3, multi_label=True, views=4)
    card = build_card(
        net, labels=("Center", "Donut", "Loc"), thresholds=(0.5,) * 3, size=32,
        examples=read_card(small).golden_maps.numpy(), data_fingerprint="", metrics={},
        code_version="0",
    )  # fmt: skip
    again = torch_network(card)
    assert (again.backbone_name, again.views, again.multi_label) == ("mapnet_xs", 4, True)
    assert torch_network(read_card(small)).views == 1


def test_an_int8_file_is_not_taken_for_float32(small: bytes) -> None:
    int8 = int8_form.quantize(small, read_card(small).golden_maps.numpy())
    with pytest.raises(ModelFileError, match="float32 file"):
        measure_model("small", int8, rounds=1, seconds=0.01)
    maps = load_named_maps("sim:mixed", wafers=60, seed=0)
    with pytest.raises(ConfigError, match="float32 files"):
        measure_frontier({"small": int8}, maps, maps, rounds=1, seconds=0.01)


def test_bench_model_measures_all_contenders_in_one_run() -> None:
    quick = ("--rounds", "1", "--seconds", "0.01")
    said = _said(_bench(), "bench", "model", "--backbone", "mapnet_xs", "--size", "32", *quick)
    assert said["model"] == "mapnet_xs, untrained"
    assert said["canonical_size"] == 32
    kinds = ("torch", "ort_fp32", "ort_int8")
    assert min(said["reference_per_s"], *(said[f"{kind}_per_s"] for kind in kinds)) > 0
    for kind in kinds:
        assert 0 < said[f"{kind}_latency_ms"] <= said[f"{kind}_latency_p99_ms"]
    assert said["fp32_over_reference"] == pytest.approx(
        said["ort_fp32_per_s"] / said["reference_per_s"]
    )
    assert said["ort_over_torch_latency"] == pytest.approx(
        said["torch_latency_ms"] / said["ort_fp32_latency_ms"]
    )
    with pytest.raises(ConfigError, match="name one model"):
        _said(_bench(), "bench", "model", *quick)


def test_bench_frontier_writes_table_and_picture(home: Path) -> None:
    out = home / "frontier"
    said = _said(
        _bench(), "bench", "frontier", str(home / "small.onnx"), *SIM,
        "--out", str(out), "--rounds", "1", "--seconds", "0.01",
    )  # fmt: skip
    assert {row["precision"] for row in said["rows"]} == {"float32", "int8"}
    assert said["n"] > 0
    assert json.loads((out / "frontier.json").read_text()) == said
    assert "| small |" in (out / "frontier.md").read_text()
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_quantize_makes_a_file_that_serves(home: Path) -> None:
    out = home / "int8.onnx"
    said = _said(_models(), "quantize", str(home / "small.onnx"), *SIM, "--out", str(out))
    session = open_session(out, Device.CPU, sha256=said["sha256"])
    assert is_int8(session.card)
    assert session.card.metrics["macro_f1"] == pytest.approx(said["macro_f1_int8"])
    assert said["drop_points"] == pytest.approx(
        100 * (said["macro_f1_fp32"] - said["macro_f1_int8"])
    )
    assert said["allowed"] is (said["drop_points"] <= 0.3)
    assert min(said["fp32_maps_per_s"], said["int8_maps_per_s"]) > 0


def test_quantize_registers_what_loses_little(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{home / 'mlflow.db'}"
    monkeypatch.setenv("FABPILOT_MLFLOW", store)
    command = ("quantize", str(home / "small.onnx"), *SIM, "--register")
    monkeypatch.setattr(int8_form, "MOST_POINTS_LOST", -100.0)
    with pytest.raises(ModelError, match="not registered"):
        _said(_models(), *command)
    assert list_versions(store, "wafer-map") == []
    monkeypatch.setattr(int8_form, "MOST_POINTS_LOST", 100.0)
    said = _said(_models(), *command)
    (version,) = list_versions(store, "wafer-map")
    assert said["registered"] == f"models:/wafer-map/{version.version}"
    assert version.sha256 == said["sha256"]
    assert version.metrics["int8_drop_points"] == pytest.approx(said["drop_points"])
