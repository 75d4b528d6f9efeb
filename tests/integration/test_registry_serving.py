"""What one package registers the other serves: a real MLflow store between models and serving."""

from pathlib import Path

import pytest

from console.tables import create_tables
from contracts.errors import ModelFileError, RegistryError
from contracts.model_file import TAG_FILE, TAG_SHA256
from contracts.model_uri import parse_model_uri
from fabpilot.health import registered_models
from fabpilot.settings import Settings
from models.registry import (
    RunRecord,
    list_versions,
    log_and_register,
    promote,
    rollback,
)
from serving.device import Device
from serving.mlflow_source import MlflowSource
from serving.repository import ModelRepository
from serving.session import Session, open_session
from streaming.database import open_engine
from tests.model_files import write_model

CHAMPION = "models:/wafer-map@champion"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A store with a champion (version 1) and a challenger (version 2)."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    for seed in (0, 1):
        path = write_model(folder / "m.onnx", seed=seed)
        record = RunRecord(params={"seed": seed}, metrics={"macro_f1": 0.5, "f1_None": 0.9})
        log_and_register(uri, "test", "wafer-map", path, record)
    return uri, folder


def repository(store: tuple[str, Path], uri: str = CHAMPION) -> ModelRepository[Session]:
    return ModelRepository(
        MlflowSource(store[0], uri, store[1] / "cache"), Device.CPU, open_session
    )


def test_the_champion_is_followed_through_promotion_and_rollback(store: tuple[str, Path]) -> None:
    serving = repository(store)
    assert serving.refresh()
    assert serving.current().ref.version == "1"
    assert not serving.refresh()
    promote(store[0], "wafer-map", challenger=2, champion=1)
    assert serving.refresh()
    assert serving.current().ref.version == "2"
    assert serving.current().session.sha256 == list_versions(store[0], "wafer-map")[0].sha256
    rollback(store[0], "wafer-map", why="test")
    assert serving.refresh()
    assert serving.current().ref.version == "1"


def test_a_version_can_be_named(store: tuple[str, Path]) -> None:
    serving = repository(store, "models:/wafer-map/2")
    serving.refresh()
    assert serving.current().ref.version == "2"


def test_a_changed_artifact_never_serves(store: tuple[str, Path], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    path = write_model(tmp_path / "m.onnx", seed=3)
    log_and_register(uri, "test", "wafer-map", path, RunRecord(params={}))
    (stored,) = (tmp_path / "artifacts").rglob("*.onnx")
    write_model(stored, seed=4)
    serving = ModelRepository(
        MlflowSource(uri, CHAMPION, tmp_path / "cache"), Device.CPU, open_session
    )
    with pytest.raises(ModelFileError, match="changed or cut off"):
        serving.refresh()


def test_what_is_not_there(store: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="fabpilot train"):
        repository(store, "models:/nothing@champion").refresh()
    nowhere = MlflowSource("http://127.0.0.1:9", CHAMPION, tmp_path)
    with pytest.raises(RegistryError):
        nowhere.resolve()


@pytest.mark.parametrize("uri", ["wafer-map", "models:/", "models:/a@b@c", "models:/../x@y", ""])
def test_what_is_no_model_uri(uri: str) -> None:
    with pytest.raises(RegistryError):
        parse_model_uri(uri)


@pytest.mark.parametrize("file", ["", "../../etc/passwd", "/etc/passwd", "a/../../b", "s3://x/y"])
def test_a_registry_cannot_lead_out_of_its_folder(
    store: tuple[str, Path], tmp_path: Path, file: str
) -> None:
    source = MlflowSource(store[0], CHAMPION, tmp_path)
    ref = source.resolve()
    client = source._connected()
    good = client.get_model_version("wafer-map", ref.version).tags[TAG_FILE]
    client.set_model_version_tag("wafer-map", ref.version, TAG_FILE, file)
    try:
        with pytest.raises(RegistryError, match="plain relative path"):
            source.fetch(ref)
    finally:
        client.set_model_version_tag("wafer-map", ref.version, TAG_FILE, good)


def test_a_version_nobody_of_ours_registered(store: tuple[str, Path], tmp_path: Path) -> None:
    source = MlflowSource(store[0], CHAMPION, tmp_path)
    client = source._connected()
    version = source.resolve().version
    good = client.get_model_version("wafer-map", version).tags[TAG_SHA256]
    client.set_model_version_tag("wafer-map", version, TAG_SHA256, "../../x")
    try:
        with pytest.raises(RegistryError, match="not registered by fabpilot"):
            source.resolve()
    finally:
        client.set_model_version_tag("wafer-map", version, TAG_SHA256, good)


def test_the_console_is_told_of_all_versions(store: tuple[str, Path], tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'db.sqlite'}")
    create_tables(engine)
    settings = Settings(mlflow=store[0], home=tmp_path)
    infos = registered_models(settings, engine)
    engine.dispose()
    assert infos[0].alias.split(", ")[0] == "champion"
    assert {info.version for info in infos} == {"1", "2"}
    assert infos[0].metrics == {"macro_f1": 0.5}
    assert list(infos[0].labels) == ["None"]
    assert infos[0].provider == ""  # nothing was predicted yet
