"""What an embedded log forgets: telemetry that is older than it is to be kept.

As on Kafka, records go by the time the log took them, whoever has read them or not; offsets are
never used again, and whoever comes late begins with the oldest record that is left. Room in the
file is used again, the file does not shrink. Streams that are kept for ever, and the one whose last
word on each key counts (`contracts.topics`), are left alone.
"""

import sqlite3

from contracts.errors import ConfigError
from contracts.topics import STREAM_SPECS, StreamSpec, parse_topic
from streaming.embedded.file import OFFSET_BITS, record_id
from streaming.embedded.records import first_since

__all__ = ["Retention", "first_kept"]

# A look costs a range scan over what is to go, and goes along with a commit.
_EVERY_MS = 60_000
# Records of one partition that one commit drops, so that none takes long; at one look a minute a
# partition that takes 300 records a second is kept up with.
_AT_ONCE = 20_000
_MS_PER_HOUR = 3_600_000
_TELEMETRY_H = StreamSpec(1).retention_h


class Retention:
    """Drops old records, a few with every commit.

    Args:
        telemetry_h: hours that streams are kept which say nothing else; 0 keeps them for ever.
    """

    def __init__(self, telemetry_h: int = _TELEMETRY_H) -> None:
        self._telemetry_h = telemetry_h
        self._looked_ms = 0

    def sweep(self, connection: sqlite3.Connection, now_ms: int) -> int:
        """Drop what is due, within the connection's transaction; how many records that were."""
        # A clock that was set back must not stop it for as long.
        if 0 <= now_ms - self._looked_ms < _EVERY_MS:
            return 0
        self._looked_ms = now_ms
        dropped = 0
        partitions = connection.execute("SELECT partition_id, topic FROM partitions").fetchall()
        for partition_id, topic in partitions:
            hours = self._kept_h(topic)
            if hours:
                dropped += self._drop(connection, partition_id, now_ms - hours * _MS_PER_HOUR)
        return dropped

    def _kept_h(self, topic: str) -> int:
        """How long a topic's records are kept; 0 for ever."""
        try:
            spec = STREAM_SPECS[parse_topic(topic)[1]]
        except ConfigError:
            return 0  # not one of ours
        if spec.compacted:
            return 0
        return self._telemetry_h if spec.retention_h == _TELEMETRY_H else spec.retention_h

    def _drop(self, connection: sqlite3.Connection, partition_id: int, before_ms: int) -> int:
        start = first_kept(connection, partition_id)
        end = first_since(connection, partition_id, before_ms)
        if end is None:
            (end,) = connection.execute(
                "SELECT next_offset FROM partitions WHERE partition_id = ?", (partition_id,)
            ).fetchone()
        end = min(end, start + _AT_ONCE)
        return connection.execute(
            "DELETE FROM records WHERE id >= ? AND id < ?",
            (record_id(partition_id, start), record_id(partition_id, end)),
        ).rowcount


def first_kept(connection: sqlite3.Connection, partition_id: int) -> int:
    """Offset of a partition's oldest record; where it has none, the next one's."""
    row = connection.execute(
        "SELECT id FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
        (record_id(partition_id, 0), record_id(partition_id + 1, 0)),
    ).fetchone()
    if row is not None:
        return int(row[0]) & ((1 << OFFSET_BITS) - 1)
    (end,) = connection.execute(
        "SELECT next_offset FROM partitions WHERE partition_id = ?", (partition_id,)
    ).fetchone()
    return int(end)
