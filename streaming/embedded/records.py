"""Messages into the log's file and records out of it, many at a time."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from contracts.codec import DEAD_LETTER_ENVELOPE
from contracts.errors import LogError, RecordTooLargeError
from contracts.records import Headers, Message, Record, TopicPartition
from contracts.topics import MAX_RECORD_BYTES
from streaming.embedded.file import OFFSET_BITS, record_id
from streaming.partitioner import partition_of

__all__ = ["MAX_POLL_BYTES", "Catalogue", "fetch", "first_since", "publish"]

# What one poll may bring into memory: a few hundred images would otherwise be a gigabyte.
MAX_POLL_BYTES = 64 * 1024 * 1024
_MAX_VALUE_BYTES = MAX_RECORD_BYTES + DEAD_LETTER_ENVELOPE
# Key and headers go along into a dead letter's envelope.
_MAX_HEADER_BYTES = DEAD_LETTER_ENVELOPE

_OFFSET_MASK = (1 << OFFSET_BITS) - 1

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode


class Catalogue:
    """Which partitions there are. Topics are never removed or repartitioned, so this only grows."""

    def __init__(self) -> None:
        self._partitions: dict[str, tuple[int, ...]] = {}

    def all(self, connection: sqlite3.Connection) -> dict[str, tuple[int, ...]]:
        """Topic to the ids of its partitions, in order."""
        found: dict[str, list[int]] = {}
        for topic, partition_id in connection.execute(
            "SELECT topic, partition_id FROM partitions ORDER BY topic, partition"
        ):
            found.setdefault(topic, []).append(partition_id)
        self._partitions = {topic: tuple(ids) for topic, ids in found.items()}
        return self._partitions

    def ids(
        self, connection: sqlite3.Connection, topics: Iterable[str]
    ) -> dict[TopicPartition, int]:
        """The ids of the partitions of `topics`; topics that do not exist are left out."""
        wanted = sorted(set(topics))
        if any(topic not in self._partitions for topic in wanted):
            self.all(connection)
        return {
            TopicPartition(topic, partition): partition_id
            for topic in wanted
            for partition, partition_id in enumerate(self._partitions.get(topic, ()))
        }

    def of_topic(self, connection: sqlite3.Connection, topic: str) -> tuple[int, ...]:
        """The ids of the partitions of `topic`.

        Raises:
            LogError: there is no such topic.
        """
        found = self._partitions.get(topic) or self.all(connection).get(topic)
        if found is None:
            raise LogError(f"there is no topic {topic!r} in the log; create it first")
        return found


def publish(
    connection: sqlite3.Connection,
    catalogue: Catalogue,
    messages: Sequence[Message],
    timestamp_ms: int,
) -> None:
    """Write `messages` within the connection's transaction.

    Raises:
        RecordTooLargeError: a message exceeds the limits.
        LogError: a topic does not exist.
    """
    by_partition: dict[int, list[tuple[Message, bytes]]] = {}
    for message in messages:
        headers = _encode_headers(message.headers)
        if len(message.value) > _MAX_VALUE_BYTES:
            raise RecordTooLargeError(
                f"a record of {len(message.value)} bytes for {message.topic};"
                f" the limit is {_MAX_VALUE_BYTES}"
            )
        if len(headers) + len(message.key) > _MAX_HEADER_BYTES:
            raise RecordTooLargeError(
                f"key and headers of {len(headers) + len(message.key)} bytes for {message.topic};"
                f" the limit is {_MAX_HEADER_BYTES}"
            )
        ids = catalogue.of_topic(connection, message.topic)
        partition_id = ids[partition_of(message.key, len(ids))]
        by_partition.setdefault(partition_id, []).append((message, headers))
    for partition_id, batch in by_partition.items():
        (offset,) = connection.execute(
            "SELECT next_offset FROM partitions WHERE partition_id = ?", (partition_id,)
        ).fetchone()
        connection.executemany(
            "INSERT INTO records (id, timestamp_ms, key, headers, value) VALUES (?, ?, ?, ?, ?)",
            _rows(record_id(partition_id, offset), timestamp_ms, batch),
        )
        connection.execute(
            "UPDATE partitions SET next_offset = ? WHERE partition_id = ?",
            (offset + len(batch), partition_id),
        )


def _rows(
    first: int, timestamp_ms: int, batch: list[tuple[Message, bytes]]
) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
    for number, (message, headers) in enumerate(batch, first):
        yield number, timestamp_ms, message.key, headers, message.value


def fetch(
    connection: sqlite3.Connection,
    ids: Mapping[TopicPartition, int],
    order: Collection[TopicPartition],
    positions: Mapping[TopicPartition, int],
    max_records: int,
) -> list[Record]:
    """Up to `max_records` records from `positions` on, taking the partitions in `order`.

    Ends early, after at least one record, when `MAX_POLL_BYTES` are reached.
    """
    records: list[Record] = []
    size = 0
    for partition in order:
        if len(records) >= max_records or size >= MAX_POLL_BYTES:
            break
        partition_id = ids[partition]
        rows = connection.execute(
            "SELECT id, timestamp_ms, key, headers, value FROM records"
            " WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (
                record_id(partition_id, positions[partition]),
                record_id(partition_id + 1, 0),
                max_records - len(records),
            ),
        )
        topic, number = partition
        for row_id, timestamp_ms, key, headers, value in rows:
            records.append(
                Record(
                    topic,
                    number,
                    row_id & _OFFSET_MASK,
                    timestamp_ms,
                    key,
                    value,
                    _decode_headers(headers),
                )
            )
            size += len(value)
            if size >= MAX_POLL_BYTES:
                rows.close()
                break
    return records


def first_since(connection: sqlite3.Connection, partition_id: int, time_ms: int) -> int | None:
    """Offset of the first record that a partition took at `time_ms` or later, if there is one."""
    row = connection.execute(
        "SELECT id FROM records WHERE id >= ? AND id < ? AND timestamp_ms >= ? ORDER BY id LIMIT 1",
        (record_id(partition_id, 0), record_id(partition_id + 1, 0), time_ms),
    ).fetchone()
    return None if row is None else int(row[0]) & _OFFSET_MASK
