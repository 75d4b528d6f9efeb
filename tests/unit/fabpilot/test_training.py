"""A run from maps to a registered version: what it keeps, and what it never loses."""

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from contracts.errors import RegistryError
from fabpilot import training
from fabpilot.training import Origin, TrainReport, train_and_register
from models.data import MapSet, from_lists
from models.options import EpochMetrics, TrainOptions
from models.registry import fetch_run_file
from models.weights import WEIGHTS_FILE, load_weights
from serving.device import Device
from serving.session import open_session
from tests.drawn_maps import PATTERNS_DRAWN, draw_map

OPTIONS = TrainOptions(
    backbone="mapnet_xs", size=32, batch=32, epochs=2, budget_s=None, precision="fp32", device="cpu"
)
ORIGIN = Origin(data="drawn.npz", command="FABPILOT_DEVICE=cpu fabpilot train wafer-map")


def drawn(lots: int, seed: int, source: str = "drawn") -> MapSet:
    rng = np.random.default_rng(seed)
    labels = [PATTERNS_DRAWN[int(n)] for n in rng.integers(len(PATTERNS_DRAWN), size=lots * 8)]
    grids = [draw_map(label, rng) for label in labels]
    return from_lists(grids, labels, [i // 8 for i in range(lots * 8)], source)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_run_keeps_all_that_is_needed_to_judge_and_repeat_it(uri: str, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    extra = drawn(10, 1, "sim:drawn")
    report = train_and_register(
        drawn(60, 0), OPTIONS, origin=ORIGIN, mlflow_uri=uri, alias=None, out=out, extra=[extra]
    )
    assert isinstance(report, TrainReport)
    assert report.aliases == ("champion",)
    low, high = report.intervals["macro_f1"]
    assert low <= report.macro_f1 <= high
    run = MlflowClient(uri, uri).get_run(report.run_id)
    assert run.data.tags["fabpilot.command"] == ORIGIN.command
    assert run.data.params["data_argument"] == "drawn.npz"
    assert run.data.params["extra"] == "sim:drawn"
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {
        "training",
        "validation",
        "holdout",
    }
    weights = load_weights(fetch_run_file(uri, report.model, WEIGHTS_FILE, tmp_path))
    assert weights.labels == PATTERNS_DRAWN
    page = fetch_run_file(uri, report.model, "report.md", tmp_path).read_text()
    assert "knows no citation" in page or "Synthetic wafer maps" in page
    card = open_session(out, Device.CPU).card
    assert card.reference is not None
    assert card.reference.class_shares.numpy().sum() == pytest.approx(1.0, abs=1e-3)


def test_maps_to_learn_from_are_never_those_it_is_judged_on(uri: str) -> None:
    maps = drawn(60, 0)
    alone = train_and_register(maps, OPTIONS, origin=ORIGIN, mlflow_uri=uri, alias=None)
    same = train_and_register(
        maps, OPTIONS, origin=ORIGIN, mlflow_uri=uri, alias=None, extra=[maps]
    )
    assert alone is not None
    assert same is not None
    held_out = alone.n + alone.validation_maps
    assert same.n == alone.n
    assert same.train_maps == alone.train_maps + len(maps) - held_out


def test_a_registry_that_is_away_does_not_cost_the_training(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, epochs = drawn(60, 0), list[EpochMetrics]()

    def again() -> TrainReport | None:
        return train_and_register(
            maps,
            OPTIONS,
            origin=ORIGIN,
            mlflow_uri=uri,
            alias=None,
            checkpoints=tmp_path / "training",
            on_epoch=epochs.append,
        )

    def away(*_: object, **__: object) -> None:
        raise RegistryError("the registry is away")

    with monkeypatch.context() as patch:
        patch.setattr(training, "log_and_register", away)
        with pytest.raises(RegistryError):
            again()
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    report = again()
    assert len(epochs) == 2
    assert report is not None
    assert report.resumed_at == 2
    assert list((tmp_path / "training").iterdir()) == []
