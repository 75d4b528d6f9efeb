"""The log on Kafka: topics, appends, and the making of readers and members."""

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar

from kafka import IsolationLevel, KafkaAdminClient, OffsetSpec
from kafka import TopicPartition as KafkaPartition
from kafka.errors import (
    GroupIdNotFoundError,
    NoError,
    RetriableError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from contracts.errors import ConfigError, FencedError, LogAccessError, LogError
from contracts.records import Message, TopicPartition
from contracts.topics import MAX_RECORD_BYTES, STREAM_SPECS, StreamSpec, parse_topic
from streaming.kafka.access import check_access
from streaming.kafka.connecting import connected
from streaming.kafka.consumer import KafkaMember
from streaming.kafka.failures import kafka_failures, retried
from streaming.kafka.producer import TransactionalProducer, as_kafka
from streaming.kafka.reader import KafkaReader
from streaming.kafka.settings import Cluster, admin_settings, room_for
from streaming.log import Offsets

__all__ = ["KafkaLog"]

T = TypeVar("T")

_MS_PER_HOUR = 3_600_000


# A topic that is not of the table, such as a test's.
_OTHER = StreamSpec(1, retention_h=0, record_bytes=MAX_RECORD_BYTES)


def _topic_configs(topic: str) -> dict[str, str]:
    """How the cluster shall keep a topic (contracts.topics.STREAM_SPECS)."""
    try:
        _, stream = parse_topic(topic)
        spec = STREAM_SPECS[stream]
    except ConfigError:
        spec = _OTHER
    configs = {
        "max.message.bytes": str(room_for(spec.record_bytes)),
        "compression.type": spec.compression,
    }
    if spec.compacted:
        # Only what is older than the retention is compacted: readers that are behind by less see
        # every change.
        lag_ms = str(spec.retention_h * _MS_PER_HOUR)
        return {**configs, "cleanup.policy": "compact", "min.compaction.lag.ms": lag_ms}
    retention_ms = spec.retention_h * _MS_PER_HOUR if spec.retention_h else -1
    return {**configs, "cleanup.policy": "delete", "retention.ms": str(retention_ms)}


def _make_topic(topic: str, wanted: Mapping[str, Any], admin: Any) -> None:
    admin.create_topics({topic: wanted}, wait_for_metadata=True)


def _source_group(source: str) -> str:
    """The group whose committed offset is a source's position, and its transactional id."""
    return f"fabpilot.source.{source}"


class KafkaLog:
    """A `Log` on an Apache Kafka cluster.

    A source's position is the committed offset of a group named after it, on partition 0 of the
    first topic of each append, committed in the same transaction as the messages. Brokers forget
    groups that commit nothing for `offsets.retention.minutes` (7 days by default).

    Args:
        cluster: where it is and how to reach it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._admin_client: Any = None
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._known_topics: frozenset[str] = frozenset()
        # Positions we published ourselves, by source.
        self._positions: dict[str, int] = {}
        # By source; '' is for appends without one.
        self._producers: dict[str, TransactionalProducer] = {}

    @property
    def cluster(self) -> Cluster:
        """Where it is and how to reach it."""
        return self._cluster

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Make the topics that are missing; name to number of partitions."""
        existing = self.topics()
        for topic, partitions in topics.items():
            if topic in existing:
                continue
            wanted = {"num_partitions": partitions, "configs": _topic_configs(topic)}
            # Somebody may be quicker.
            with (
                kafka_failures(self._cluster.brokers, f"making topic {topic}"),
                suppress(TopicAlreadyExistsError),
            ):
                self._ask(partial(_make_topic, topic, wanted))

    def topics(self) -> dict[str, int]:
        """All topics and their number of partitions, Kafka's own left out."""
        with kafka_failures(self._cluster.brokers):
            described = self._ask(lambda admin: admin.describe_topics())
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
            self._known_topics |= frozenset(self._partitions(missing))
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
        return self._offsets(topics, OffsetSpec.LATEST)

    def offsets_at(self, topics: Iterable[str], time_ms: int) -> dict[TopicPartition, int]:
        """Offset of the first record that each partition took at `time_ms` or later, or its end."""
        wanted = list(topics)
        found = self._offsets(wanted, time_ms)
        # Kafka says -1 where there is no such record.
        ends = self.ends(wanted)
        return {p: found[p] if found.get(p, -1) >= 0 else end for p, end in ends.items()}

    def reader(
        self, topics: Iterable[str], start: Offsets | Literal["beginning", "end"]
    ) -> KafkaReader:
        """A reader of whole topics. Partitions missing from `start` begin at the beginning."""
        wanted = list(topics)
        if isinstance(start, str):
            start = self.ends(wanted) if start == "end" else {}
        return KafkaReader(self._cluster, wanted, start, self._partitions)

    def consumer(self, group: str, topics: Iterable[str]) -> KafkaMember:
        """A member of `group`, starting where the group stopped, or at the beginning."""
        return KafkaMember(self._cluster, group, topics, self._partitions)

    def committed(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Where a group stands; partitions never committed are missing."""
        wanted = set(topics)
        return {p: at for p, at in self._group_offsets(group).items() if p.topic in wanted}

    def start_group(self, group: str, offsets: Offsets) -> bool:
        """Have a group begin at `offsets`; False, and nothing done, if it stands somewhere."""
        if any(self._group_offsets(group).values()):
            return False
        with kafka_failures(self._cluster.brokers):
            answers = self._ask(lambda admin: admin.alter_group_offsets(group, as_kafka(offsets)))
            for error in answers.values():
                if error is not NoError:
                    raise error(group)
        return True

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        with self._lock:
            producers = list(self._producers.values())
            self._producers.clear()
        for producer in producers:
            producer.close()
        with self._asking:
            self._let_admin_go()

    def _partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """The number of partitions of those of `topics` that exist.

        Raises:
            LogAccessError: we may not see one. When all topics are asked for, the cluster leaves
                such a topic out, as if it did not exist.
        """
        wanted = sorted(set(topics))
        if not wanted:
            return {}
        with kafka_failures(self._cluster.brokers):
            described = self._ask(lambda admin: admin.describe_topics(wanted))
        forbidden = TopicAuthorizationFailedError.errno
        if hidden := [t["name"] for t in described if t["error_code"] == forbidden]:
            raise LogAccessError(
                f"Kafka at {self._cluster.brokers} lets this user see no topic"
                f" {', '.join(hidden)}; give the user the right Describe on it (docs/streaming.md,"
                " 'Access'), or create it first"
            )
        return {t["name"]: len(t["partitions"]) for t in described if t["partitions"]}

    def _offsets(self, topics: Iterable[str], spec: Any) -> dict[TopicPartition, int]:
        wanted = {
            KafkaPartition(topic, number): spec
            for topic, count in self._partitions(topics).items()
            for number in range(count)
        }
        if not wanted:
            return {}
        with kafka_failures(self._cluster.brokers):
            found = self._ask(
                lambda admin: admin.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED)
            )
        return {TopicPartition(*partition): at.offset for partition, at in found.items()}

    def _group_offsets(self, group: str) -> dict[TopicPartition, int]:
        with kafka_failures(self._cluster.brokers):
            try:
                found = self._ask(lambda admin: admin.list_group_offsets({group: None}))
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
                self._producers[source] = TransactionalProducer(self._cluster, name)
            return self._producers[source]

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Ask the cluster, again if it is busy with itself, for a limited time."""
        return retried(
            lambda: self._ask_once(question), self._cluster.call_limit_s, self._cluster.stop
        )

    def _ask_once(self, question: Callable[[Any], T]) -> T:
        # One at a time, so that nobody's client is closed under them.
        with self._asking:
            try:
                return question(self._admin())
            except RetriableError:
                # Up to kafka-python 3.0.12 an admin client remembers for ever which broker
                # coordinates a group; when that has moved, only a new client finds it.
                self._let_admin_go()
                raise

    def _admin(self) -> Any:
        if self._admin_client is None:
            check_access(self._cluster)
            self._admin_client = connected(KafkaAdminClient, admin_settings(self._cluster))
        return self._admin_client

    def _let_admin_go(self) -> None:
        admin, self._admin_client = self._admin_client, None
        if admin is not None:
            admin.close()
