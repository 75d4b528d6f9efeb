"""Records of many partitions as one sequence, in an order that only the log decides."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import NamedTuple

from contracts.codec import decode
from contracts.errors import CodecError
from contracts.events import AutomationSwitch, Event
from contracts.records import Record, TopicPartition
from streaming.log import Offsets, Reader

__all__ = ["Arrived", "Merge", "Refused", "Taken"]

# Records asked for at a time; only partitions with none in hand are asked.
_CHUNK = 500
# Kafka may take a while to bring what is known to be there.
_WAIT_S = 0.1

_Order = tuple[int, str, int, int]


class Arrived(NamedTuple):
    """A record and the event in it."""

    record: Record
    event: Event


class Refused(NamedTuple):
    """A record that cannot be used, and why."""

    record: Record
    error: Exception


Taken = Arrived | Refused


def _order(taken: Taken) -> _Order:
    record = taken.record
    # What cannot be decoded has no time; it goes first, as soon as its partition gets to it. So
    # does the switch over automatic actions: it must not wait for a backlog of the fab's events.
    time_ms = -1
    if isinstance(taken, Arrived) and not isinstance(taken.event, AutomationSwitch):
        time_ms = taken.event.time_ms
    return time_ms, record.topic, record.partition, record.offset


class Merge:
    """Takes records from a reader by (event time, topic, partition, offset).

    A k-way merge: always the earliest of the partitions' next records, and only while every
    partition has its next record in hand or has been read to its end. So for what is in the log the
    order does not depend on how it was read, in what portions, or from which positions it resumed.
    A partition that stays behind holds up the others no longer than until it is read to its end.

    Args:
        reader: over all the topics, positioned after the last record taken before.
        ends: where the partitions end now.
    """

    def __init__(self, reader: Reader, ends: Callable[[], Offsets]) -> None:
        self._reader = reader
        self._ends = ends
        self._positions: dict[TopicPartition, int] = {}
        self._ends_now: Offsets = {}
        self._buffers: dict[TopicPartition, deque[Taken]] = {}
        # The partitions with records in hand, by the order of their next one.
        self._heads: list[tuple[_Order, TopicPartition]] = []

    def take(self, max_records: int, timeout_s: float) -> list[Taken]:
        """The next records, waiting at most `timeout_s` for the first."""
        self._look()
        if not self._heads and self._read(set(self._positions), timeout_s):
            self._look()
        taken: list[Taken] = []
        while len(taken) < max_records and self._heads:
            _, partition = heappop(self._heads)
            buffer = self._buffers[partition]
            taken.append(buffer.popleft())
            if buffer:
                heappush(self._heads, (_order(buffer[0]), partition))
            else:
                # Its next record may be earlier than what the others have in hand.
                self._fill()
        return taken

    def _look(self) -> None:
        """See which partitions there are and where they end now, and fill up to there."""
        self._positions = self._reader.positions()
        self._ends_now = self._ends()
        self._fill()

    def _fill(self) -> None:
        """Read until every partition has a record in hand or is read to its end."""
        while behind := {
            partition
            for partition, position in self._positions.items()
            if position < self._ends_now.get(partition, 0) and not self._buffers.get(partition)
        }:
            self._read(behind, _WAIT_S)

    def _read(self, partitions: set[TopicPartition], timeout_s: float) -> bool:
        records = self._reader.poll(_CHUNK, timeout_s, only=partitions)
        for record in records:
            self._keep(record)
        self._positions = self._reader.positions()
        return bool(records)

    def _keep(self, record: Record) -> None:
        taken: Taken
        try:
            taken = Arrived(record, decode(record.headers, record.value))
        except CodecError as error:
            taken = Refused(record, error)
        partition = TopicPartition(record.topic, record.partition)
        buffer = self._buffers.setdefault(partition, deque())
        buffer.append(taken)
        if len(buffer) == 1:
            heappush(self._heads, (_order(taken), partition))
