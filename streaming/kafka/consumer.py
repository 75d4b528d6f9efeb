"""A member of a Kafka consumer group that commits outputs and offsets in one transaction."""

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from kafka import AsyncConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from contracts.errors import FencedError
from contracts.records import Message, Record, TopicPartition
from streaming.deadline import Deadline
from streaming.in_flight import InFlight
from streaming.kafka.connecting import connected
from streaming.kafka.failures import PASSING, kafka_failures
from streaming.kafka.producer import TransactionalProducer, as_kafka
from streaming.kafka.settings import Cluster, consumer_settings
from streaming.log import Offsets

__all__ = ["CLOSE_MS", "KafkaMember", "as_record"]

# A poll that does not wait at all does not begin with a rebalance either: a member that is always
# busy would hold up its group for ever. With records at hand a poll returns at once anyway.
_SHORTEST_POLL_MS = 5
# How long to stay with a rebalance, in portions of so much. Up to kafka-python 3.0.12 a join that
# completes between two polls is thrown away and begun anew, which makes everybody else join again:
# members that poll briefly could go on like that for ever. So we stay until it is done, but not
# much longer than a stop may take.
_REBALANCE_S, _REBALANCE_POLL_MS = 2.0, 500
CLOSE_MS = 2000
# How often an idle member asks whether its place is still its own.
_ASK_EVERY_S = 5.0


def as_record(record: Any) -> Record:
    """Kafka's record as ours; what is null there is empty here."""
    return Record(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key or b"",
        record.value or b"",
        tuple((name, value or b"") for name, value in record.headers),
    )


class _Assignments(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what was taken away, and holds what comes while all is held.

    It runs on the client's I/O loop and must not do more there.
    """

    def __init__(self) -> None:
        self.revoked: deque[TopicPartition] = deque()
        self.held: Any = None

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self.revoked.extend(TopicPartition(p.topic, p.partition) for p in revoked)

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """New partitions begin where the group committed, by themselves."""
        if self.held is not None:
            self.held.pause(*assigned)


class KafkaMember:
    """A `Consumer` on Kafka. Used by one thread at a time; connects with its first poll.

    Rebalances are cooperative: partitions that stay with a member are not taken away, and what it
    has in hand of them can be committed over a rebalance.
    """

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        topics: Iterable[str],
        see: Callable[[Iterable[str]], object],
    ) -> None:
        self._cluster = cluster
        self._see = see
        self._group = group
        self._topics = sorted(set(topics))
        # The broker fences members by their group's generation (KIP-447), so the id needs not be
        # kept for safety. One that is kept lets a restart end what its predecessor left open.
        name = cluster.instance or uuid.uuid4().hex
        self._producer = TransactionalProducer(cluster, f"fabpilot.{group}.{name}")
        self._consumer: Any = None
        self._listener = _Assignments()
        self._in_flight = InFlight()
        self._early: list[Record] = []
        self._rewinding = False
        self._committed: dict[Any, int] = {}
        self._ask_at = 0.0

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to `max_records` records from the assigned partitions."""
        with kafka_failures(self._cluster.brokers):
            if self._listener.held is not None:
                self._listener.held = None
                self._consumer.resume(*self._consumer.paused())
            records = self._early or self._next(max_records, timeout_s)
            self._early = []
            if self._rewinding:
                # What came from where we were before comes again.
                records = []
                self._seek_back()
            # Partitions that came back while older records of theirs are in hand wait for `rewind`.
            stale = self._in_flight.stale
            records = [record for record in records if record.topic_partition not in stale]
            self._in_flight.polled(records)
            if not records and not self._in_flight and not self._rewinding:
                self._pass_markers()
        return records

    def keep_alive(self) -> None:
        """Stay in the group and take part in rebalances without taking records."""
        with kafka_failures(self._cluster.brokers):
            consumer = self._joined()
            # All or nothing: up to kafka-python 3.0.12, of several partitions that are paused apart
            # from others one may stay silent after it is resumed.
            self._listener.held = consumer
            consumer.pause(*consumer.assignment())
            self._early += self._next(1, 0.0)

    def commit(self, outputs: Sequence[Message], offsets: Offsets) -> None:
        """Publish `outputs` and advance the group to `offsets`, in one transaction.

        Raises:
            FencedError: a partition in `offsets` is no longer ours. Nothing was written.
        """
        # 1. A rebalance first, so that what stays with us is committed in the new generation.
        if not self._settled():
            self.keep_alive()
        with kafka_failures(self._cluster.brokers):
            # 2. Our place in the group as it is now. The client may have lost it between two polls;
            #    offsets that come from no member at all a broker takes from anybody.
            place = self._joined().group_metadata()
            if place.generation_id < 0:
                raise FencedError(f"this member is not in group {self._group} any more")
            # 3. Nothing that was polled before its partition went away.
            self._note_revocations()
            self._in_flight.check(offsets)
            # 4. Outputs and offsets; the broker compares our generation with the group's.
            self._producer.publish(outputs, offsets, place)
        self._in_flight.committed(offsets)

    def rewind(self) -> None:
        """Forget what was polled and not committed; `poll` gives it again."""
        self._in_flight.forget()
        self._early = []
        self._rewinding = True

    def lag(self) -> int:
        """Records in the assigned partitions that are not committed yet; an upper bound.

        Kafka counts the markers of transactions as records.
        """
        with kafka_failures(self._cluster.brokers):
            consumer = self._joined()
            partitions = list(consumer.assignment())
            if not partitions:
                return 0
            begins = consumer.beginning_offsets(partitions)
            lag = 0
            for partition, end in consumer.end_offsets(partitions).items():
                committed = consumer.committed(partition, timeout_ms=self._limit_ms)
                lag += end - (begins[partition] if committed is None else committed)
            return lag

    def close(self) -> None:
        """Leave the group. May be called twice."""
        consumer, self._consumer = self._consumer, None
        try:
            if consumer is not None:
                with kafka_failures(self._cluster.brokers):
                    consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
        finally:
            self._producer.close()

    @property
    def _limit_ms(self) -> int:
        return int(1000 * self._cluster.call_limit_s)

    def _joined(self) -> Any:
        if self._consumer is None:
            # A member that may not see its topics would wait for them for ever.
            self._see(self._topics)
            # The producer first: were it slow to start, we would miss our place in the group.
            self._producer.start()
            consumer = connected(
                KafkaConsumer,
                consumer_settings(self._cluster, self._group),
                partition_assignment_strategy=(CooperativeStickyAssignor,),
            )
            consumer.subscribe(topics=self._topics, listener=self._listener)
            self._consumer = consumer
        return self._consumer

    def _settled(self) -> bool:
        """Whether we are a member and no rebalance is going on, as far as we know."""
        return self._joined().group_metadata().state is MemberState.STABLE

    def _next(self, max_records: int, timeout_s: float) -> list[Record]:
        """Poll the client, and go on with a rebalance that has begun until it is over."""
        consumer = self._joined()
        deadline = Deadline(_REBALANCE_S)
        wait_ms = max(_SHORTEST_POLL_MS, int(timeout_s * 1000))
        while True:
            found = consumer.poll(timeout_ms=wait_ms, max_records=max_records)
            if self._rewinding:
                found = {}  # it comes again, from where we go back to once the group is settled
            if found or self._settled() or deadline.passed:
                break
            if wait_ms == _REBALANCE_POLL_MS:
                # Up to kafka-python 3.0.12 a rebalance that was begun because metadata changed is
                # forgotten half-way when it changes back: the member waits for ever, without a
                # heartbeat. One that is going on takes no notice of this.
                consumer._coordinator.request_rejoin()
            wait_ms = _REBALANCE_POLL_MS
        self._note_revocations()
        return [as_record(record) for batch in found.values() for record in batch]

    def _seek_back(self) -> None:
        """Go back to what is committed, once that can be asked.

        The broker answers nothing on a connection on which it holds a member's request to join.
        """
        if not self._settled():
            return
        for partition in self._consumer.assignment():
            committed = self._consumer.committed(partition, timeout_ms=self._limit_ms)
            if committed is None:
                self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek(partition, committed)
        self._rewinding = False

    def _note_revocations(self) -> None:
        while self._listener.revoked:
            partition = self._listener.revoked.popleft()
            self._in_flight.revoked([partition])
            self._committed.pop(tuple(partition), None)
            self._early = [r for r in self._early if r.topic_partition != partition]

    def _pass_markers(self) -> None:
        """Commit positions that lie past the last record, so that a group at the end is seen so.

        The end of a partition lies behind the marker of its last transaction, or behind records
        that retention removed; there is no record whose commit would bring the group there.

        From time to time positions are committed though they have not changed, to hear whether our
        place is still ours: up to kafka-python 3.0.12 a member that another one of its name has
        replaced just stops sending heartbeats, and an idle one would never know.
        """
        if not self._settled():
            return
        passed: dict[TopicPartition, int] = {}
        now = time.monotonic()
        ask = now >= self._ask_at
        for partition in self._consumer.assignment():
            position = self._consumer.position(partition, timeout_ms=1000)
            if position is not None and (ask or self._committed.get(partition) != position):
                passed[TopicPartition(*partition)] = position
        if passed:
            # During a rebalance it is refused; the next idle poll does it.
            with suppress(*PASSING):
                self._consumer.commit(as_kafka(passed), timeout_ms=self._limit_ms)
                self._committed.update({tuple(p): offset for p, offset in passed.items()})
                self._ask_at = now + _ASK_EVERY_S
