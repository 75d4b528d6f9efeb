"""The embedded log: topics, appends, and the making of readers and consumers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from contracts.clock import Clock, SystemClock
from contracts.errors import LogError
from contracts.records import Message, TopicPartition
from streaming.embedded import groups
from streaming.embedded.consumer import EmbeddedConsumer
from streaming.embedded.file import LogFile
from streaming.embedded.reader import EmbeddedReader
from streaming.embedded.records import Catalogue, first_since, publish
from streaming.embedded.retention import Retention, first_kept
from streaming.log import Offsets

__all__ = ["EmbeddedLog"]

# A member whose process ended is replaced at once (streaming.liveness); this is for one that
# hangs, and must outlast the slowest honest batch.
SESSION_TIMEOUT_MS = 30_000


class EmbeddedLog:
    """A `Log` in one SQLite file, for the processes and threads of one machine.

    Args:
        path: the file; it and its folder are made when first written.
        clock: stamps records and judges who is alive.
        session_timeout_ms: how long a silent group member keeps its partitions.
        synchronous: SQLite's; FULL survives a power cut, NORMAL only a killed process.
        retention: what is forgotten, and when.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        retention: Retention | None = None,
    ) -> None:
        self._file = LogFile(path, synchronous=synchronous)
        self._catalogue = Catalogue()
        self._clock = clock or SystemClock()
        self._session_timeout_ms = session_timeout_ms
        self._retention = retention or Retention()

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Make the topics that are missing; name to number of partitions.

        Raises:
            LogError: fewer than one partition.
        """
        for topic, partitions in topics.items():
            if partitions < 1:
                raise LogError(f"topic {topic!r} with {partitions} partitions; it needs at least 1")
        existing = self.topics()
        missing = {topic: n for topic, n in topics.items() if topic not in existing}
        if not missing:
            return
        with self._file.writing() as connection:
            # Another process may have made one of them with another number of partitions.
            existing_now = self._catalogue.all(connection)
            connection.executemany(
                "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                [
                    (topic, partition)
                    for topic, partitions in missing.items()
                    if topic not in existing_now
                    for partition in range(partitions)
                ],
            )

    def topics(self) -> dict[str, int]:
        """All topics and their number of partitions."""
        with self._file.reading() as connection:
            return {topic: len(ids) for topic, ids in self._catalogue.all(connection).items()}

    def append(
        self, messages: Sequence[Message], *, source: str | None = None, position: int = 0
    ) -> bool:
        """Publish messages atomically; see `streaming.log.Log.append`."""
        with self._file.writing() as connection:
            if source is not None:
                row = connection.execute(
                    "SELECT position FROM sources WHERE source = ?", (source,)
                ).fetchone()
                if row is not None and position <= row[0]:
                    return False
                connection.execute(
                    "INSERT OR REPLACE INTO sources (source, position) VALUES (?, ?)",
                    (source, position),
                )
            now_ms = self._clock.now_ms()
            publish(connection, self._catalogue, messages, now_ms)
            self._retention.sweep(connection, now_ms)
        return True

    def position(self, source: str) -> int | None:
        """The highest position published under `source`, or None."""
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT position FROM sources WHERE source = ?", (source,)
            ).fetchone()
        return None if row is None else int(row[0])

    def ends(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Offset that the next record of each partition will get."""
        with self._file.reading() as connection:
            ids = self._catalogue.ids(connection, topics)
            ends = dict(connection.execute("SELECT partition_id, next_offset FROM partitions"))
        return {partition: ends[partition_id] for partition, partition_id in ids.items()}

    def offsets_at(self, topics: Iterable[str], time_ms: int) -> dict[TopicPartition, int]:
        """Offset of the first record that each partition took at `time_ms` or later, or its end."""
        wanted = list(topics)
        with self._file.reading() as connection:
            ids = self._catalogue.ids(connection, wanted)
            first = {p: first_since(connection, i, time_ms) for p, i in ids.items()}
        found = {p: at for p, at in first.items() if at is not None}
        return {**self.ends(wanted), **found}

    def reader(
        self, topics: Iterable[str], start: Offsets | Literal["beginning", "end"]
    ) -> EmbeddedReader:
        """A reader of whole topics. Partitions missing from `start` begin at the beginning."""
        wanted = list(topics)
        if start == "end":
            start = self.ends(wanted)
        return EmbeddedReader(self._file, self._catalogue, wanted, start)

    def consumer(self, group: str, topics: Iterable[str]) -> EmbeddedConsumer:
        """A member of `group`, starting where the group stopped, or at the beginning."""
        return EmbeddedConsumer(
            self._file,
            self._catalogue,
            self._clock,
            group,
            topics,
            self._session_timeout_ms,
            self._retention,
        )

    def start_group(self, group: str, offsets: Offsets) -> bool:
        """Have a group begin at `offsets`; False, and nothing done, if it stands somewhere."""
        with self._file.writing() as connection:
            if groups.group_offsets(connection, group):
                return False
            ids = self._catalogue.ids(connection, {p.topic for p in offsets})
            groups.store_offsets(connection, group, {ids[p]: at for p, at in offsets.items()})
        return True

    def committed(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Where a group stands; partitions never committed are missing."""
        with self._file.reading() as connection:
            ids = self._catalogue.ids(connection, topics)
            offsets = groups.group_offsets(connection, group)
            # What was forgotten unread is done with: nobody can do it any more.
            return {
                p: max(offsets[i], first_kept(connection, i))
                for p, i in ids.items()
                if i in offsets
            }

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        self._file.close()
