import hashlib
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient, artifacts

from contracts.errors import ConflictError, RegistryError
from contracts.model_file import TAG_ACCEPTED, TAG_FILE, TAG_SHA256
from models.export import build_card, export_model
from models.networks import WaferMapNet
from models.registry import (
    RunRecord,
    find_version,
    list_versions,
    log_and_register,
    promote,
    rollback,
    set_alias,
    set_tags,
)

NAME = "wafer-map"
RECORD = RunRecord(
    params={"seed": 0, "batch": 128},
    epochs=[(10, {"loss": 0.5}), (20, {"loss": 0.3})],
    metrics={"macro_f1": 0.91},
    datasets={"training": ("a.npz", "ab" * 32, 100), "holdout": ("a.npz", "cd" * 32, 20)},
    labels=("None", "Center"),
    confusion=((9, 1), (0, 10)),
    tags={"fabpilot.command": "fabpilot train wafer-map"},
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = WaferMapNet("mapnet_xs", 2, none_index=0).eval()
    card = build_card(
        net,
        labels=("None", "Center"),
        thresholds=(0.5, 0.5),
        size=32,
        examples=np.zeros((2, 32, 32), dtype=np.uint8),
        data_fingerprint="",
        metrics={},
        code_version="0",
    )
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    export_model(net, card, path)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'deep' / 'mlflow.db'}"


@pytest.fixture
def three(store: str, model_file: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A model with three versions; the store is shared, the name is this test's own."""
    name = f"{NAME}-{request.node.name}"
    for _ in range(3):
        log_and_register(store, "tests", name, model_file, RECORD)
    return store, name


def _aliases(store: str, name: str) -> dict[str, int]:
    return {alias: v.version for v in list_versions(store, name) for alias in v.aliases}


def test_a_server_finds_the_very_file_by_alias(
    three: tuple[str, str], model_file: Path, tmp_path: Path
) -> None:
    store, name = three
    client = MlflowClient(tracking_uri=store, registry_uri=store)
    version = client.get_model_version_by_alias(name, "champion")
    address = f"{version.source}/{version.tags[TAG_FILE]}"
    fetched = Path(artifacts.download_artifacts(address, dst_path=str(tmp_path)))
    assert fetched.read_bytes() == model_file.read_bytes()
    assert version.tags[TAG_SHA256] == hashlib.sha256(model_file.read_bytes()).hexdigest()


def test_a_run_shows_params_curves_data_and_confusion(three: tuple[str, str]) -> None:
    store, name = three
    client = MlflowClient(tracking_uri=store, registry_uri=store)
    run = client.get_run(list_versions(store, name)[0].run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "0", "batch": "128"}
    assert run.data.metrics == {"loss": 0.3, "macro_f1": 0.91}
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [
        (10, 0.5),
        (20, 0.3),
    ]
    assert run.data.tags["fabpilot.command"] == "fabpilot train wafer-map"
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {"training", "holdout"}
    files = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert files == {"model", "confusion_matrix.png"}


def test_mlflow_itself_can_load_it(three: tuple[str, str], tmp_path: Path) -> None:
    import mlflow.onnx

    store, name = three
    source = list_versions(store, name)[0].source
    loaded = mlflow.onnx.load_model(source, dst_path=str(tmp_path))
    assert next(output.name for output in loaded.graph.output) == "probabilities"


def test_the_first_is_champion_and_later_ones_challenge(three: tuple[str, str]) -> None:
    store, name = three
    assert _aliases(store, name) == {"champion": 1, "challenger": 3}
    newest = list_versions(store, name)[0]
    assert (newest.version, newest.metrics["macro_f1"]) == (3, 0.91)


def test_promotion_and_rollback(three: tuple[str, str]) -> None:
    store, name = three
    assert promote(store, name, challenger=3, champion=1).version == 3
    assert _aliases(store, name) == {"champion": 3, "previous": 1}
    back = rollback(store, name, why="rolled back by kim: misses scratches")
    assert back.version == 1
    assert back.tags[TAG_ACCEPTED] == "rolled back by kim: misses scratches"
    assert _aliases(store, name) == {"champion": 1, "previous": 3}
    assert rollback(store, name, why="again").version == 3


def test_only_what_was_judged_is_promoted(three: tuple[str, str]) -> None:
    """Somebody moved an alias while the challenger was judged."""
    store, name = three
    for challenger, champion in ((2, 1), (3, 2), (3, None)):
        with pytest.raises(ConflictError, match="promote again"):
            promote(store, name, challenger=challenger, champion=champion)
    assert _aliases(store, name) == {"champion": 1, "challenger": 3}


def test_a_version_is_found_by_alias_with_what_its_run_says(three: tuple[str, str]) -> None:
    store, name = three
    set_tags(store, name, 3, {"fabpilot.promotion": "refused"})
    found = find_version(store, name, "challenger")
    assert found is not None
    assert (found.version, found.params["batch"]) == (3, "128")
    assert found.holdout == ("cd" * 32)[:36]
    assert found.tags["fabpilot.promotion"] == "refused"
    assert find_version(store, name, "previous") is None
    assert find_version(store, "nobody", "champion") is None


def test_an_alias_can_be_set_and_must_name_a_version(three: tuple[str, str]) -> None:
    store, name = three
    assert set_alias(store, name, "champion", 2).aliases == ("champion",)
    with pytest.raises(RegistryError, match="not found"):
        set_alias(store, name, "champion", 99)
    assert _aliases(store, name)["champion"] == 2


def test_no_model_yet(store: str) -> None:
    assert list_versions(store, "nobody") == []
    with pytest.raises(RegistryError, match="not found"):
        promote(store, "nobody", challenger=1, champion=None)
    with pytest.raises(RegistryError, match="not found"):
        rollback(store, "nobody", why="")


def test_nothing_to_roll_back_to(store: str, model_file: Path) -> None:
    log_and_register(store, "tests", "fresh", model_file, RECORD)
    with pytest.raises(RegistryError, match="no previous"):
        rollback(store, "fresh", why="")


def test_a_missing_file_is_not_registered(store: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="No such file"):
        log_and_register(store, "failed", "absent", tmp_path / "no.onnx", RECORD)
    assert list_versions(store, "absent") == []
    client = MlflowClient(tracking_uri=store, registry_uri=store)
    experiment = client.get_experiment_by_name("failed")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9 refused or did not answer"):
        list_versions("http://127.0.0.1:9", NAME)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns"])
def test_plain_folders_are_refused(uri: str) -> None:
    with pytest.raises(RegistryError, match="sqlite:///PATH"):
        list_versions(uri, NAME)
