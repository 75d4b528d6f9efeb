"""A member of a consumer group of the embedded log."""

import sqlite3
import uuid
from collections.abc import Iterable, Sequence

from contracts.clock import Clock
from contracts.errors import FencedError
from contracts.records import Message, Record, TopicPartition
from streaming.deadline import Deadline
from streaming.embedded import groups
from streaming.embedded.file import LogFile
from streaming.embedded.records import Catalogue, fetch, publish
from streaming.embedded.retention import Retention
from streaming.in_flight import InFlight
from streaming.liveness import process_name
from streaming.log import Offsets

__all__ = ["EmbeddedConsumer"]

# How often a member looks whether others died; each look is one small query.
_LOOK_AFTER_OTHERS_MS = 500


class EmbeddedConsumer:
    """A `Consumer` of the embedded log. Used by one thread at a time.

    It joins its group with its first poll. Polling and committing show that it is alive; a member
    that does neither for the session timeout loses its partitions as soon as another member looks.
    """

    def __init__(
        self,
        file: LogFile,
        catalogue: Catalogue,
        clock: Clock,
        group: str,
        topics: Iterable[str],
        session_timeout_ms: int,
        retention: Retention,
    ) -> None:
        self._file = file
        self._catalogue = catalogue
        self._clock = clock
        self._group = group
        self._topics = frozenset(topics)
        self._session_timeout_ms = session_timeout_ms
        self._retention = retention

        self._member = ""
        self._generation = -1
        self._ids: dict[TopicPartition, int] = {}
        self._since: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._in_flight = InFlight()
        self._turn = 0
        self._seen_ms = 0
        self._looked_ms = 0
        self._closed = False

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to `max_records` records from the assigned partitions."""
        deadline = Deadline(timeout_s)
        while True:
            version = self._file.version()
            self._stay_in_group()
            with self._file.reading() as connection:
                if groups.generation(connection, self._group) != self._generation:
                    self._take_assignment(connection)
                order = [p for p in self._positions if p not in self._in_flight.stale]
                # Every partition has its turn to be first, so that a busy one starves no other.
                turn = self._turn = (self._turn + 1) % len(order) if order else 0
                order = order[turn:] + order[:turn]
                records = fetch(connection, self._ids, order, self._positions, max_records)
            if records:
                for record in records:
                    at = TopicPartition(record.topic, record.partition)
                    self._positions[at] = record.offset + 1
                self._in_flight.polled(records)
                return records
            # A dead member makes no change in the file: wake up to look for one.
            look = min(deadline.left_s(), _LOOK_AFTER_OTHERS_MS / 1000)
            if not self._file.wait_for_change(version, Deadline(look)) and deadline.passed:
                return []

    def keep_alive(self) -> None:
        """Show that this member is alive; see `streaming.log.Consumer`."""
        self._stay_in_group()

    def commit(self, outputs: Sequence[Message], offsets: Offsets) -> None:
        """Publish `outputs` and advance the group to `offsets`, atomically.

        Raises:
            FencedError: a partition in `offsets` is no longer ours. Nothing was written.
        """
        # 1. Nothing that was polled before its partition went away.
        self._in_flight.check(offsets)
        now_ms = self._clock.now_ms()
        with self._file.writing() as connection:
            # 2. Every partition is ours, and has been since we polled it.
            owners = groups.assignments(connection, self._group)
            for partition in offsets:
                mine = groups.Assignment(self._member, self._since.get(partition, -1))
                if owners.get(self._ids.get(partition, -1)) != mine:
                    raise FencedError(
                        f"{partition.topic}[{partition.partition}] is no longer assigned to this"
                        f" member of group {self._group!r}; rewind and go on"
                    )
            # 3. Outputs, 4. offsets, in one transaction.
            publish(connection, self._catalogue, outputs, now_ms)
            groups.store_offsets(
                connection, self._group, {self._ids[p]: offset for p, offset in offsets.items()}
            )
            groups.keep_alive(connection, self._member, now_ms)
            self._retention.sweep(connection, now_ms)
        self._seen_ms = now_ms
        self._in_flight.committed(offsets)

    def rewind(self) -> None:
        """Forget what was polled and not committed; `poll` gives it again."""
        self._in_flight.forget()
        with self._file.reading() as connection:
            committed = groups.group_offsets(connection, self._group)
        for partition in self._positions:
            self._positions[partition] = committed.get(self._ids[partition], 0)

    def lag(self) -> int:
        """Records in the assigned partitions that are not committed yet."""
        self._stay_in_group()
        with self._file.reading() as connection:
            if groups.generation(connection, self._group) != self._generation:
                self._take_assignment(connection)
            ends = dict(connection.execute("SELECT partition_id, next_offset FROM partitions"))
            committed = groups.group_offsets(connection, self._group)
        ids = [self._ids[partition] for partition in self._positions]
        return sum(ends[i] - committed.get(i, 0) for i in ids)

    def close(self) -> None:
        """Leave the group. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._member:
            with self._file.writing() as connection:
                groups.remove(connection, self._catalogue, self._group, [self._member])

    def _stay_in_group(self) -> None:
        """Join if we are not a member (any more), show that we live, remove the dead."""
        now_ms = self._clock.now_ms()
        # A clock that was set back must not stop it for as long.
        if self._member and 0 <= now_ms - self._looked_ms < _LOOK_AFTER_OTHERS_MS:
            return
        self._looked_ms = now_ms
        with self._file.reading() as connection:
            joined = groups.is_member(connection, self._member)
            dead = groups.dead_members(connection, self._group, now_ms, self._session_timeout_ms)
            ids = self._catalogue.ids(connection, self._topics)
        tired = abs(now_ms - self._seen_ms) > self._session_timeout_ms // 3
        new_topics = len(ids) != len(self._ids)
        if joined and not dead and not tired and not new_topics:
            return
        with self._file.writing() as connection:
            self._ids = self._catalogue.ids(connection, self._topics)
            # Looking again inside the transaction: another member may have done it already. We
            # are alive, whatever the clock says about our last sign of it.
            dead = [
                member
                for member in groups.dead_members(
                    connection, self._group, now_ms, self._session_timeout_ms
                )
                if member != self._member
            ]
            if dead:
                groups.remove(connection, self._catalogue, self._group, dead)
            if not groups.is_member(connection, self._member) or new_topics:
                self._member = self._member if joined else uuid.uuid4().hex
                groups.join(
                    connection,
                    self._catalogue,
                    self._group,
                    self._member,
                    self._topics,
                    process_name(),
                    now_ms,
                )
            groups.keep_alive(connection, self._member, now_ms)
        self._seen_ms = now_ms

    def _take_assignment(self, connection: sqlite3.Connection) -> None:
        """See which partitions are ours now; what we keep goes on where it was."""
        self._generation = groups.generation(connection, self._group)
        owners = groups.assignments(connection, self._group)
        committed = groups.group_offsets(connection, self._group)
        since = {
            partition: owners[partition_id].since_generation
            for partition, partition_id in self._ids.items()
            if partition_id in owners and owners[partition_id].member == self._member
        }
        kept = {p for p, generation in since.items() if self._since.get(p) == generation}
        self._in_flight.revoked(set(self._since) - kept)
        self._positions = {
            p: self._positions[p] if p in kept else committed.get(self._ids[p], 0) for p in since
        }
        self._since = since
