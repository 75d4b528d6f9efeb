"""A model is swapped in the middle of a stream, or cannot be: no prediction is lost or doubled."""

import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import onnx
import pytest
from mlflow import MlflowClient

from contracts.codec import encode
from contracts.errors import DataError, RegistryError
from contracts.events import Event, Prediction
from contracts.topics import Stream, topic_name
from fabpilot.settings import Settings
from fabpilot.wiring import open_repository, open_site_log
from models.registry import RunRecord, log_and_register, promote, rollback
from serving.device import Device
from serving.mlflow_source import MlflowSource
from serving.repository import ModelRepository
from serving.scorer import Scorer
from serving.session import Session, open_session
from streaming.deadline import Deadline
from streaming.processor import Processor
from tests.command_line import Home, npz
from tests.factories import wafer_grid, wafer_map
from tests.model_files import write_model
from tests.stream_helpers import decoded

CHAMPION = "models:/wafer-map@champion"


def register(settings: Settings, path: Path, alias: str | None = None) -> int:
    record = RunRecord(params={})
    uri = settings.mlflow_uri
    return log_and_register(uri, "test", "wafer-map", path, record, alias=alias).version


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry with champion and challenger, and a log."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    for seed in (0, 1):
        register(settings, write_model(settings.home / "m.onnx", seed=seed))
    return settings


def repository(settings: Settings) -> ModelRepository[Session]:
    source = MlflowSource(settings.mlflow_uri, CHAMPION, settings.home / "cache")
    return ModelRepository(source, Device.CPU, open_session, threads=1)


class Answering(HTTPServer):
    """A registry that says the same to every request."""

    status, body = 500, b"out of order"


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    class Handler(BaseHTTPRequestHandler):
        server: Answering

        def do_GET(self) -> None:
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(len(self.server.body)))
            self.end_headers()
            self.wfile.write(self.server.body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with Answering(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_swaps_in_a_stream_lose_nothing_and_double_nothing(settings: Settings) -> None:
    maps, batch = 1_200, 50
    log = open_site_log(settings, "kr1")
    log.append([encode(wafer_map(number)) for number in range(maps)])
    serving = repository(settings)
    serving.refresh()
    scorer = Scorer(serving)
    digests = {serving.current().ref.version: serving.current().session.sha256}
    turns, lock = 0, threading.Lock()

    def handle(events: Sequence[Event]) -> list[list[Event] | DataError]:
        """Scores; the champion moves at the sixth batch and back at the twelfth."""
        nonlocal turns
        with lock:
            turns += 1
            if turns == 6:
                promote(settings.mlflow_uri, "wafer-map", challenger=2, champion=1)
            elif turns == 12:
                rollback(settings.mlflow_uri, "wafer-map", why="test")
            if turns in (6, 12):
                assert serving.refresh()
                digests[serving.current().ref.version] = serving.current().session.sha256
        return scorer(events)

    topics = [topic_name("kr1", Stream.WAFER_MAPS)]
    done = Processor(
        log, group="g", topics=lambda: topics, handle=handle, batch=batch, workers=2
    ).run(threading.Event(), until_idle=True)
    said = [
        event
        for event in decoded(log, topic_name("kr1", Stream.PREDICTIONS))
        if isinstance(event, Prediction)
    ]
    log.close()
    assert (done.consumed, done.produced, done.dead_letters) == (maps, maps, 0)
    assert sorted(p.input_id for p in said) == sorted(f"map-{number}" for number in range(maps))
    assert {p.model_version for p in said} == {"1", "2"} == set(digests)
    assert digests["1"] != digests["2"]
    assert all(p.model_sha256 == digests[p.model_version] for p in said)


def external(path: Path) -> Path:
    model = onnx.load(write_model(path))
    onnx.save(model, path, save_as_external_data=True, location="side.bin", size_threshold=0)
    return path


def truncated(path: Path) -> Path:
    path.write_bytes(write_model(path).read_bytes()[:2000])
    return path


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("tampered", "changed or cut off"),
        ("truncated", "not an ONNX file, or was cut off"),
        ("external", "keeps its weights in another file"),
        ("labels", "cannot name Donut"),
        ("foreign", "not registered by fabpilot"),
    ],
)
def test_what_may_not_serve_is_refused_and_the_old_model_serves_on(
    settings: Settings, tmp_path: Path, trouble: str, said: str
) -> None:
    serving = repository(settings)
    serving.refresh()
    before = serving.current()
    client = MlflowClient(settings.mlflow_uri, settings.mlflow_uri)
    good = client.get_model_version_by_alias("wafer-map", "champion").version
    path = tmp_path / "m.onnx"
    if trouble == "foreign":
        source = (tmp_path / "elsewhere").as_uri()
        version = int(client.create_model_version("wafer-map", source).version)
    else:
        written = {
            "tampered": lambda: write_model(path, seed=7),
            "truncated": lambda: truncated(path),
            "external": lambda: external(path),
            "labels": lambda: write_model(path, labels=("None", "Center")),
        }[trouble]()
        version = register(settings, written, "challenger")
    if trouble == "tampered":
        stored = client.get_model_version("wafer-map", str(version)).source
        write_model(Path(stored.removeprefix("file://")) / "model.onnx", seed=8)
    client.set_registered_model_alias("wafer-map", "champion", str(version))
    try:
        assert not serving.refresh()
        assert said in serving.status.error
        assert serving.current() is before
    finally:
        client.set_registered_model_alias("wafer-map", "champion", good)
    assert not serving.refresh()
    assert serving.status.error == ""


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"out of order"), (404, b"{}"), (200, b"<html>a proxy's page</html>"), (200, b"{}")],
)
def test_a_registry_that_answers_nonsense(
    settings: Settings, tmp_path: Path, answering: Answering, status: int, body: bytes
) -> None:
    answering.status, answering.body = status, body
    away = settings.model_copy(update={"mlflow": f"http://127.0.0.1:{answering.server_port}"})
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1|wafer-map"):
        open_repository(away, CHAMPION, go_on=True)
    first = open_repository(settings, CHAMPION, go_on=True)
    try:
        again = open_repository(away, CHAMPION, go_on=True)
        assert again.current().ref == first.current().ref
        assert again.status.error
        with pytest.raises(RegistryError):
            open_repository(away, CHAMPION)
    finally:
        for kept in (settings.home / "models").glob("*.json"):
            kept.unlink()


def test_an_alias_set_from_outside_is_followed_within_ten_seconds(settings: Settings) -> None:
    """As the web page of MLflow sets it."""
    assert Settings().model_refresh_s <= 5.0
    serving = repository(settings)
    serving.refresh()
    client = MlflowClient(settings.mlflow_uri, settings.mlflow_uri)
    before = serving.current().ref.version
    other = {"1": "2", "2": "1"}[before]
    serving.follow(Settings().model_refresh_s)
    try:
        client.set_registered_model_alias("wafer-map", "champion", other)
        deadline = Deadline(10.0)
        while serving.current().ref.version != other:
            assert not deadline.passed
            threading.Event().wait(0.05)
    finally:
        serving.close()
        client.set_registered_model_alias("wafer-map", "champion", before)


def test_a_processor_starts_with_the_registry_away(
    tmp_path: Path, settings: Settings, answering: Answering
) -> None:
    home = Home(tmp_path, FABPILOT_MLFLOW=settings.mlflow_uri)
    maps = npz(tmp_path / "maps.npz", [wafer_grid(20, 22, 0.1, i) for i in range(60)])
    home.json("replay", str(maps), "--limit", "30")
    first = home.json("process", "--until-idle")
    home.json("replay", str(maps))
    away = Home(tmp_path, FABPILOT_MLFLOW=f"http://127.0.0.1:{answering.server_port}")
    done = away.run("process", "--until-idle", "--json")
    assert "the last good model serves" in done.stderr
    assert "500" in done.stderr
    predictions = [record["data"] for record in home.tail("predictions")]
    assert len({p["input_id"] for p in predictions}) == len(predictions) == 60
    assert {p["model_sha256"] for p in predictions} == {first["model_sha256"]}
