"""What kafka-python does with nothing of ours around it: the ceilings that benchmarks quote."""

from collections.abc import Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPartition

from contracts.records import Message
from streaming.kafka.settings import Cluster, consumer_settings, producer_settings
from streaming.log import Offsets

__all__ = ["BareProducer", "bare_consume", "bare_produce"]


def bare_consume(cluster: Cluster, start: Offsets, count: int) -> int:
    """Read `count` records from `start` on, read committed, and do nothing with them.

    Returns:
        How many records came; at least `count`.
    """
    consumer = KafkaConsumer(**consumer_settings(cluster, None))
    try:
        consumer.assign([KafkaPartition(*place) for place in start])
        for place, offset in start.items():
            consumer.seek(KafkaPartition(*place), offset)
        seen = 0
        while seen < count:
            seen += sum(map(len, consumer.poll(timeout_ms=5000).values()))
        return seen
    finally:
        consumer.close(autocommit=False)


class BareProducer:
    """An idempotent producer without transactions. Connects at once; used by one thread.

    Args:
        cluster: where to.
    """

    def __init__(self, cluster: Cluster) -> None:
        settings: dict[str, Any] = producer_settings(cluster, "")
        del settings["transactional_id"], settings["transaction_timeout_ms"]
        # Nothing commits here, so this is what each message waits for others.
        settings["linger_ms"] = 5
        self._producer = KafkaProducer(**settings)

    def send(self, message: Message) -> None:
        """Have a message sent soon."""
        self._producer.send(
            message.topic,
            value=message.value,
            key=message.key,
            headers=list(message.headers),
        )

    def close(self) -> None:
        """Wait until all is there, and let go."""
        self._producer.flush()
        self._producer.close()


def bare_produce(cluster: Cluster, messages: Sequence[Message]) -> None:
    """Send messages and wait until all are there."""
    producer = BareProducer(cluster)
    for message in messages:
        producer.send(message)
    producer.close()
