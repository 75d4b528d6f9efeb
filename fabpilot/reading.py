"""What a stream of the log holds now, as events."""

from collections.abc import Iterator

from contracts.codec import decode
from contracts.errors import DataError
from contracts.events import Event
from contracts.records import Record
from contracts.topics import Stream, topic_name
from streaming.log import Log, Offsets

__all__ = ["read_events"]

_CHUNK = 1000
# How long the log may take to bring what is known to be there.
_WAIT_S = 1.0


def read_events(
    log: Log, site: str, stream: Stream, start: Offsets | None = None
) -> Iterator[tuple[Record, Event | None]]:
    """The records of a site's stream up to its end now; the event is None where it does not decode.

    Args:
        log: to read.
        site: whose stream; one without topics has no events.
        stream: which.
        start: offsets to begin at; the beginning where there is none.
    """
    topic = topic_name(site, stream)
    if topic not in log.topics():
        return
    ends = log.ends([topic])
    reader = log.reader([topic], start or {})
    try:
        while behind := {
            place for place, at in reader.positions().items() if at < ends.get(place, 0)
        }:
            for record in reader.poll(_CHUNK, _WAIT_S, only=behind):
                if record.offset >= ends[record.topic_partition]:
                    continue
                try:
                    yield record, decode(record.headers, record.value)
                except DataError:
                    yield record, None
    finally:
        reader.close()
