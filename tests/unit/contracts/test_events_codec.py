"""Every event type survives the log; what is not an event is refused with a reason."""

import json
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.arrays import Array
from contracts.codec import dead_letter, decode, encode, header
from contracts.errors import CodecError, DataError, RecordTooLargeError, UnknownTypeError
from contracts.event import Event
from contracts.events import EVENT_TYPES, ReviewImage, WaferMap
from contracts.labels import label_name
from contracts.records import Record
from contracts.schemas import schema_files
from contracts.topics import MAX_RECORD_BYTES
from tests.factories import (
    alert_with_causes,
    novel_prediction,
    registered_virtual_metrology,
    sample_events,
    trace_with_recipe_steps,
    trace_with_times,
    wafer_grid,
    wafer_map,
)

GOLDEN = Path(__file__).parents[2] / "golden"
SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
SAMPLES = sample_events()


def test_there_is_a_sample_of_every_type() -> None:
    assert SAMPLES.keys() == EVENT_TYPES.keys()


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_round_trip(ce_type: str) -> None:
    event = SAMPLES[ce_type]
    message = encode(event)
    assert decode(message.headers, message.value) == event
    assert message.topic == f"fab.kr1.{event.stream.value}"
    assert message.key == event.key.encode()


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_old_bytes_stay_readable(ce_type: str) -> None:
    """Golden files hold what version 0.1 wrote; a reader must understand them for ever."""
    value = (GOLDEN / f"{ce_type}.msgpack").read_bytes()
    headers = tuple(
        (name, text.encode())
        for name, text in json.loads((GOLDEN / f"{ce_type}.headers.json").read_text()).items()
    )
    assert decode(headers, value) == SAMPLES[ce_type]


@pytest.mark.parametrize(
    ("event", "field", "earlier"),
    [
        (trace_with_times(), "times", SAMPLES["fabpilot.trace.v1"]),
        (trace_with_recipe_steps(), "recipe_steps", trace_with_times()),
        (novel_prediction(), "novelty", SAMPLES["fabpilot.prediction.v1"]),
        (alert_with_causes(), "causes", SAMPLES["fabpilot.alert.v1"]),
        (registered_virtual_metrology(), "model", SAMPLES["fabpilot.virtual_metrology.v1"]),
    ],
)
def test_a_field_that_came_later_is_optional_and_stays_readable(
    event: Event, field: str, earlier: Event
) -> None:
    message = encode(event)
    assert decode(message.headers, message.value) == event
    golden = (GOLDEN / f"{event.ce_type}.{field}.msgpack").read_bytes()
    assert decode(message.headers, golden) == event
    plain = json.loads(msgspec.json.encode(event))
    jsonschema.validate(plain, json.loads(schema_files()[f"{event.ce_type}.json"]))
    # What wrote before there was such a field, and what reads without knowing it.
    before = ".times" if field == "recipe_steps" else ""
    old = (GOLDEN / f"{event.ce_type}{before}.msgpack").read_bytes()
    assert decode(message.headers, old) == earlier


@pytest.mark.parametrize("name", ["", " ", "x" * 41, "a/b", "=1+1", "<b>", "any", "-", "a\x00b"])
def test_what_cannot_name_a_pattern(name: str) -> None:
    with pytest.raises(DataError, match="cannot name a pattern"):
        label_name(name)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("half moon", "half moon"),
        ("edge ring", "Edge-Ring"),
        ("초승달", "초승달"),
        ("none", "None"),
    ],
)
def test_what_can_name_a_pattern(written: str, name: str) -> None:
    assert label_name(written) == name
    assert label_name(label_name(written)) == name


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_schema_is_current_and_accepts_the_event(ce_type: str) -> None:
    content = schema_files()[f"{ce_type}.json"]
    written = SCHEMAS / f"{ce_type}.json"
    assert written.read_bytes() == content, "run: make schemas"
    plain = json.loads(msgspec.json.encode(SAMPLES[ce_type]))
    jsonschema.validate(plain, json.loads(content))


def test_no_schema_of_a_type_that_is_gone() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == set(schema_files())


def test_headers_are_cloudevents_binary_mode() -> None:
    message = encode(wafer_map())
    plain = {name: value.decode() for name, value in message.headers}
    assert plain["ce_specversion"] == "1.0"
    assert plain["ce_type"] == "fabpilot.wafer_map.v1"
    assert plain["ce_id"] == "map-0"
    assert plain["ce_time"] == "2026-01-01T12:00:00.000Z"
    assert plain["content-type"] == "application/msgpack"
    version, trace_id, span_id, flags = plain["traceparent"].split("-")
    assert (version, len(trace_id), len(span_id), flags) == ("00", 32, 16, "01")


def test_one_wafer_is_one_distributed_trace() -> None:
    def trace_id(ce_type: str) -> bytes:
        found = header(encode(SAMPLES[ce_type]).headers, "traceparent")
        assert found is not None
        return found.split(b"-")[1]

    assert trace_id("fabpilot.wafer_map.v1") == trace_id("fabpilot.prediction.v1")
    assert trace_id("fabpilot.wafer_map.v1") != trace_id("fabpilot.alert.v1")


def test_the_life_of_an_alert_and_of_an_action_is_one_trace_each() -> None:
    def trace_id(ce_type: str, **changes: object) -> bytes:
        event = msgspec.structs.replace(SAMPLES[ce_type], event_id="another", **changes)
        return dict(encode(event).headers)["traceparent"].split(b"-")[1]

    alert = trace_id("fabpilot.alert.v1", alert_id="a", revision=1)
    assert trace_id("fabpilot.alert.v1", alert_id="a", revision=2) == alert
    assert trace_id("fabpilot.alert_decision.v1", alert_id="a") == alert
    assert trace_id("fabpilot.alert.v1", alert_id="b", revision=1) != alert
    # Not of the alert: what run-to-run proposes has none, and a thread lives for years.
    action = trace_id("fabpilot.action.v1", alert_id="a", action_id="x")
    assert action != alert
    assert trace_id("fabpilot.action_effect.v1", alert_id="a", action_id="x") == action


def test_unknown_or_missing_type_is_refused() -> None:
    value = encode(wafer_map()).value
    with pytest.raises(UnknownTypeError, match="no ce_type"):
        decode((), value)
    with pytest.raises(UnknownTypeError, match=r"fabpilot\.nonsense"):
        decode((("ce_type", b"fabpilot.nonsense.v1"),), value)
    with pytest.raises(UnknownTypeError):
        decode((("ce_type", b"\xff\xfe"),), value)


def test_other_content_type_is_refused() -> None:
    message = encode(wafer_map())
    headers = (("ce_type", b"fabpilot.wafer_map.v1"), ("content-type", b"application/json"))
    with pytest.raises(CodecError, match="application/json"):
        decode(headers, message.value)


@given(cut=st.integers(min_value=0, max_value=10_000))
def test_truncated_bytes_are_refused(cut: int) -> None:
    message = encode(wafer_map())
    with pytest.raises(CodecError):
        decode(message.headers, message.value[: cut % len(message.value)])


@given(noise=st.binary(max_size=200), ce_type=st.sampled_from(sorted(EVENT_TYPES)))
def test_noise_never_raises_anything_but_a_data_error(noise: bytes, ce_type: str) -> None:
    try:
        decode((("ce_type", ce_type.encode()),), noise)
    except DataError as error:
        assert str(error)


def test_deeply_nested_bytes_are_refused() -> None:
    with pytest.raises(CodecError):
        decode((("ce_type", b"fabpilot.wafer_map.v1"),), b"\x91" * 100_000)


def test_size_limits() -> None:
    sample = SAMPLES["fabpilot.review_image.v1"]
    assert isinstance(sample, ReviewImage)
    with pytest.raises(RecordTooLargeError, match="image-1"):
        encode(msgspec.structs.replace(sample, png=bytes(MAX_RECORD_BYTES)))
    with pytest.raises(RecordTooLargeError):
        decode((("ce_type", b"fabpilot.review_image.v1"),), bytes(MAX_RECORD_BYTES + 100_000))
    four_megabytes = msgspec.structs.replace(sample, png=bytes(4 * 1024 * 1024))
    assert decode(encode(four_megabytes).headers, encode(four_megabytes).value) == four_megabytes


def test_dead_letter_keeps_the_record_and_is_named_by_its_place() -> None:
    record = Record("fab.kr1.wafer_maps", 2, 7, 1000, b"k", b"\x00bytes", (("ce_type", b"x"),))
    letter = dead_letter(record, UnknownTypeError("unknown"), site="kr1", stage="process")
    again = dead_letter(record, CodecError("another reason"), site="kr1", stage="process")
    assert letter.value == record.value
    assert letter.source_headers == record.headers
    assert (letter.error, letter.reason) == ("UnknownTypeError", "unknown")
    assert letter.event_id == again.event_id
    assert decode(encode(letter).headers, encode(letter).value) == letter


def test_the_largest_record_fits_into_a_dead_letter() -> None:
    record = Record("fab.kr1.review_images", 0, 0, 0, b"", bytes(MAX_RECORD_BYTES))
    letter = dead_letter(record, CodecError("bad"), site="kr1", stage="process")
    assert decode(encode(letter).headers, encode(letter).value) == letter


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([np.uint8, np.float32]), st.booleans()
)
def test_arrays_round_trip(rows: int, columns: int, dtype: type, transposed: bool) -> None:
    values = np.arange(rows * columns).reshape(rows, columns).astype(dtype)
    values = values.T if transposed else values
    back = Array.of(values).numpy()
    assert back.dtype == dtype
    assert np.array_equal(back, values)


def test_arrays_of_other_types_or_sizes_are_refused() -> None:
    with pytest.raises(CodecError, match="float64"):
        Array.of(np.zeros(3))
    with pytest.raises(CodecError, match="needs 12 bytes"):
        Array("<f4", (3,), b"1234").numpy()
    with pytest.raises(CodecError):
        Array("u1", (-1, -4), b"1234").numpy()
    with pytest.raises(CodecError):
        Array("u1", (1,) * 9, b"1").numpy()


def test_wrong_dtype_on_the_wire_is_refused() -> None:
    sample = wafer_map(grid=wafer_grid())
    body = msgspec.msgpack.decode(encode(sample).value)
    body["grid"]["dtype"] = "<f8"
    with pytest.raises(CodecError, match="<f8"):
        decode((("ce_type", WaferMap.ce_type.encode()),), msgspec.msgpack.encode(body))


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    body = msgspec.msgpack.decode(encode(wafer_map()).value)
    body["added_later"] = 1
    decoded = decode((("ce_type", WaferMap.ce_type.encode()),), msgspec.msgpack.encode(body))
    assert decoded == wafer_map()
