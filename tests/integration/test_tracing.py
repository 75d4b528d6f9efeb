"""One wafer's way is one trace, whoever tells of it, however often, and whoever listens."""

import json
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.codec import encode
from contracts.events import Alert, Event, WaferMap
from contracts.ids import span_id, trace_id
from contracts.topics import Stream, topic_name
from fab_sim import load_scenario
from fabpilot.controller import Controller
from fabpilot.fab_runner import FabRunner
from fabpilot.settings import Settings
from fabpilot.spans import Span, SpanMaker
from fabpilot.tracing import Led, Tracing
from fabpilot.wiring import open_site_log
from streaming.database import open_engine
from streaming.log import Log
from streaming.processor import Processor
from tests.command_line import Command, Home, error_of
from tests.control_streams import prediction
from tests.factories import wafer_map
from tests.model_files import write_model
from tests.network import seen, unexplained, watching
from tests.postgres_server import free_port
from tests.span_receiver import Got, receiving
from tests.stream_helpers import decoded
from tests.waiting import until


def shown(spans: Sequence[Got]) -> bool:
    """Whether the console has taken in every revision of every alert."""
    decided = {span.span for span in spans if span.name == "decide alerts"}
    return decided <= {span.parent for span in spans if span.name == "show alerts"}


WHOLE_WAY = {
    ("fab", "wafer"),
    ("fab", "send wafer_maps"),
    ("processor", "score wafer_maps"),
    ("controller", "control predictions"),
    ("console", "show predictions"),
    ("controller", "alert"),
    ("console", "show alerts"),
}


class Kept:
    """Stands for a sender that loses nothing."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def offer(self, make: object) -> None:
        assert callable(make)
        self.spans += make()

    def told(self) -> set[tuple[str, ...]]:
        """What stays the same whenever it is told."""
        return {
            (s.name, s.trace_id, s.span_id, s.parent_id, *map(str, s.links)) for s in self.spans
        }


def kept() -> tuple[Kept, Tracing]:
    sender = Kept()
    return sender, Tracing(sender, SpanMaker(1.0, system="embedded", group="g"))  # type: ignore[arg-type]


def says(spans: Sequence[Got]) -> set[tuple[str, str]]:
    return {(span.service, span.name) for span in spans}


def acknowledge(port: int, alert_id: str) -> None:
    """As a person does, through the console's API."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/alerts/{alert_id}/decisions",
        json.dumps({"decision": "acknowledge", "by": "kim", "comment": "seen"}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=20):
        pass


@pytest.mark.slow
def test_one_wafer_is_one_connected_trace_from_the_fab_to_the_alert(tmp_path: Path) -> None:
    model, secret = write_model(tmp_path / "m.onnx"), tmp_path / "headers"
    secret.write_text("Authorization: Bearer open-sesame\n\nX-Scope: fab\n")
    watched = tmp_path / "network.jsonl"
    with receiving() as receiver:
        home = Home(
            tmp_path / "home",
            FABPILOT_OTLP_ENDPOINT=receiver.url,
            FABPILOT_OTLP_HEADERS_FILE=str(secret),
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
            **watching(watched),
        )
        home.json("sim", "run", "--scenario", "demo", "--wafers", "60")
        home.json("process", "--until-idle", "--model", str(model))
        home.json("control", "--until-idle")
        port = free_port()
        with Command(home, "console", "--port", str(port)) as console:
            until(lambda: {span.service for span in receiver.spans} >= {"console"}, "the console")
            until(lambda: shown(receiver.spans), "all alerts on the console")
            acknowledged = next(s for s in receiver.spans if s.name == "decide alerts")
            acknowledge(port, acknowledged.attributes["fabpilot.alert"])
            # What is in the queue is sent on the way out, at once.
            assert console.stop() == 0
    spans = receiver.spans
    ids = [(span.trace, span.span) for span in spans]
    assert len(set(ids)) == len(ids)
    # Nothing hangs in the air: every parent was told as well, and each trace has one root.
    assert {(span.trace, span.parent) for span in spans if span.parent} <= set(ids)
    roots = [span.trace for span in spans if not span.parent]
    assert sorted(roots) == sorted({span.trace for span in spans})

    # One wafer that an alert rests on, all the way.
    alerted = [span for span in spans if span.name == "alert" and span.parent]
    named = {str(span.attributes["fabpilot.wafer"]) for span in alerted}
    traces = {wafer: receiver.trace(trace_id(wafer)) for wafer in named}
    wafer, whole = next((w, t) for w, t in sorted(traces.items()) if says(t) >= WHOLE_WAY)
    assert {span.attributes["fabpilot.wafer"] for span in whole} == {wafer}
    one = {name: next(s for s in whole if (s.service, s.name) == name) for name in WHOLE_WAY}
    by_id = {span.span: span for span in whole}

    def way(span: Got) -> list[str]:
        return [*(way(by_id[span.parent]) if span.parent else []), span.name]

    assert way(one["console", "show predictions"]) == [
        "wafer", "send wafer_maps", "score wafer_maps", "show predictions",
    ]  # fmt: skip
    assert way(one["controller", "control predictions"])[1:] == [
        "send wafer_maps", "score wafer_maps", "control predictions",
    ]  # fmt: skip
    assert way(one["console", "show alerts"])[-1] == "show alerts"
    assert way(one["console", "show alerts"])[-2].startswith("alert")
    for span in whole:
        assert span.start_ns <= span.end_ns
        parent = by_id.get(span.parent)
        # No effect began before its cause.
        assert parent is None or parent.start_ns <= span.start_ns
    scored = one["processor", "score wafer_maps"].attributes
    assert scored["messaging.destination.name"] == "fab.kr1.wafer_maps"
    assert scored["messaging.consumer.group.name"] == "processor.kr1"
    assert (scored["fabpilot.lot"], len(scored["fabpilot.model.sha256"])) == (wafer[:-3], 64)
    assert scored["messaging.kafka.offset"] >= 0
    modules = {s.attributes["fabpilot.module"] for s in whole if s.name == "send process"}
    assert len(modules) >= 5
    # The alert's own trace leads there and back.
    alert = one["controller", "alert"]
    assert any(s.name == "decide alerts" for s in receiver.trace(alert.links[0][0]))
    # So does what a person did, in the alert's trace.
    (decided,) = [span for span in spans if span.name == "send alerts"]
    assert (decided.service, decided.trace) == ("console", acknowledged.trace)
    assert decided.attributes["fabpilot.decision"] == "acknowledged"
    assert "kim" not in str(spans)
    assert {s.resource["deployment.environment.name"] for s in spans} == {"test"}
    assert all(header["content-encoding"] == "gzip" for header in receiver.headers)
    assert receiver.paths == {"/v1/traces"}
    assert all(h["authorization"] == "Bearer open-sesame" for h in receiver.headers)
    # And nobody else was spoken to.
    host, number = receiver.url.removeprefix("http://").split(":")
    addresses = {
        "FABPILOT_OTLP_ENDPOINT": {(host, int(number))},
        "FABPILOT_CONSOLE_PORT": {("127.0.0.1", port)},
    }
    did = seen(watched)
    assert unexplained(did, addresses) == set()
    sent = {s.process for s in did if s.does == "connect" and s.port == int(number)}
    assert sent == {"sim", "process", "control", "console"}


def test_nobody_listens_and_the_work_goes_on(tmp_path: Path) -> None:
    log = open_site_log(Settings(home=tmp_path / "home"), "kr1")
    log.append([encode(wafer_map(number)) for number in range(50)])
    log.close()
    home = Home(tmp_path / "home", FABPILOT_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    model = write_model(tmp_path / "m.onnx")
    done = home.run("process", "--until-idle", "--model", str(model), "--json")
    assert '"produced":50' in done.stdout
    assert "no spans" in done.stderr or "were not sent" in done.stderr
    assert "opentelemetry" not in done.stderr


def scored(events: Sequence[Event]) -> list[Sequence[Event]]:
    """Every third wafer has a pattern."""
    return [
        [prediction(e.substrate_id, ("Scratch",) if n % 3 == 0 else (), e.time_ms, e.lot_id)]
        for n, e in enumerate(events)
        if isinstance(e, WaferMap)
    ]


def fab_run(log: Log, folder: Path, stops: Sequence[int]) -> Kept:
    """A fab that is ended and started again whenever so many wafers are tested."""
    sender, told = kept()
    for wafers in stops:
        runner = FabRunner(
            load_scenario("demo"), log, site="kr1", seed=3, folder=folder, start_ms=0,
            on_sent=told.sent,
        )  # fmt: skip
        runner.run(threading.Event(), wafers=wafers)
    return sender


def test_a_fab_that_is_started_again_tells_the_same_and_nothing_twice(tmp_path: Path) -> None:
    told = []
    for name, stops in (("whole", (50,)), ("parts", (25, 50))):
        settings = Settings(home=tmp_path / name)
        log = open_site_log(settings, "kr1")
        told.append(fab_run(log, settings.home, stops))
        log.close()
    whole, parts = told
    assert len(parts.spans) == len(parts.told())
    assert parts.told() == whole.told()


def test_what_is_processed_again_has_the_same_spans_again(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    log = open_site_log(settings, "kr1")
    log.append([encode(wafer_map(number)) for number in range(40)])
    lost = encode(wafer_map(99))
    log.append([msgspec.structs.replace(lost, value=b"\xc1junk")])
    topics = [topic_name("kr1", Stream.WAFER_MAPS)]
    runs = []
    for group in ("first", "again"):
        sender, told = kept()
        processor = Processor(log, group=group, topics=lambda: topics, handle=scored, batch=10)
        processor.run(threading.Event(), until_idle=True, on_handled=told.handled)
        runs.append(sender)
    log.close()
    first, again = runs
    assert first.told() == again.told()
    assert len(first.spans) == len(first.told()) == 41
    (refused,) = [span for span in first.spans if span.error]
    assert refused.trace_id == trace_id(wafer_map(99).substrate_id)
    assert (refused.name, refused.parent_id) == ("refuse wafer_maps", span_id("map-99"))


def test_a_controller_that_dies_tells_nothing_twice(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    settings = Settings(home=tmp_path / "whole")
    log = open_site_log(settings, "kr1")
    fab_run(log, settings.home, (50,))
    maps = decoded(log, topic_name("kr1", Stream.WAFER_MAPS))
    log.append([encode(event) for outputs in scored(maps) for event in outputs])
    log.close()
    # Each has a log of its own: what one publishes the other must not read.
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    told = []
    for name, dies in (("whole", False), ("parts", True)):
        log = open_site_log(Settings(home=tmp_path / name), "kr1")
        engine = open_engine(f"sqlite:///{tmp_path / name}.db", None)
        sender, tracing = kept()
        deaths = [KilledError()] if dies else []

        def tell(
            led: Sequence[Led], *rest: Any, told: Tracing = tracing, deaths: Any = deaths
        ) -> None:
            if deaths and any(isinstance(event, Alert) for one in led for event in one[2]):
                # Committed, and dead before a word was said: these spans are lost, not doubled.
                raise deaths.pop()
            told.applied(led, *rest)

        for _ in range(2 if dies else 1):
            controller = Controller(log, engine, site="kr1", policy_path=None, on_applied=tell)
            try:
                controller.run(threading.Event(), until_idle=True)
            except KilledError:
                # Killed processes hold no lease for long; this one gives it back.
                continue
        told.append(sender)
        engine.dispose()
        log.close()
    whole, parts = told
    assert len(parts.spans) == len(parts.told())
    assert parts.told() < whole.told()
    assert len(parts.told()) > len(whole.told()) / 2


def test_where_it_is_off_nothing_of_it_is_loaded() -> None:
    code = (
        "import sys\n"
        "from fabpilot.commands import control, process, replay, sim\n"
        "ours = ('fabpilot.otlp', 'fabpilot.span_sender', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_the_extra_is_missing_the_error_says_what_to_install(tmp_path: Path) -> None:
    # A finder that knows no exporter stands for an installation without the extra.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('opentelemetry.exporter'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    home = Home(
        tmp_path / "home",
        FABPILOT_OTLP_ENDPOINT="http://127.0.0.1:4318",
        PYTHONPATH=str(tmp_path),
    )
    done = home.run("control", "--until-idle", code=1)
    assert "pip install 'fabpilot[otel]'" in error_of(done)
