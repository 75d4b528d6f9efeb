"""The fab on the log: in pieces it leaves the log of one that ran whole, and it obeys."""

import threading
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from contracts.clock import ManualClock
from contracts.codec import decode, encode
from contracts.errors import ConfigError
from contracts.events import Action, EquipmentState, Event, ProcessEvent, WaferMap
from contracts.topics import Stream, topic_name
from fab_sim import load_scenario
from fabpilot.fab_runner import FabRunner
from fabpilot.settings import Settings
from fabpilot.wiring import open_site_log
from streaming.log import Log
from tests.factories import NOON_MS, sample_events

E = TypeVar("E", bound=Event)
SCENARIO = load_scenario("demo")


def runner(log: Log, folder: Path, **changes: object) -> FabRunner:
    options = {"site": "kr1", "seed": 5, "folder": folder, "clock": ManualClock(NOON_MS)}
    return FabRunner(SCENARIO, log, **{**options, **changes})  # type: ignore[arg-type]


def contents(log: Log, stream: Stream) -> list[bytes]:
    topic = topic_name("kr1", stream)
    reader = log.reader([topic], "beginning")
    left, values = sum(log.ends([topic]).values()), []
    while left:
        records = reader.poll(500, 5.0)
        values += [(r.partition, r.offset, r.value) for r in records]
        left -= len(records)
    reader.close()
    return [value for _, _, value in sorted(values)]


def events(log: Log, stream: Stream, kind: type[E]) -> list[E]:
    found: list[E] = []
    topic = topic_name("kr1", stream)
    reader = log.reader([topic], "beginning")
    left = sum(log.ends([topic]).values())
    while left:
        records = reader.poll(500, 5.0)
        left -= len(records)
        for record in records:
            event = decode(record.headers, record.value)
            if isinstance(event, kind):
                found.append(event)
    reader.close()
    return found


def inhibit(module: str) -> Action:
    equipment_id, module_id = module.split("/")
    sample = sample_events()["fabpilot.action.v1"]
    assert isinstance(sample, Action)
    return msgspec.structs.replace(
        sample,
        event_id=Action.event_id_for("x1", "approved"),
        kind="inhibit_module",
        status="approved",
        equipment_id=equipment_id,
        module_id=module_id,
        recipe_id="",
        parameter="",
        value=0.0,
    )


def test_a_fab_run_in_pieces_writes_what_one_run_writes(tmp_path: Path) -> None:
    whole = open_site_log(Settings(log=f"embedded:{tmp_path / 'whole.db'}"), "kr1")
    runner(whole, tmp_path / "whole").run(threading.Event(), wafers=75)
    pieces = open_site_log(Settings(log=f"embedded:{tmp_path / 'pieces.db'}"), "kr1")
    for wafers in (1, 30, 75):
        runner(pieces, tmp_path / "pieces").run(threading.Event(), wafers=wafers)
    for stream in (Stream.PROCESS, Stream.EQUIPMENT, Stream.TRACES, Stream.WAFER_MAPS):
        assert contents(whole, stream) == contents(pieces, stream)
    assert len(contents(whole, Stream.WAFER_MAPS)) >= 75
    whole.close()
    pieces.close()


def test_an_approved_action_is_obeyed_once_over_restarts(tmp_path: Path) -> None:
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    runner(log, tmp_path).run(threading.Event(), wafers=25)
    log.append([encode(inhibit("ETCH-01/A"))])
    runner(log, tmp_path).run(threading.Event(), wafers=50)
    runner(log, tmp_path).run(threading.Event(), wafers=100)
    answers = [a for a in events(log, Stream.ACTIONS, Action) if a.status == "applied"]
    assert len(answers) == 1
    states = events(log, Stream.EQUIPMENT, EquipmentState)
    assert any(s.inhibited and s.key == "ETCH-01/A" for s in states)
    after = [
        event
        for event in events(log, Stream.PROCESS, ProcessEvent)
        if event.key == "ETCH-01/A"
        and event.phase == "started"
        and event.time_ms > answers[0].time_ms
    ]
    assert after == []
    assert len(events(log, Stream.WAFER_MAPS, WaferMap)) >= 100
    log.close()


def test_another_fab_does_not_continue_this_ones_log(tmp_path: Path) -> None:
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    runner(log, tmp_path).run(threading.Event(), wafers=5)
    with pytest.raises(ConfigError, match="another scenario or seed"):
        runner(log, tmp_path, seed=6).run(threading.Event(), wafers=10)
    (tmp_path / "fab.kr1.json").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        runner(log, tmp_path).run(threading.Event(), wafers=10)
    log.close()


def test_a_set_stop_ends_the_run_with_everything_published(tmp_path: Path) -> None:
    log = open_site_log(Settings(log=f"embedded:{tmp_path / 'log.db'}"), "kr1")
    stop = threading.Event()
    fab = runner(log, tmp_path)
    report = fab.run(stop, speed=1e9, on_progress=lambda done: stop.set() if done else None)
    assert log.position("fab.kr1") == report.tick
    assert report.wafers == len(contents(log, Stream.WAFER_MAPS))
    log.close()
