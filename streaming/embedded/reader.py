"""Reading partitions of the embedded log without a group."""

from collections.abc import Collection, Iterable
from typing import Literal

from contracts.records import Record, TopicPartition
from streaming.deadline import Deadline
from streaming.embedded.file import LogFile
from streaming.embedded.records import Catalogue, fetch
from streaming.embedded.retention import first_kept
from streaming.log import Offsets

__all__ = ["EmbeddedReader"]


class EmbeddedReader:
    """A `Reader` of the embedded log. Used by one thread at a time."""

    def __init__(
        self,
        file: LogFile,
        catalogue: Catalogue,
        topics: Iterable[str],
        start: Offsets | Literal["beginning", "end"],
    ) -> None:
        self._file = file
        self._catalogue = catalogue
        self._topics = frozenset(topics)
        self._start: Offsets = {} if isinstance(start, str) else dict(start)
        self._positions: dict[TopicPartition, int] = {}
        self._turn = 0

    def poll(
        self,
        max_records: int,
        timeout_s: float,
        *,
        only: Collection[TopicPartition] | None = None,
    ) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout_s` for the first."""
        deadline = Deadline(timeout_s)
        while True:
            version = self._file.version()
            with self._file.reading() as connection:
                ids = self._catalogue.ids(connection, self._topics)
                for partition in ids:
                    self._positions.setdefault(partition, self._start.get(partition, 0))
                order = [p for p in ids if only is None or p in only]
                # Every partition has its turn to be first, so that a busy one starves no other.
                turn = self._turn = (self._turn + 1) % len(order) if order else 0
                order = order[turn:] + order[:turn]
                records = fetch(connection, ids, order, self._positions, max_records)
            if records:
                for record in records:
                    at = TopicPartition(record.topic, record.partition)
                    self._positions[at] = record.offset + 1
                return records
            if not self._file.wait_for_change(version, deadline):
                return []

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to be returned by `poll`, per partition."""
        with self._file.reading() as connection:
            for partition, partition_id in self._catalogue.ids(connection, self._topics).items():
                at = self._positions.setdefault(partition, self._start.get(partition, 0))
                # Past what was forgotten, or a partition that is empty would never be read to its
                # end.
                self._positions[partition] = max(at, first_kept(connection, partition_id))
        return dict(self._positions)

    def close(self) -> None:
        """Nothing to let go of: connections belong to the log."""
