"""The log: one protocol, two implementations (Kafka, embedded) under one contract test suite.

What every implementation promises:

1. `append` is atomic and durable: when it returns, all its messages are there; if it raises or the
   process dies, all or none are. Records of one key keep their order (one key, one partition).
2. `append(..., source, position)` also remembers `position` for `source` in the same transaction,
   and does nothing if a position at least as high is already remembered: a producer that can
   number its output is exactly-once over crashes.
3. `Consumer.commit(outputs, offsets)` makes outputs and offsets visible together or not at all,
   and raises `FencedError` if the partitions have gone to another member in the meantime.
4. Readers and consumers see committed records only, in offset order per partition.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from contracts.records import Message, Record, TopicPartition

__all__ = ["Consumer", "Log", "Offsets", "Reader"]

Offsets = Mapping[TopicPartition, int]
"""Next offset to read, per partition (as Kafka counts: last processed plus one)."""


class Reader(Protocol):
    """Reads partitions without a group. Positions are the caller's business."""

    def poll(
        self,
        max_records: int,
        timeout_s: float,
        *,
        only: Collection[TopicPartition] | None = None,
    ) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout_s` for the first.

        `only` limits it to some partitions, for a caller with enough of the others in hand.
        """
        ...

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to be returned by `poll`, per partition."""
        ...

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        ...


class Consumer(Protocol):
    """A member of a group. Partitions are shared out among the group's live members."""

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to `max_records` records from the assigned partitions, waiting at most `timeout_s`.

        Polling (and committing) is how a member shows that it is alive: a member that does neither
        for a session timeout loses its partitions to the others.
        """
        ...

    def keep_alive(self) -> None:
        """Show that this member is alive, and take part in rebalances, without taking records.

        For a member that has as much in hand as it may have and is waiting for it.
        """
        ...

    def commit(self, outputs: Sequence[Message], offsets: Offsets) -> None:
        """Publish `outputs` and advance the group to `offsets`, atomically.

        Several polls may be outstanding; `offsets` says which are settled by this commit.

        Raises:
            FencedError: a partition in `offsets` is no longer ours. Nothing was written.
            ReplacedError: another process of our name has our place.
        """
        ...

    def rewind(self) -> None:
        """Forget what was polled and not committed; `poll` gives it again."""
        ...

    def lag(self) -> int:
        """Records in the assigned partitions that are not committed yet."""
        ...

    def close(self) -> None:
        """Leave the group. May be called twice."""
        ...


class Log(Protocol):
    """Topics, producers and consumers. Constructing one connects to nothing."""

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Make the topics that are missing; name to number of partitions."""
        ...

    def topics(self) -> dict[str, int]:
        """All topics and their number of partitions."""
        ...

    def append(
        self, messages: Sequence[Message], *, source: str | None = None, position: int = 0
    ) -> bool:
        """Publish messages atomically.

        Args:
            messages: their topics must exist.
            source: with `position`, makes this exactly-once over crashes (see the module's text).
            position: grows with every call for one source.

        Returns:
            False if `position` was published before, and nothing was done.

        Raises:
            RecordTooLargeError: a value exceeds the record limit. Nothing was written.
            LogError: a topic does not exist, or the log cannot be written.
        """
        ...

    def position(self, source: str) -> int | None:
        """The highest position published under `source`, or None."""
        ...

    def ends(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Offset that the next record of each partition will get."""
        ...

    def offsets_at(self, topics: Iterable[str], time_ms: int) -> dict[TopicPartition, int]:
        """Offset of the first record that each partition took at `time_ms` or later, or its end."""
        ...

    def reader(self, topics: Iterable[str], start: Offsets | Literal["beginning", "end"]) -> Reader:
        """A reader of whole topics. Partitions missing from `start` begin at the beginning."""
        ...

    def consumer(self, group: str, topics: Iterable[str]) -> Consumer:
        """A member of `group`, starting where the group stopped, or at the beginning."""
        ...

    def start_group(self, group: str, offsets: Offsets) -> bool:
        """Have a group without members begin at `offsets`.

        Returns:
            False if the group stands somewhere already, and nothing was done.
        """
        ...

    def committed(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Where a group stands; partitions never committed are missing."""
        ...

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        ...
