"""The log on Apache Kafka: idempotent, transactional, read committed. How this scales."""

from streaming.kafka.bare import BareProducer, bare_consume, bare_produce
from streaming.kafka.log import KafkaLog
from streaming.kafka.settings import Cluster

__all__ = ["BareProducer", "Cluster", "KafkaLog", "bare_consume", "bare_produce"]
