"""Events to log messages and back: MessagePack values, CloudEvents attributes in the headers.

CloudEvents 1.0.2, Kafka protocol binding 1.0.2, binary content mode: each attribute is a header
`ce_<name>`, the value is the data alone. Another language can consume them with nothing of ours.
"""

from collections.abc import Iterable
from functools import cache

import msgspec

from contracts.clock import rfc3339
from contracts.errors import CodecError, RecordTooLargeError, UnknownTypeError
from contracts.events import EVENT_TYPES, DeadLetter, Event
from contracts.ids import derived_id, traceparent
from contracts.records import Headers, Message, Record
from contracts.topics import MAX_RECORD_BYTES, STREAM_SPECS, topic_name

__all__ = ["CONTENT_TYPE", "DEAD_LETTER_ENVELOPE", "dead_letter", "decode", "encode", "header"]

CONTENT_TYPE = b"application/msgpack"
_SPEC_VERSION = b"1.0"
# A dead letter carries the original record whole; this is the room its own fields need.
DEAD_LETTER_ENVELOPE = 64 * 1024

_encoder = msgspec.msgpack.Encoder()


@cache
def _decoder(ce_type: str) -> msgspec.msgpack.Decoder[Event]:
    return msgspec.msgpack.Decoder(EVENT_TYPES[ce_type])


def header(headers: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    """The first header called `name`, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def encode(event: Event) -> Message:
    """The log message of an event, with topic, key and headers filled in.

    Raises:
        RecordTooLargeError: the encoded event is larger than a record may be.
    """
    value = _encoder.encode(event)
    limit = STREAM_SPECS[event.stream].record_bytes
    limit += DEAD_LETTER_ENVELOPE if isinstance(event, DeadLetter) else 0
    if len(value) > limit:
        raise RecordTooLargeError(
            f"{event.ce_type} {event.event_id} has {len(value)} bytes; a record may have {limit}"
        )
    return Message(
        topic=topic_name(event.site, event.stream),
        key=event.key.encode(),
        value=value,
        headers=(
            ("ce_specversion", _SPEC_VERSION),
            ("ce_type", event.ce_type.encode()),
            ("ce_source", f"/fabpilot/{event.site}".encode()),
            ("ce_id", event.event_id.encode()),
            ("ce_time", rfc3339(event.time_ms).encode()),
            ("content-type", CONTENT_TYPE),
            ("traceparent", traceparent(event.trace_root, event.event_id).encode()),
        ),
    )


def decode(headers: Headers, value: bytes) -> Event:
    """The event in a record.

    Raises:
        RecordTooLargeError: more bytes than a record may have.
        UnknownTypeError: the `ce_type` header is missing or names no event of ours.
        CodecError: the bytes are not that event.
    """
    limit = MAX_RECORD_BYTES + DEAD_LETTER_ENVELOPE
    if len(value) > limit:
        raise RecordTooLargeError(f"{len(value)} bytes; a record may have {limit}")
    raw_type = header(headers, "ce_type")
    if raw_type is None:
        raise UnknownTypeError("the record has no ce_type header, so nobody knows what it is")
    ce_type = raw_type.decode("utf-8", "replace")
    if ce_type not in EVENT_TYPES:
        raise UnknownTypeError(f"unknown event type {ce_type[:100]!r}")
    content_type = header(headers, "content-type")
    if content_type is not None and content_type != CONTENT_TYPE:
        shown = content_type[:100].decode("utf-8", "replace")
        raise CodecError(f"{ce_type} with content type {shown!r}; we read application/msgpack")
    try:
        return _decoder(ce_type).decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"the bytes are not a {ce_type}: {error}") from error


def dead_letter(record: Record, error: Exception, *, site: str, stage: str) -> DeadLetter:
    """The dead letter of a record that `error` kept `stage` from processing.

    The id comes from the record's place, so that trying again names it the same.
    """
    return DeadLetter(
        event_id=derived_id("dead", stage, record.topic, record.partition, record.offset),
        site=site,
        time_ms=record.timestamp_ms,
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_key=record.key,
        source_headers=record.headers,
        value=record.value[:MAX_RECORD_BYTES],
        value_bytes=len(record.value),
        error=type(error).__name__,
        reason=str(error)[:2000],
        stage=stage,
    )
