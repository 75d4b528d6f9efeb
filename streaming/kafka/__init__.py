"""The log on Apache Kafka: idempotent, transactional, read committed. How this scales."""

from streaming.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
