"""The log on Apache Kafka: idempotent, transactional, read committed. How this scales."""

from streaming.kafka.log import KafkaLog
from streaming.kafka.settings import Cluster

__all__ = ["Cluster", "KafkaLog"]
