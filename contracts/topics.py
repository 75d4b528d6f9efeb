"""Which streams there are and what their topics are called.

A site has its own topics, `fab.<site>.<stream>`, so that sites scale, fail and are secured apart.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from contracts.errors import ConfigError
from contracts.ids import check_site

__all__ = ["MAX_RECORD_BYTES", "STREAM_SPECS", "Stream", "StreamSpec", "parse_topic", "topic_name"]

# A review image may have 4 MB; the rest is room for the envelope around it.
MAX_RECORD_BYTES = 5 * 1024 * 1024


class Stream(StrEnum):
    """The streams of a site."""

    PROCESS = "process"
    EQUIPMENT = "equipment"
    TRACES = "traces"
    METROLOGY = "metrology"
    WAFER_MAPS = "wafer_maps"
    REVIEW_IMAGES = "review_images"
    PREDICTIONS = "predictions"
    ALERTS = "alerts"
    ACTIONS = "actions"
    RISKS = "risks"
    CHARTS = "charts"
    JUDGEMENTS = "judgements"
    LABELS = "labels"
    DEAD_LETTERS = "dead_letters"


class StreamSpec(msgspec.Struct, frozen=True):
    """How the topic of a stream is made.

    Attributes:
        partitions: how many; a processor group scales up to this number.
        retention_h: how long records are kept, in hours; 0 keeps them for ever.
        compacted: after `retention_h` the last record of each key is kept, instead of none. For
            streams that say what *is*: whoever comes late learns it however long ago it was said.
        record_bytes: the most an event's bytes may be; by default there is room for a map of
            1000 x 1000 dies.
        compression: what the topic stores, 'producer' for whatever the producer chose.
    """

    partitions: int
    retention_h: int = 7 * 24
    compacted: bool = False
    record_bytes: int = 2 * 1024 * 1024
    compression: Literal["producer", "zstd"] = "producer"


# The one table from which every site's topics are made. Decisions and labels are few and are the
# record of who did what: they are kept whole, so none of them is compacted.
STREAM_SPECS: dict[Stream, StreamSpec] = {
    Stream.PROCESS: StreamSpec(4),
    Stream.EQUIPMENT: StreamSpec(1, compacted=True),
    Stream.TRACES: StreamSpec(4, record_bytes=MAX_RECORD_BYTES),
    Stream.METROLOGY: StreamSpec(2),
    Stream.WAFER_MAPS: StreamSpec(4),
    Stream.REVIEW_IMAGES: StreamSpec(4, record_bytes=MAX_RECORD_BYTES, compression="zstd"),
    Stream.PREDICTIONS: StreamSpec(4),
    Stream.ALERTS: StreamSpec(1, retention_h=0),
    Stream.ACTIONS: StreamSpec(1, retention_h=0),
    Stream.RISKS: StreamSpec(2),
    Stream.CHARTS: StreamSpec(2),
    # As many as traces have, for a processor judges what it reads.
    Stream.JUDGEMENTS: StreamSpec(4),
    Stream.LABELS: StreamSpec(1, retention_h=0),
    # A dead letter carries the record it stands for, whatever stream that was on.
    Stream.DEAD_LETTERS: StreamSpec(1, retention_h=30 * 24, record_bytes=MAX_RECORD_BYTES),
}


_NAMES = frozenset(stream.value for stream in Stream)


def topic_name(site: str, stream: Stream) -> str:
    """The topic of a stream at a site.

    >>> topic_name("kr1", Stream.TRACES)
    'fab.kr1.traces'
    """
    return f"fab.{check_site(site)}.{stream.value}"


def parse_topic(topic: str) -> tuple[str, Stream]:
    """The site and stream a topic belongs to.

    Raises:
        ConfigError: the name is not one of ours.

    >>> parse_topic("fab.kr1.traces")
    ('kr1', <Stream.TRACES: 'traces'>)
    """
    parts = topic.split(".")
    if len(parts) != 3 or parts[0] != "fab" or parts[2] not in _NAMES:
        raise ConfigError(f"topic {topic!r} is not of the form fab.<site>.<stream>")
    return check_site(parts[1]), Stream(parts[2])
