"""Reading topics of a Kafka cluster without a group."""

import time
from collections.abc import Collection, Iterable
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from contracts.records import Record, TopicPartition
from streaming.kafka.consumer import as_record
from streaming.kafka.failures import kafka_failures
from streaming.kafka.settings import CALL_LIMIT_S, consumer_settings
from streaming.log import Offsets

__all__ = ["KafkaReader"]

# How often to look for topics that did not exist yet.
_LOOK_AGAIN_S = 5.0


class KafkaReader:
    """A `Reader` on Kafka. Used by one thread at a time; connects when first used."""

    def __init__(self, brokers: str, topics: Iterable[str], start: Offsets) -> None:
        self._brokers = brokers
        self._topics = frozenset(topics)
        self._start = dict(start)
        self._consumer: Any = None
        self._assigned: dict[TopicPartition, Any] = {}
        self._missing = set(self._topics)
        self._look_at = 0.0

    def poll(
        self,
        max_records: int,
        timeout_s: float,
        *,
        only: Collection[TopicPartition] | None = None,
    ) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout_s` for the first."""
        with kafka_failures(self._brokers):
            consumer = self._ready()
            wanted = {k for p, k in self._assigned.items() if only is None or p in only}
            paused = set(consumer.paused())
            if resume := paused & wanted:
                consumer.resume(*resume)
            if pause := set(self._assigned.values()) - wanted - paused:
                consumer.pause(*pause)
            found = consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        return [as_record(record) for batch in found.values() for record in batch]

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to be returned by `poll`, per partition."""
        with kafka_failures(self._brokers):
            consumer = self._ready()
            found: dict[TopicPartition, int] = {}
            for ours, theirs in self._assigned.items():
                position = consumer.position(theirs, timeout_ms=int(CALL_LIMIT_S * 1000))
                found[ours] = self._start.get(ours, 0) if position is None else position
        return found

    def close(self) -> None:
        """Let go of the connection. May be called twice."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with kafka_failures(self._brokers):
                consumer.close(autocommit=False)

    def _ready(self) -> Any:
        """The client, with all partitions assigned that exist."""
        if self._consumer is None:
            self._consumer = KafkaConsumer(**consumer_settings(self._brokers, None))
        if self._missing and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_AGAIN_S
            self._assign_new(self._consumer)
        return self._consumer

    def _assign_new(self, consumer: Any) -> None:
        new = [
            TopicPartition(topic, number)
            for topic in sorted(self._missing)
            for number in sorted(consumer.partitions_for_topic(topic))
        ]
        if not new:
            return
        # `assign` forgets positions, so those of the partitions we have are set again.
        at = {ours: consumer.position(theirs) for ours, theirs in self._assigned.items()}
        for partition in new:
            self._assigned[partition] = KafkaPartition(*partition)
            self._missing.discard(partition.topic)
        consumer.assign(list(self._assigned.values()))
        for ours, theirs in self._assigned.items():
            offset = at.get(ours, self._start.get(ours))
            if offset is None:
                consumer.seek_to_beginning(theirs)
            else:
                consumer.seek(theirs, offset)
