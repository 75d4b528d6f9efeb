"""What processes show of themselves, read the way Prometheus and a health check read it."""

import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import structlog

from contracts.codec import encode
from contracts.errors import ConfigError
from contracts.events import Alert
from fabpilot.metrics import ControllerMetrics, ProcessorMetrics
from fabpilot.monitor import Monitor
from fabpilot.probe import main, probe
from fabpilot.settings import Settings
from streaming.database import open_engine
from streaming.deadline import Deadline
from streaming.embedded import EmbeddedLog
from streaming.processor import Processor
from tests.control_streams import prediction
from tests.factories import sample_events
from tests.stream_helpers import MAPS, handle, junk, publish, wafer

WHERE = '{group="g",site="kr1"}'


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def shown(port: int) -> dict[str, float]:
    lines = get(port, "/metrics")[1].splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }


def wait_for(port: int, wanted: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    deadline = Deadline(30.0)
    while not wanted(values := shown(port)):
        assert not deadline.passed, values
    return values


def test_a_processor_shows_what_it_did_and_how_far_its_group_is(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log.db")
    publish(log, [encode(wafer(number)) for number in range(98)] + [junk(98), junk(99)])
    monitor = Monitor(Settings(home=tmp_path), "processor")
    metrics = ProcessorMetrics(monitor, "g", "kr1")
    monitor.look(lambda: metrics.look(log, "g", [MAPS]))

    def lag(values: dict[str, float]) -> float:
        return sum(v for name, v in values.items() if name.startswith("fabpilot_group_lag"))

    with monitor.serve_at("127.0.0.1", 0) as port:
        wait_for(port, lambda values: lag(values) == 100)
        assert get(port, "/healthz")[0] == 503
        processor = Processor(
            log, group="g", topics=lambda: [MAPS], handle=metrics.watched(handle), batch=32
        )
        processor.run(
            threading.Event(),
            until_idle=True,
            on_settled=metrics.settled,
            on_turn=metrics.turned,
        )
        metrics.look(log, "g", [MAPS])
        values = shown(port)
        assert lag(values) == 0
        assert values[f"fabpilot_records_consumed_total{WHERE}"] == 100
        assert values[f"fabpilot_events_produced_total{WHERE}"] == 98
        assert values[f"fabpilot_dead_letters_total{WHERE}"] == 2
        assert values[f"fabpilot_record_latency_seconds_count{WHERE}"] == 100
        assert values[f"fabpilot_record_latency_seconds_sum{WHERE}"] >= 0
        assert values[f"fabpilot_queue_records{WHERE}"] == 0
        assert values['fabpilot_scoring_batch_records_sum{site="kr1"}'] == 98
        assert get(port, "/healthz") == (200, '{"ok":true,"reason":""}\n')
        assert get(port, "/else")[0] == 404
        with (
            pytest.raises(ConfigError, match="FABPILOT_METRICS_PORT"),
            monitor.serve_at("127.0.0.1", port),
        ):
            pass
    log.close()


def test_what_the_model_saw_is_counted_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(Settings(), "processor")
    metrics = ProcessorMetrics(monitor, "g", "kr1")
    answers = [
        [prediction("w1", (), 0, "l")],
        [prediction("w2", ("Scratch", "Loc"), 0, "l")],
    ]
    metrics.watched(lambda events: answers)([])
    seen = monitor.registry.get_sample_value
    assert seen("fabpilot_predictions_total", {"site": "kr1", "pattern": "None"}) == 1
    assert seen("fabpilot_predictions_total", {"site": "kr1", "pattern": "Scratch"}) == 1
    assert seen("fabpilot_predictions_total", {"site": "kr1", "pattern": "Loc"}) == 1


def test_a_loop_that_stands_still_is_not_healthy() -> None:
    clock = Clock()
    monitor = Monitor(Settings(), "processor", clock=clock)
    assert monitor.health().reason == "not at work yet"
    monitor.beat()
    clock.now = 59.0
    assert monitor.health().ok
    clock.now = 61.0
    assert "not turned for 61 s" in monitor.health().reason
    monitor.beat()
    assert monitor.health().ok
    monitor.check(lambda: "the database does not answer")
    assert monitor.health().reason == "the database does not answer"


def test_records_that_stay_in_hand_are_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("fabpilot.metrics.time.monotonic", clock)
    monitor = Monitor(Settings(), "processor")
    metrics = ProcessorMetrics(monitor, "g", "kr1")
    metrics.turned(3)
    clock.now = 119.0
    metrics.turned(3)
    assert monitor.health().ok
    clock.now = 121.0
    metrics.turned(3)
    assert "in hand for 121 s" in monitor.health().reason
    metrics.turned(0)
    assert monitor.health().ok


def test_a_controller_shows_its_lead_and_what_waits(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log.db")
    publish(log, [encode(wafer(0))])
    engine = open_engine(f"sqlite:///{tmp_path / 'state.db'}")
    from streaming.outbox import create_tables, enqueue_messages

    create_tables(engine)
    with engine.begin() as connection:
        enqueue_messages(connection, "controller.kr1", [encode(wafer(1)), encode(wafer(2))])
    monitor = Monitor(Settings(), "controller")
    metrics = ControllerMetrics(monitor, "controller.kr1", "kr1")
    metrics.look(log, engine, [MAPS])
    metrics.turned(False)
    seen = monitor.registry.get_sample_value
    where = {"site": "kr1", "group": "controller.kr1"}
    assert seen("fabpilot_queue_records", where) == 2
    assert seen("fabpilot_leader", {"site": "kr1"}) == 0
    metrics.turned(True)
    metrics.settled([0.5, -0.1], 1, [])
    assert seen("fabpilot_leader", {"site": "kr1"}) == 1
    assert seen("fabpilot_records_consumed_total", where) == 3
    assert seen("fabpilot_dead_letters_total", where) == 1
    # Clocks that disagree make no negative time.
    assert seen("fabpilot_record_latency_seconds_sum", where) == 0.5
    engine.dispose()
    log.close()


def test_a_probe_ends_with_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = Monitor(Settings(), "fab")
    with monitor.serve_at("127.0.0.1", 0) as port:
        monkeypatch.setenv("FABPILOT_METRICS_PORT", str(port))
        monkeypatch.setattr(sys, "argv", ["probe"])
        with pytest.raises(SystemExit, match=r"503.*not at work yet"):
            main()
        monitor.beat()
        main()
    assert "does not answer" in probe(f"http://127.0.0.1:{port}/healthz")


def test_a_slow_or_silent_client_does_not_hold_up_the_others() -> None:
    monitor = Monitor(Settings(), "fab")
    monitor.beat()
    with monitor.serve_at("127.0.0.1", 0) as port:
        import socket

        with socket.create_connection(("127.0.0.1", port)):
            assert json.loads(get(port, "/healthz")[1])["ok"]


def test_one_wafer_has_one_trace_id_from_its_map_to_its_alert() -> None:
    tested = wafer(1)
    header_of = dict(encode(tested).headers)["traceparent"].decode()
    processor = ProcessorMetrics(Monitor(Settings(), "processor"), "g", "kr1")
    controller = ControllerMetrics(Monitor(Settings(), "controller"), "controller.kr1", "kr1")
    seen = prediction(tested.substrate_id, ("Scratch",), 0, "l")
    fine = prediction("w-2", (), 0, "l")
    alert = sample_events()["fabpilot.alert.v1"]
    assert isinstance(alert, Alert)
    raised = msgspec.structs.replace(alert, revision=1, affected=(tested.substrate_id,))
    with structlog.testing.capture_logs() as lines:
        processor.watched(lambda events: [[seen], [fine]])([])
        controller.settled([], 0, [raised, msgspec.structs.replace(raised, revision=2)])
    suspicious, told = lines
    assert suspicious["event"] == "wafer suspicious"
    assert suspicious["trace_id"] == header_of.split("-")[1]
    assert told["event"] == "alert raised"
    assert told["trace_ids"] == [suspicious["trace_id"]]
