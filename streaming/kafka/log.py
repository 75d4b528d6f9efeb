"""The log on Kafka: topics, appends, and the making of readers and members."""

import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from kafka import IsolationLevel, KafkaAdminClient, OffsetSpec
from kafka import TopicPartition as KafkaPartition
from kafka.errors import GroupIdNotFoundError, TopicAlreadyExistsError

from contracts.errors import ConfigError, FencedError, LogError
from contracts.records import Message, TopicPartition
from contracts.topics import STREAM_SPECS, parse_topic
from streaming.kafka.consumer import KafkaMember
from streaming.kafka.failures import kafka_failures
from streaming.kafka.producer import TransactionalProducer
from streaming.kafka.reader import KafkaReader
from streaming.kafka.settings import MAX_MESSAGE_BYTES, admin_settings
from streaming.log import Offsets

__all__ = ["KafkaLog"]

_MS_PER_HOUR = 3_600_000


def _topic_configs(topic: str) -> dict[str, str]:
    """Settings of a topic of ours; others get only room for our records."""
    configs = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
    try:
        _, stream = parse_topic(topic)
    except ConfigError:
        return configs
    hours = STREAM_SPECS[stream].retention_h
    return {**configs, "retention.ms": str(hours * _MS_PER_HOUR if hours else -1)}


def _source_group(source: str) -> str:
    """The group whose committed offset is a source's position, and its transactional id."""
    return f"fabpilot.source.{source}"


class KafkaLog:
    """A `Log` on an Apache Kafka cluster.

    A source's position is the committed offset of a group named after it, on partition 0 of the
    first topic of each append, committed in the same transaction as the messages. Brokers forget
    groups that commit nothing for `offsets.retention.minutes` (7 days by default).

    Args:
        brokers: host:port, comma-separated.
        compression: of what is published: lz4 costs little, zstd saves more.
    """

    def __init__(self, brokers: str, *, compression: Literal["lz4", "zstd"] = "lz4") -> None:
        self._brokers = brokers
        self._compression = compression
        self._admin_client: Any = None
        self._lock = threading.Lock()
        self._known_topics: frozenset[str] = frozenset()
        # Positions we published ourselves, by source.
        self._positions: dict[str, int] = {}
        # By source; '' is for appends without one.
        self._producers: dict[str, TransactionalProducer] = {}

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Make the topics that are missing; name to number of partitions."""
        existing = self.topics()
        for topic, partitions in topics.items():
            if topic in existing:
                continue
            wanted = {"num_partitions": partitions, "configs": _topic_configs(topic)}
            with kafka_failures(self._brokers):
                try:
                    self._admin().create_topics({topic: wanted}, wait_for_metadata=True)
                except TopicAlreadyExistsError:
                    continue  # somebody was quicker

    def topics(self) -> dict[str, int]:
        """All topics and their number of partitions, Kafka's own left out."""
        with kafka_failures(self._brokers):
            described = self._admin().describe_topics()
        return {
            topic["name"]: len(topic["partitions"])
            for topic in described
            if not topic["name"].startswith("__")
        }

    def append(
        self, messages: Sequence[Message], *, source: str | None = None, position: int = 0
    ) -> bool:
        """Publish messages atomically; see `streaming.log.Log.append`."""
        self._check_topics({message.topic for message in messages})
        if source is None:
            if messages:
                self._producer("").publish(messages)
            return True
        try:
            return self._append_once(messages, source, position)
        except FencedError:
            # Another process published for this source since we last did, and holds its
            # transactional id. Take it over, which ends what that process may have begun, and look
            # again at the position.
            return self._append_once(messages, source, position)

    def _check_topics(self, wanted: set[str]) -> None:
        """See that topics exist; the client would look for a missing one until it times out."""
        if missing := wanted - self._known_topics:
            self._known_topics = frozenset(self.topics())
            if missing := wanted - self._known_topics:
                raise LogError(f"there are no topics {sorted(missing)} on Kafka; create them first")

    def _append_once(self, messages: Sequence[Message], source: str, position: int) -> bool:
        # 1. Nobody else publishes for this source from here on without fencing us, so the position
        #    we see is the one that counts.
        published = self.position(source)
        if published is not None and position <= published:
            return False
        # 2. Messages and position together.
        if messages:
            place = {TopicPartition(messages[0].topic, 0): position}
            self._producer(source).publish(messages, place, _source_group(source))
            self._positions[source] = position
        return True

    def position(self, source: str) -> int | None:
        """The highest position published under `source`, or None.

        Asking takes the source over: it ends what an earlier holder may have begun, so that the
        answer is certain. Offsets of a transaction are visible only some time after its commit.
        """
        self._producer(source).start()
        stored = max(self._group_offsets(_source_group(source)).values(), default=None)
        ours = self._positions.get(source)
        return max((p for p in (stored, ours) if p is not None), default=None)

    def ends(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Offset that the next record of each partition will get, as committed readers see it."""
        counts = self.topics()
        wanted = {
            KafkaPartition(topic, number): OffsetSpec.LATEST
            for topic in set(topics)
            for number in range(counts.get(topic, 0))
        }
        if not wanted:
            return {}
        with kafka_failures(self._brokers):
            found = self._admin().list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED)
        return {TopicPartition(*partition): at.offset for partition, at in found.items()}

    def reader(
        self, topics: Iterable[str], start: Offsets | Literal["beginning", "end"]
    ) -> KafkaReader:
        """A reader of whole topics. Partitions missing from `start` begin at the beginning."""
        wanted = list(topics)
        if isinstance(start, str):
            start = self.ends(wanted) if start == "end" else {}
        return KafkaReader(self._brokers, wanted, start)

    def consumer(self, group: str, topics: Iterable[str]) -> KafkaMember:
        """A member of `group`, starting where the group stopped, or at the beginning."""
        return KafkaMember(self._brokers, group, topics, self._compression)

    def committed(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Where a group stands; partitions never committed are missing."""
        wanted = set(topics)
        return {p: at for p, at in self._group_offsets(group).items() if p.topic in wanted}

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        with self._lock:
            producers = list(self._producers.values())
            self._producers.clear()
            admin, self._admin_client = self._admin_client, None
        for producer in producers:
            producer.close()
        if admin is not None:
            admin.close()

    def _group_offsets(self, group: str) -> dict[TopicPartition, int]:
        with kafka_failures(self._brokers):
            try:
                found = self._admin().list_group_offsets({group: None})
            except GroupIdNotFoundError:
                return {}
        return {
            TopicPartition(*partition): at.offset
            for partition, at in found.get(group, {}).items()
            if at.offset >= 0
        }

    def _producer(self, source: str) -> TransactionalProducer:
        with self._lock:
            if source not in self._producers:
                name = _source_group(source) if source else f"fabpilot.append.{uuid.uuid4().hex}"
                self._producers[source] = TransactionalProducer(
                    self._brokers, name, self._compression
                )
            return self._producers[source]

    def _admin(self) -> Any:
        with self._lock:
            if self._admin_client is None:
                self._admin_client = KafkaAdminClient(**admin_settings(self._brokers))
            return self._admin_client
