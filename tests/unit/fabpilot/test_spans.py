"""Which spans follow from what, and that sending them is never in the way."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from prometheus_client import CollectorRegistry

from contracts.codec import encode
from contracts.errors import ConfigError, WaferMapError
from contracts.events import Action, Alert, WaferMap
from contracts.ids import span_id, trace_id
from contracts.records import Record
from fabpilot.settings import Settings
from fabpilot.span_sender import SpanSender
from fabpilot.spans import Span, SpanMaker, picker, root_id
from fabpilot.tracing import endpoint_url, otlp_headers
from tests.control_streams import prediction
from tests.factories import sample_events, wafer_map

MAKER = SpanMaker(1.0, system="kafka", group="g")
FOREIGN = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def record_of(event: WaferMap, traceparent: str | None = None) -> Record:
    message = encode(event)
    headers = message.headers
    if traceparent is not None:
        headers = (*headers[:-1], ("traceparent", traceparent.encode()))
    return Record(message.topic, 2, 7, 1_000, message.key, message.value, headers)


def action(status: str) -> Action:
    sample = sample_events()["fabpilot.action.v1"]
    assert isinstance(sample, Action)
    event_id = Action.event_id_for(sample.action_id, status)  # type: ignore[arg-type]
    return msgspec.structs.replace(sample, status=status, event_id=event_id)


def test_the_share_is_chosen_as_opentelemetry_chooses_it() -> None:
    for share in (0.0, 0.1, 0.5, 1.0):
        picks, theirs = picker(share), TraceIdRatioBased(share)
        ids = [trace_id(f"w-{number}") for number in range(2000)]
        chosen = [picks(name) for name in ids]
        assert chosen == [
            theirs.should_sample(None, int(name, 16), "").decision is Decision.RECORD_AND_SAMPLE
            for name in ids
        ]
        assert abs(sum(chosen) / 2000 - share) < 0.03


def test_the_share_of_zero_makes_nothing() -> None:
    nothing = SpanMaker(0.0, system="kafka", group="g")
    wafer = wafer_map()
    alert = sample_events()["fabpilot.alert.v1"]
    assert not list(nothing.sent(wafer, 1, 2))
    assert not list(nothing.applied(record_of(wafer), wafer, [alert], 1, 2))
    assert not list(nothing.refused(record_of(wafer), WaferMapError("x"), "process", 1, 2))


def test_a_span_has_the_id_that_its_event_says() -> None:
    wafer = wafer_map()
    (span,) = MAKER.sent(wafer, 1, 2)
    said = dict(encode(wafer).headers)["traceparent"].decode()
    assert said.split("-")[1:3] == [span.trace_id, span.span_id]
    (scored,) = MAKER.handled(
        record_of(wafer), wafer, [prediction(wafer.substrate_id, (), 0, "l")], 3_000_000_000, 4, 5
    )
    assert (scored.trace_id, scored.parent_id) == (span.trace_id, span.span_id)
    assert scored.attributes["messaging.destination.partition.id"] == "2"
    assert scored.attributes["messaging.kafka.offset"] == 7
    assert scored.attributes["fabpilot.waited_ms"] == 2_000.0


def test_a_source_with_a_trace_of_its_own_is_linked() -> None:
    wafer, (trace, span) = wafer_map(), FOREIGN
    said = prediction(wafer.substrate_id, (), 0, "l")
    record = record_of(wafer, f"00-{trace}-{span}-01")
    (scored,) = MAKER.handled(record, wafer, [said], 1, 2, 1)
    assert scored.links == (FOREIGN,)
    assert (scored.trace_id, scored.parent_id) == (trace_id(wafer.substrate_id), root_id(wafer.substrate_id))  # noqa: E501  # fmt: skip
    for broken in ("", "00", "00-zz-1-01", f"00-{'0' * 32}-{span}-01"):
        (scored,) = MAKER.handled(record_of(wafer, broken), wafer, [said], 1, 2, 1)
        assert (scored.parent_id, scored.links) == (span_id(wafer.event_id), ())


def test_a_wafer_that_is_refused_says_why_in_its_own_trace() -> None:
    wafer = wafer_map()
    (span,) = MAKER.refused(record_of(wafer), WaferMapError("no dies"), "process", 1, 2)
    assert (span.trace_id, span.parent_id) == (
        trace_id(wafer.substrate_id),
        span_id(wafer.event_id),
    )
    assert span.error == "WaferMapError: no dies"


def test_an_alert_is_told_in_the_trace_of_every_wafer_it_rests_on_and_in_its_own() -> None:
    sample = sample_events()["fabpilot.alert.v1"]
    assert isinstance(sample, Alert)
    wafer = wafer_map(1)
    alert = msgspec.structs.replace(
        sample, revision=1, affected=("other", wafer.substrate_id, "other")
    )
    spans = list(MAKER.applied(record_of(wafer), wafer, [alert], 1, 2))
    told = {(s.name, s.trace_id): s for s in spans}
    assert len(told) == len(spans) == 5
    here, there = (told["alert", trace_id(name)] for name in (wafer.substrate_id, "other"))
    control = told["control wafer_maps", trace_id(wafer.substrate_id)]
    assert here.parent_id == control.span_id
    assert there.parent_id == root_id("other")
    own = told["decide alerts", trace_id(alert.alert_id)]
    assert here.links == there.links == ((own.trace_id, own.span_id),)
    assert own.links == ((control.trace_id, control.span_id),)
    assert own.parent_id == told["alert", own.trace_id].span_id
    message = encode(alert)
    record = Record(message.topic, 0, 0, 0, message.key, message.value, message.headers)
    shown = {s.trace_id: s.parent_id for s in MAKER.shown(record, alert, 3, 4)}
    assert shown == {s.trace_id: s.span_id for s in (here, there, own)}


def test_the_stages_of_an_action_follow_each_other() -> None:
    stages = ["proposed", "approved", "applied"]
    spans = [list(MAKER.sent(action(status), 1, 2)) for status in stages]
    root, proposed = spans[0]
    assert proposed.parent_id == root.span_id
    assert [s.parent_id for s in (*spans[1], *spans[2])] == [proposed.span_id, spans[1][0].span_id]
    assert len({s.trace_id for some in spans for s in some}) == 1


class Slow:
    """A collector that answers only when it is told to."""

    def __init__(self) -> None:
        self.go, self.asked, self.ended = threading.Event(), threading.Event(), False
        self.got: list[Span] = []
        self.works = True

    def export(self, spans: Sequence[Span]) -> bool:
        self.asked.set()
        self.go.wait(20)
        if self.works:
            self.got += spans
        return self.works

    def close(self) -> None:
        self.ended = True
        self.go.set()


def spans(number: int) -> list[Span]:
    return [Span("s", "internal", "1" * 32, f"{n + 1:016x}", "", 1, 2, {}) for n in range(number)]


def figure(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(f"fabpilot_spans_{name}", labels)
    assert found is not None
    return found


def test_a_collector_that_hangs_costs_spans_and_nothing_else() -> None:
    slow, registry = Slow(), CollectorRegistry()
    sender = SpanSender(slow, registry, queue=1000)
    sender.offer(lambda: spans(600))
    assert slow.asked.wait(10)
    began = time.process_time()
    for _ in range(100):
        sender.offer(lambda: spans(100))
    # Ten thousand spans for a queue of a thousand: nobody waited for the collector.
    assert time.process_time() - began < 2.0
    assert figure(registry, "queued") == 1000
    taken = 600 + 100 * 100 - 1000 - figure(registry, "lost_total", reason="full")
    assert taken == 512
    slow.go.set()
    sender.close()
    assert len(slow.got) == figure(registry, "sent_total") == 1512
    assert slow.ended


def test_what_is_refused_is_counted_and_the_end_is_not_put_off() -> None:
    slow, registry = Slow(), CollectorRegistry()
    slow.works = False
    slow.go.set()
    sender = SpanSender(slow, registry)
    sender.offer(lambda: spans(1500))
    assert slow.asked.wait(10)
    began = time.monotonic()
    sender.close()
    sender.close()
    assert time.monotonic() - began < 10
    assert figure(registry, "lost_total", reason="refused") == 1500
    sender.offer(lambda: spans(3))
    assert figure(registry, "lost_total", reason="full") == 3


def test_a_mistake_of_ours_is_said_and_stops_nobody() -> None:
    slow, registry = Slow(), CollectorRegistry()
    slow.go.set()
    sender = SpanSender(slow, registry)
    sender.offer(lambda: spans(1 // 0))
    sender.offer(lambda: spans(2))
    sender.close()
    assert figure(registry, "lost_total", reason="error") == 1
    assert len(slow.got) == 2


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://c.example/otlp/", "https://c.example/otlp/v1/traces"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
    ],
)
def test_an_endpoint_is_where_traces_are_posted(endpoint: str, url: str) -> None:
    assert endpoint_url(endpoint) == url


@pytest.mark.parametrize("endpoint", ["collector:4317", "grpc://c:4317", "http://", "http://u:p@c"])
def test_what_is_no_endpoint_is_refused_without_showing_it(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="such as http://collector:4318") as caught:
        endpoint_url(endpoint)
    assert "u:p" not in str(caught.value)


def test_headers_are_a_secret_file(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    settings = Settings(otlp_headers_file=file)
    with pytest.raises(ConfigError, match="cannot be read"):
        otlp_headers(settings)
    file.write_text("Authorization: Bearer a:b\n")
    assert otlp_headers(settings) == {"Authorization": "Bearer a:b"}
    file.write_text("Authorization: ok\nBearer secret\n")
    with pytest.raises(ConfigError, match="line 2 is no header") as caught:
        otlp_headers(settings)
    assert "secret" not in str(caught.value)
    assert otlp_headers(Settings()) == {}
