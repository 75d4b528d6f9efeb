"""Reading topics of a Kafka cluster without a group."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from contracts.records import Record, TopicPartition
from streaming.deadline import Deadline
from streaming.kafka.access import check_access
from streaming.kafka.connecting import connected
from streaming.kafka.consumer import CLOSE_MS, as_record
from streaming.kafka.failures import kafka_failures
from streaming.kafka.settings import Cluster, consumer_settings
from streaming.log import Offsets

__all__ = ["KafkaReader"]

# How often to look for topics that did not exist yet.
_LOOK_AGAIN_S = 5.0
# Records of a partition kept for a caller who does not want them yet, before no more are fetched.
_MOST_HELD = 1000


class KafkaReader:
    """A `Reader` on Kafka. Used by one thread at a time; connects when first used.

    What `poll` is asked to leave aside is held here, a bounded number per partition. The client's
    own `pause` is not used: up to kafka-python 3.0.12 a partition that was paused with fetched
    records in hand may never deliver again after `resume` (its fetcher restores parked records only
    while its current slot is None, and a drained slot is not).

    Args:
        cluster: where it is and how to reach it.
        topics: to read; ones that do not exist yet are read once they do.
        start: next offset by partition; the others begin at the beginning.
        partitions: how many partitions those of some topics have that exist. The client itself
            takes a topic that we may not see for one that does not exist.
    """

    def __init__(
        self,
        cluster: Cluster,
        topics: Iterable[str],
        start: Offsets,
        partitions: Callable[[Iterable[str]], Mapping[str, int]],
    ) -> None:
        self._cluster = cluster
        self._partitions = partitions
        self._topics = frozenset(topics)
        self._start = dict(start)
        self._consumer: Any = None
        self._missing = set(self._topics)
        self._look_at = 0.0
        # All partitions, with what is held of each; those fetched from; next offset of all others.
        self._held: dict[TopicPartition, deque[Record]] = {}
        self._fetched: set[TopicPartition] = set()
        self._resting: dict[TopicPartition, int] = {}

    def poll(
        self,
        max_records: int,
        timeout_s: float,
        *,
        only: Collection[TopicPartition] | None = None,
    ) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout_s` for the first."""
        deadline = Deadline(timeout_s)
        with kafka_failures(self._cluster.brokers):
            while True:
                consumer = self._ready()
                taken = self._take(max_records, only)
                if taken:
                    return taken
                self._choose()
                timeout_ms = int(deadline.left_s() * 1000)
                found = consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
                for partition, batch in found.items():
                    self._held[TopicPartition(*partition)].extend(map(as_record, batch))
                if not found and deadline.passed:
                    return []

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to be returned by `poll`, per partition."""
        with kafka_failures(self._cluster.brokers):
            self._ready()
            return {
                partition: held[0].offset if held else self._position(partition)
                for partition, held in self._held.items()
            }

    def close(self) -> None:
        """Let go of the connection. May be called twice."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with kafka_failures(self._cluster.brokers):
                consumer.close(autocommit=False, timeout_ms=CLOSE_MS)

    def _take(self, max_records: int, only: Collection[TopicPartition] | None) -> list[Record]:
        taken: list[Record] = []
        for partition, held in self._held.items():
            if only is None or partition in only:
                while held and len(taken) < max_records:
                    taken.append(held.popleft())
        return taken

    def _position(self, partition: TopicPartition) -> int:
        """Next offset to be fetched."""
        if partition in self._resting:
            return self._resting[partition]
        position = self._consumer.position(
            KafkaPartition(*partition), timeout_ms=int(self._cluster.call_limit_s * 1000)
        )
        return self._start.get(partition, 0) if position is None else int(position)

    def _choose(self) -> None:
        """Fetch from the partitions of which not too much is held."""
        full = {p for p, held in self._held.items() if len(held) >= _MOST_HELD}
        rested = {p for p in self._resting if not self._held[p]}
        if full & self._fetched or rested:
            self._assign((self._fetched | rested) - full)

    def _assign(self, partitions: set[TopicPartition]) -> None:
        # `assign` forgets where the client was, so every position is set again.
        at = {p: self._position(p) for p in self._fetched | set(self._resting)}
        self._fetched = partitions
        self._resting = {p: offset for p, offset in at.items() if p not in partitions}
        self._consumer.assign([KafkaPartition(*p) for p in sorted(partitions)])
        for partition in partitions:
            offset = at.get(partition, self._start.get(partition))
            if offset is None:
                self._consumer.seek_to_beginning(KafkaPartition(*partition))
            else:
                self._consumer.seek(KafkaPartition(*partition), offset)

    def _ready(self) -> Any:
        """The client, with all partitions known that exist."""
        if self._consumer is None:
            check_access(self._cluster)
            self._consumer = connected(KafkaConsumer, consumer_settings(self._cluster, None))
        if self._missing and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_AGAIN_S
            new = {
                TopicPartition(topic, number)
                for topic, count in self._partitions(self._missing).items()
                for number in range(count)
            }
            if new:
                self._missing -= {p.topic for p in new}
                self._held.update({p: deque() for p in sorted(new)})
                self._assign(self._fetched | new)
        return self._consumer
