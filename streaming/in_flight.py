"""What a group member has polled and not committed, and which of it is no longer its own.

A partition can leave a member and come back between two of its polls, with somebody else having
processed records in between. What the member polled before must then never be committed, though
the partition is its own again. So revoked partitions with records in flight stay *stale* until the
member rewinds.
"""

from collections.abc import Iterable

from contracts.errors import FencedError
from contracts.records import Record, TopicPartition
from streaming.log import Offsets

__all__ = ["InFlight"]


class InFlight:
    """The records in flight of one group member."""

    def __init__(self) -> None:
        # Next offset after the last polled record, for partitions with uncommitted records.
        self._polled: dict[TopicPartition, int] = {}
        self._stale: set[TopicPartition] = set()

    def __bool__(self) -> bool:
        return bool(self._polled or self._stale)

    @property
    def stale(self) -> frozenset[TopicPartition]:
        """Partitions that must not be polled or committed before a rewind."""
        return frozenset(self._stale)

    def polled(self, records: Iterable[Record]) -> None:
        """Records were handed out."""
        for record in records:
            self._polled[TopicPartition(record.topic, record.partition)] = record.offset + 1

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions were taken away (and perhaps given back)."""
        for partition in partitions:
            if self._polled.pop(partition, None) is not None:
                self._stale.add(partition)

    def check(self, offsets: Offsets) -> None:
        """See that `offsets` may be committed.

        Raises:
            FencedError: one of the partitions was taken away since its records were polled.
        """
        for partition in offsets:
            if partition in self._stale:
                raise FencedError(
                    f"{partition.topic}[{partition.partition}] went to another member of the"
                    " group; rewind and go on with what is assigned now"
                )

    def committed(self, offsets: Offsets) -> None:
        """Offsets were committed."""
        for partition, offset in offsets.items():
            if self._polled.get(partition, 0) <= offset:
                self._polled.pop(partition, None)

    def forget(self) -> None:
        """Everything in flight is given up."""
        self._polled.clear()
        self._stale.clear()
