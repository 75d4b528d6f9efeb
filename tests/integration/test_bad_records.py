"""Whatever lies on the log, the loops go on, and nothing is lost: it is judged or a dead letter."""

import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest

from contracts.arrays import Array
from contracts.codec import encode
from contracts.events import Event, Trace, WaferMap
from contracts.records import Message
from fabpilot.settings import Settings
from fabpilot.wiring import open_site_log
from tests.command_line import Home
from tests.factories import sample_events, wafer_grid, wafer_map
from tests.model_files import write_model


def with_body(event: Event, **changes: object) -> Message:
    """The event's message with fields of its body replaced by anything at all."""
    message = encode(event)
    body = {**msgspec.msgpack.decode(message.value), **changes}
    return msgspec.structs.replace(message, value=msgspec.msgpack.encode(body))


def bad_maps() -> dict[str, Message]:
    """Messages on the wafer-map topic that are no usable wafer map, by what is wrong with them."""
    good = encode(wafer_map(1))
    grid = {"dtype": "u1", "shape": (20, 20), "data": bytes(400)}
    return {
        "truncated": msgspec.structs.replace(good, value=good.value[:50]),
        "empty": msgspec.structs.replace(good, value=b""),
        "noise": msgspec.structs.replace(good, value=b"\xc1\xff\x00" * 100),
        "unknown type": msgspec.structs.replace(good, headers=(("ce_type", b"x.y.v9"),)),
        "no type": msgspec.structs.replace(good, headers=()),
        "wrong dtype": with_body(wafer_map(1), grid={**grid, "dtype": "<i8"}),
        "float map": with_body(
            wafer_map(1), grid={"dtype": "<f4", "shape": (10, 10), "data": bytes(400)}
        ),
        "wrong shape": with_body(wafer_map(1), grid={**grid, "shape": (30, 30)}),
        "three dimensions": with_body(wafer_map(1), grid={**grid, "shape": (4, 10, 10)}),
        "negative shape": with_body(wafer_map(1), grid={**grid, "shape": (-20, -20)}),
        "one by one": encode(wafer_map(1, grid=np.ones((1, 1), np.uint8))),
        "too many dies": encode(wafer_map(1, grid=np.ones((1200, 1200), np.uint8))),
        "other codes": encode(wafer_map(1, grid=np.full((20, 20), 9, np.uint8))),
        "number for a text": with_body(wafer_map(1), lot_id=7),
        "missing field": msgspec.structs.replace(good, value=msgspec.msgpack.encode({"site": "k"})),
    }


def test_the_processor_sends_every_bad_map_to_dead_letters(tmp_path: Path) -> None:
    home = Home(tmp_path, FABPILOT_MODEL=str(write_model(tmp_path / "m.onnx")))
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    bad = bad_maps()
    messages = [
        encode(wafer_map(10)),
        *bad.values(),
        encode(wafer_map(11, grid=wafer_grid(30, 31))),
    ]
    log.append(messages)
    log.close()
    report = home.json("process", "--until-idle")
    assert report["consumed"] == len(messages)
    assert report["produced"] == 2
    letters = home.tail("dead_letters")
    assert len(letters) == report["dead_letters"] == len(bad)
    assert all(letter["data"]["reason"] for letter in letters)
    kept = sorted(letter["data"]["value"] for letter in letters)
    encoded = sorted(msgspec.to_builtins(message.value) for message in bad.values())
    assert kept == encoded
    assert home.json("process", "--until-idle")["consumed"] == 0


def trace(index: int, values: np.ndarray, **changes: object) -> Trace:
    sample = sample_events()["fabpilot.trace.v1"]
    assert isinstance(sample, Trace)
    return msgspec.structs.replace(
        sample,
        event_id=f"trace-{index}",
        substrate_id=f"L{index}.01",
        time_ms=sample.time_ms + index,
        values=Array.of(values.astype(np.float32)),
        **changes,
    )


def test_the_controller_goes_on_over_bad_traces(tmp_path: Path) -> None:
    home = Home(tmp_path)
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    normal = np.ones((10, 2))
    usable = [
        trace(0, normal),
        trace(1, np.full((10, 2), np.nan)),
        trace(2, np.full((10, 2), np.inf)),
        trace(3, np.zeros((0, 2))),
        trace(4, np.zeros((1, 2))),
        trace(5, np.full((10, 2), 3e38)),
    ]
    refused = [
        trace(6, np.ones((10, 5))),
        trace(7, np.ones(10)),
        msgspec.structs.replace(trace(8, normal), values=Array("<f4", (10, 2), b"short")),
        msgspec.structs.replace(trace(9, normal), values=Array("u1", (10, 2), bytes(20))),
    ]
    messages = [encode(event) for event in (*usable, *refused, trace(10, normal))]
    cut = messages[0]
    messages.append(msgspec.structs.replace(cut, value=cut.value[:-9]))
    log.append(messages)
    log.close()
    report = home.json("control", "--until-idle")
    assert report["consumed"] == len(messages)
    assert report["dead_letters"] == len(refused) + 1
    errors = {letter["data"]["error"] for letter in home.tail("dead_letters")}
    assert errors == {"TraceError", "CodecError"}
    assert home.tail("alerts") == []


@pytest.mark.parametrize("damage", ["garbage", "other schema", "a folder"])
def test_a_log_that_is_no_log(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "log.db"
    if damage == "garbage":
        path.write_bytes(b"this is no database" * 1000)
    elif damage == "a folder":
        path.mkdir()
    else:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE other (x)")
        connection.commit()
        connection.close()
    home = Home(tmp_path, FABPILOT_LOG=f"embedded:{path}")
    done = home.run("sim", "run", "--scenario", "demo", "--wafers", "1", code=1)
    assert "log.db" in done.stderr


def test_the_map_event_that_travels_is_the_one_that_was_sent(tmp_path: Path) -> None:
    home = Home(tmp_path)
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    sent = wafer_map(3)
    log.append([encode(sent)])
    log.close()
    (line,) = home.tail("wafer_maps")
    assert msgspec.convert(line["data"], WaferMap) == sent
    assert (line["type"], line["event_id"], line["key"]) == (
        WaferMap.ce_type,
        sent.event_id,
        sent.lot_id,
    )
