"""What goes onto a log and what comes off it: bytes with a key and headers."""

from typing import NamedTuple

import msgspec

__all__ = ["Headers", "Message", "Record", "TopicPartition"]

Headers = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Message(msgspec.Struct, frozen=True):
    """What a producer hands to the log.

    Attributes:
        topic: where it goes; the log picks the partition from `key`.
        key: records of one key stay in order.
        value: the encoded event.
        headers: CloudEvents attributes (binary content mode).
    """

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()


class Record(msgspec.Struct, frozen=True):
    """What a consumer gets from the log.

    Attributes:
        timestamp_ms: when the log took it, by the machine's clock.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes
    headers: Headers = ()

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition it came from."""
        return TopicPartition(self.topic, self.partition)
