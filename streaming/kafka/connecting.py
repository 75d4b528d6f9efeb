"""Making Kafka's clients so that a failure to reach the cluster leaves nothing behind."""

from collections.abc import Mapping
from typing import Any

from kafka.net.compat import KafkaNetClient

__all__ = ["connected"]


def connected(kind: Any, settings: Mapping[str, Any], **more: Any) -> Any:
    """A client of Kafka, connected.

    Its constructor connects. Up to kafka-python 3.0.12, one that cannot leaves its thread and its
    sockets behind, and a process that waits out an outage would run out of them.

    Args:
        kind: a consumer, producer or admin client.
        settings: of it.
        more: settings.
    """
    nets: list[KafkaNetClient] = []

    def net(**configs: Any) -> KafkaNetClient:
        nets.append(KafkaNetClient(**configs))
        return nets[-1]

    try:
        return kind(**settings, **more, kafka_client=net)
    except BaseException:
        for one in nets:
            one.close()
        raise
