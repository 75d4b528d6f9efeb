"""A broken or missing model never replaces a working one; a good one is swapped between batches."""

import hashlib
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from contracts.arrays import Array
from contracts.clock import ManualClock
from contracts.errors import CodecError, ModelError, RegistryError, WaferMapError
from contracts.events import Prediction
from serving.device import Device
from serving.repository import FileSource, LastGood, ModelRef, ModelRepository
from serving.scorer import Scorer
from serving.session import Session, open_session
from streaming.deadline import Deadline
from tests.factories import sample_events, wafer_map
from tests.model_files import write_model


class Registry:
    """A source whose answers a test decides."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = "1"
        self.sha256: str | None = None
        self.accepted = ""
        self.error: Exception | None = None

    def resolve(self) -> ModelRef:
        if self.error:
            raise self.error
        return ModelRef("wafer-map", self.version, self.sha256, self.accepted)

    def fetch(self, ref: ModelRef) -> Path:
        return self.path


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(write_model(tmp_path / "m.onnx"))


def repository_of(registry: Registry) -> ModelRepository[Session]:
    return ModelRepository(registry, Device.CPU, open_session, clock=ManualClock(42))


def test_nothing_serves_before_a_model_is_loaded(registry: Registry) -> None:
    with pytest.raises(ModelError):
        repository_of(registry).current()


def test_the_first_model_must_load(registry: Registry) -> None:
    repository = repository_of(registry)
    registry.path.write_bytes(b"broken")
    with pytest.raises(ModelError):
        repository.refresh()
    assert repository.status.refused == "1"


def test_a_new_version_is_swapped_in_once(registry: Registry) -> None:
    repository = repository_of(registry)
    assert repository.refresh()
    before = repository.current()
    assert not repository.refresh()
    registry.version = "2"
    write_model(registry.path, seed=1)
    assert repository.refresh()
    assert repository.current().ref.version == "2"
    assert before.ref.version == "1"  # a batch that began with it keeps it
    assert repository.status.checked_ms == 42


@pytest.mark.parametrize("trouble", ["truncated", "digest", "labels", "registry"])
def test_a_bad_version_never_replaces_a_good_one(registry: Registry, trouble: str) -> None:
    repository = repository_of(registry)
    repository.refresh()
    registry.version = "2"
    if trouble == "truncated":
        registry.path.write_bytes(registry.path.read_bytes()[:1000])
    elif trouble == "digest":
        registry.sha256 = "0" * 64
    elif trouble == "labels":
        write_model(registry.path, labels=("None", "Center"), thresholds=(0.5,) * 3)
    else:
        registry.error = RegistryError("HTTP 500")
    assert not repository.refresh()
    assert repository.current().ref.version == "1"
    assert repository.status.error
    registry.error, registry.sha256 = None, None
    write_model(registry.path, seed=2)
    assert repository.refresh()
    assert repository.status.error == ""


def test_a_version_that_names_fewer_patterns_needs_a_decision(registry: Registry) -> None:
    repository = repository_of(registry)
    repository.refresh()
    registry.version = "2"
    write_model(registry.path, labels=("None", "Center"))
    assert not repository.refresh()
    assert "cannot name Donut" in repository.status.error
    assert "models rollback" in repository.status.error
    assert repository.current().ref.version == "1"
    registry.accepted = "forced by kim: a smaller product"
    assert repository.refresh()
    assert repository.current().session.card.labels == ("None", "Center")


def test_more_patterns_and_no_none_are_welcome(registry: Registry) -> None:
    write_model(registry.path, labels=("None", "Center"))
    repository = repository_of(registry)
    repository.refresh()
    registry.version = "2"
    write_model(registry.path, labels=("Center", "Donut", "Scratch"))
    assert repository.refresh()
    # What was decided about a version later makes it no other version.
    registry.accepted = "rolled back to"
    assert not repository.refresh()


@pytest.fixture
def last_good(tmp_path: Path) -> LastGood:
    return LastGood(tmp_path / "deep" / "champion.json")


def remembering(registry: Registry, last_good: LastGood) -> ModelRepository[Session]:
    return ModelRepository(
        registry, Device.CPU, open_session, last_good=last_good, clock=ManualClock(42)
    )


def test_a_start_without_the_registry_goes_on_with_the_last_good_model(
    registry: Registry, last_good: LastGood
) -> None:
    registry.error = RegistryError("HTTP 500")
    with pytest.raises(RegistryError, match="HTTP 500"):
        remembering(registry, last_good).refresh()
    registry.error = None
    first = remembering(registry, last_good)
    first.refresh()
    registry.error = RegistryError("HTTP 500")
    again = remembering(registry, last_good)
    assert again.refresh()
    assert again.current().ref == first.current().ref
    assert again.current().session.sha256 == first.current().session.sha256
    assert again.status.error == "HTTP 500"
    registry.error = None
    assert not again.refresh()
    assert again.status.error == ""


def test_a_start_with_a_bad_version_goes_on_with_the_last_good_model(
    registry: Registry, last_good: LastGood, tmp_path: Path
) -> None:
    remembering(registry, last_good).refresh()
    registry.version, registry.path = "2", tmp_path / "bad.onnx"
    registry.path.write_bytes(b"cut off")
    again = remembering(registry, last_good)
    assert again.refresh()
    assert (again.current().ref.version, again.status.refused) == ("1", "2")
    write_model(registry.path, labels=("None", "Center"))
    fewer = remembering(registry, last_good)
    assert fewer.refresh()
    assert (fewer.current().ref.version, fewer.status.refused) == ("1", "2")


@pytest.mark.parametrize("trouble", ["gone", "changed", "record"])
def test_a_last_good_model_that_is_of_no_use(
    registry: Registry, last_good: LastGood, tmp_path: Path, trouble: str
) -> None:
    registry.sha256 = hashlib.sha256(registry.path.read_bytes()).hexdigest()
    remembering(registry, last_good).refresh()
    if trouble == "gone":
        registry.path.unlink()
    elif trouble == "changed":
        write_model(registry.path, seed=1)
    else:
        (tmp_path / "deep" / "champion.json").write_text("{}")
    registry.error = RegistryError("HTTP 500")
    with pytest.raises(RegistryError, match="HTTP 500"):
        remembering(registry, last_good).refresh()


def test_a_disk_that_cannot_be_written_stops_no_model(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    repository = remembering(registry, LastGood(tmp_path / "file" / "champion.json"))
    assert repository.refresh()


def test_following_outlives_an_answer_that_nobody_foresaw(registry: Registry) -> None:
    repository = repository_of(registry)
    repository.refresh()
    asked, resolve = threading.Event(), registry.resolve

    def strange() -> ModelRef:
        if asked.is_set():
            return resolve()
        asked.set()
        registry.version = "2"
        raise KeyError("an answer of another kind")

    registry.resolve = strange  # type: ignore[method-assign]
    repository.follow(0.01)
    try:
        deadline = Deadline(20.0)
        while repository.current().ref.version != "2":
            assert not deadline.passed
            threading.Event().wait(0.01)
    finally:
        repository.close()


def test_following_swaps_without_being_asked(registry: Registry) -> None:
    repository = repository_of(registry)
    repository.refresh()
    swapped = threading.Event()

    class Announced(Registry):
        def fetch(self, ref: ModelRef) -> Path:
            swapped.set()
            return super().fetch(ref)

    announced = Announced(registry.path)
    announced.version = "2"
    following = ModelRepository(announced, Device.CPU, open_session)
    following.follow(0.01)
    try:
        assert swapped.wait(20)
    finally:
        following.close()
        following.close()
    assert following.current().ref.version == "2"


def test_a_file_is_a_source_too(tmp_path: Path) -> None:
    source = FileSource(write_model(tmp_path / "m.onnx"))
    assert source.fetch(source.resolve()).exists()
    with pytest.raises(RegistryError, match="no model file"):
        FileSource(tmp_path / "missing.onnx").resolve()


def test_scoring_a_mixed_batch(registry: Registry) -> None:
    repository = repository_of(registry)
    repository.refresh()
    bad = wafer_map(1, grid=np.ones((1, 1), np.uint8))
    other = sample_events()["fabpilot.trace.v1"]
    results = Scorer(repository)([wafer_map(0), bad, other, wafer_map(2)])
    assert isinstance(results[1], WaferMapError)
    assert results[2] == []
    for index in (0, 2 + 1):
        outputs = results[index]
        assert isinstance(outputs, list)
        (prediction,) = outputs
        assert isinstance(prediction, Prediction)
        assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-4)
        assert prediction.labels[int(np.argmax(prediction.probabilities))] in prediction.predicted
        assert prediction.provider == "CPUExecutionProvider"
        assert (prediction.heatmap is None) == (prediction.predicted == ("None",))
    first = results[0]
    assert isinstance(first, list)
    assert first[0].event_id == Prediction.id_for("map-0", "wafer-map", "1")


def test_batches_do_not_change_what_is_said(registry: Registry) -> None:
    repository = repository_of(registry)
    repository.refresh()
    scorer = Scorer(repository)
    events = [wafer_map(index) for index in range(150)]
    together = scorer(events)
    alone = [scorer([event])[0] for event in events[::37]]
    for one, many in zip(alone, together[::37], strict=True):
        assert isinstance(one, list)
        assert isinstance(many, list)
        assert isinstance(one[0], Prediction)
        assert isinstance(many[0], Prediction)
        assert one[0].probabilities == pytest.approx(many[0].probabilities, abs=1e-5)
        assert one[0].event_id == many[0].event_id


def test_an_array_that_lies_about_its_size(registry: Registry) -> None:
    repository = repository_of(registry)
    repository.refresh()
    lying = msgspec.structs.replace(wafer_map(0), grid=Array("u1", (30, 30), b"12"))
    (result,) = Scorer(repository)([lying])
    assert isinstance(result, CodecError)
