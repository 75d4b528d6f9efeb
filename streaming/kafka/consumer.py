"""A member of a Kafka consumer group that commits outputs and offsets in one transaction."""

import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from kafka import AsyncConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from contracts.records import Message, Record, TopicPartition
from streaming.in_flight import InFlight
from streaming.kafka.failures import FENCED, kafka_failures
from streaming.kafka.producer import TransactionalProducer, as_kafka
from streaming.kafka.settings import CALL_LIMIT_S, consumer_settings
from streaming.log import Offsets

__all__ = ["KafkaMember", "as_record"]

# A poll that does not wait at all does not get a rebalance done either: a member that is always
# busy would hold up its group for ever. With records at hand a poll returns at once anyway.
_SHORTEST_POLL_MS = 20


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


class _Revocations(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what was taken away. It runs on the client's I/O loop and must not do more there."""

    def __init__(self) -> None:
        self.revoked: deque[TopicPartition] = deque()

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self.revoked.extend(TopicPartition(p.topic, p.partition) for p in revoked)

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """New partitions begin where the group committed, by themselves."""


class KafkaMember:
    """A `Consumer` on Kafka. Used by one thread at a time; connects with its first poll."""

    def __init__(self, brokers: str, group: str, topics: Iterable[str], compression: str) -> None:
        self._brokers = brokers
        self._group = group
        self._topics = sorted(set(topics))
        # One id a member: the broker fences members by their group's generation (KIP-447).
        self._producer = TransactionalProducer(
            brokers, f"fabpilot.{group}.{uuid.uuid4().hex}", compression
        )
        self._consumer: Any = None
        self._listener = _Revocations()
        self._in_flight = InFlight()
        self._committed: dict[Any, int] = {}

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to `max_records` records from the assigned partitions."""
        with kafka_failures(self._brokers):
            wait_ms = max(_SHORTEST_POLL_MS, int(timeout_s * 1000))
            found = self._joined().poll(timeout_ms=wait_ms, max_records=max_records)
            self._note_revocations()
            # Partitions that came back while older records of theirs are in hand wait for `rewind`.
            stale = self._in_flight.stale
            records = [
                as_record(record)
                for partition, batch in found.items()
                if TopicPartition(*partition) not in stale
                for record in batch
            ]
            self._in_flight.polled(records)
            if not records and not self._in_flight:
                self._pass_markers()
        return records

    def commit(self, outputs: Sequence[Message], offsets: Offsets) -> None:
        """Publish `outputs` and advance the group to `offsets`, in one transaction.

        Raises:
            FencedError: a partition in `offsets` is no longer ours. Nothing was written.
        """
        with kafka_failures(self._brokers):
            consumer = self._joined()
            # 1. Nothing that was polled before its partition went away.
            self._note_revocations()
            self._in_flight.check(offsets)
            # 2. Outputs and offsets; the broker compares our generation with the group's.
            self._producer.publish(outputs, offsets, consumer.group_metadata())
        self._in_flight.committed(offsets)

    def rewind(self) -> None:
        """Forget what was polled and not committed; `poll` gives it again."""
        self._in_flight.forget()
        with kafka_failures(self._brokers):
            consumer = self._joined()
            for partition in consumer.assignment() or ():
                committed = consumer.committed(partition, timeout_ms=int(CALL_LIMIT_S * 1000))
                if committed is None:
                    consumer.seek_to_beginning(partition)
                else:
                    consumer.seek(partition, committed)

    def lag(self) -> int:
        """Records in the assigned partitions that are not committed yet; an upper bound.

        Kafka counts the markers of transactions as records.
        """
        with kafka_failures(self._brokers):
            consumer = self._joined()
            partitions = list(consumer.assignment() or ())
            if not partitions:
                return 0
            begins = consumer.beginning_offsets(partitions)
            lag = 0
            for partition, end in consumer.end_offsets(partitions).items():
                committed = consumer.committed(partition, timeout_ms=int(CALL_LIMIT_S * 1000))
                lag += end - (begins[partition] if committed is None else committed)
            return lag

    def close(self) -> None:
        """Leave the group. May be called twice."""
        consumer, self._consumer = self._consumer, None
        try:
            if consumer is not None:
                with kafka_failures(self._brokers):
                    consumer.close(autocommit=False)
        finally:
            self._producer.close()

    def _joined(self) -> Any:
        if self._consumer is None:
            # The producer first: were it slow to start, we would miss our place in the group.
            self._producer.start()
            consumer = KafkaConsumer(
                **consumer_settings(self._brokers, self._group),
                # Not the cooperative one: in kafka-python 3.0.12, seen on Kafka 4.1, a member's
                # partitions that stay with it over a cooperative rebalance deliver no more records.
                # This one takes all partitions away and gives back most of them.
                partition_assignment_strategy=(StickyPartitionAssignor,),
            )
            consumer.subscribe(topics=self._topics, listener=self._listener)
            self._consumer = consumer
        return self._consumer

    def _note_revocations(self) -> None:
        while self._listener.revoked:
            partition = self._listener.revoked.popleft()
            self._in_flight.revoked([partition])
            self._committed.pop(tuple(partition), None)

    def _pass_markers(self) -> None:
        """Commit positions that lie past the last record, so that a group at the end is seen so.

        The end of a partition lies behind the marker of its last transaction, or behind records
        that retention removed; there is no record whose commit would bring the group there.
        """
        passed: dict[TopicPartition, int] = {}
        for partition in self._consumer.assignment() or ():
            position = self._consumer.position(partition, timeout_ms=1000)
            if position is not None and self._committed.get(partition) != position:
                passed[TopicPartition(*partition)] = position
        if passed:
            # During a rebalance it is refused; the next idle poll does it.
            with suppress(*FENCED):
                self._consumer.commit(as_kafka(passed), timeout_ms=int(CALL_LIMIT_S * 1000))
                self._committed.update({tuple(p): offset for p, offset in passed.items()})
