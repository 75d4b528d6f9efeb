"""A challenger in shadow: compared with the champion wafer by wafer, and heard by nobody."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from contracts.arrays import Array
from contracts.codec import encode
from contracts.events import WaferMap
from contracts.model_file import Reference
from contracts.topics import STREAM_SPECS, topic_name
from contracts.wafer_map import PATTERNS
from fabpilot.shadow import Shadow, coming_maps, recorded_maps
from serving.device import Device
from serving.repository import Loaded, ModelRef
from serving.session import Session, open_session
from streaming.embedded import EmbeddedLog
from streaming.log import Log
from tests.factories import wafer_map
from tests.model_files import write_model


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics(
        {topic_name("kr1", stream): spec.partitions for stream, spec in STREAM_SPECS.items()}
    )
    yield log
    log.close()


def loaded(folder: Path, version: str, seed: int, **card: object) -> Loaded[Session]:
    path = write_model(folder / f"{version}.onnx", seed=seed, **card)
    return Loaded(ModelRef("wafer-map", version, None), open_session(path, Device.CPU, threads=1))


def wafers(count: int) -> list[WaferMap]:
    return [
        msgspec.structs.replace(
            wafer_map(number), time_ms=1000 + number, lot_id=f"L{number % 7}", event_id=f"m{number}"
        )
        for number in range(count)
    ]


def test_a_model_agrees_with_itself(tmp_path: Path) -> None:
    report = Shadow(loaded(tmp_path, "1", 0), loaded(tmp_path, "2", 0)).run(wafers(20))
    assert (report.wafers, report.agreement, report.differences) == (20, 1.0, ())
    assert report.champion.version == "1"
    assert report.challenger.latency_p99_ms >= report.challenger.latency_ms > 0
    assert report.champion.novel is None
    assert report.champion.embedding_drift is None


def test_where_two_models_differ_is_told(tmp_path: Path) -> None:
    seen: list[int] = []
    events = [*wafers(40), wafer_map(99, grid=np.ones((1, 1), np.uint8))]
    shadow = Shadow(loaded(tmp_path, "1", 0), loaded(tmp_path, "2", 3))
    report = shadow.run(events, seen.append)
    assert seen == list(range(1, 41))
    assert report.wafers == 40
    assert report.agreement is not None
    apart = sum(one.wafers for one in report.differences)
    assert 0 < apart <= round(40 * (1 - report.agreement))
    assert len(report.differences) <= 10
    assert all(one.champion != one.challenger for one in report.differences)


def test_wafers_are_compared_with_the_training_data_of_the_card(tmp_path: Path) -> None:
    reference = Reference(
        embedding_mean=Array.of(np.full(64, 5.0, np.float32)),
        embedding_scale=Array.of(np.full(64, 0.5, np.float32)),
        class_shares=Array.of(np.full(len(PATTERNS), 1 / len(PATTERNS), np.float32)),
    )
    one = loaded(tmp_path, "1", 0, reference=reference)
    report = Shadow(one, loaded(tmp_path, "2", 0)).run(wafers(20))
    assert report.champion.embedding_drift is not None
    assert report.champion.embedding_drift > 0.8
    assert report.champion.share_drift is not None
    assert 0 <= report.champion.share_drift <= 1
    assert report.challenger.embedding_drift is None


def test_without_wafers_there_is_nothing_to_agree_on(tmp_path: Path) -> None:
    report = Shadow(loaded(tmp_path, "1", 0), loaded(tmp_path, "2", 0)).run([])
    assert (report.wafers, report.agreement) == (0, None)


def test_the_latest_maps_of_the_log_whatever_their_partition(log: Log) -> None:
    events = wafers(200)
    log.append([encode(event) for event in events])
    found = recorded_maps(log, ["kr1", "nowhere"], 30)
    assert [one.event_id for one in found] == [one.event_id for one in events[-30:]]
    assert recorded_maps(log, ["kr1"], 0) == []
    assert len(recorded_maps(log, ["kr1"], 1000)) == 200


def test_coming_maps_leave_out_what_was_there_before(log: Log) -> None:
    log.append([encode(event) for event in wafers(5)])
    stop = threading.Event()
    later = [msgspec.structs.replace(one, event_id=f"later{one.event_id}") for one in wafers(9)]
    # A reader that begins at the end begins where the end is when it is first asked.
    arriving = iter(coming_maps(log, ["kr1"], 9, stop))
    writer = threading.Timer(0.1, lambda: log.append([encode(event) for event in later]))
    writer.start()
    found = [next(arriving) for _ in range(9)]
    writer.join()
    assert sorted(one.event_id for one in found) == sorted(one.event_id for one in later)
    assert list(arriving) == []
    stop.set()
    assert list(coming_maps(log, ["kr1"], 9, stop)) == []
