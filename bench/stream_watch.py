"""What comes onto a log while things break: counted as it comes, audited in the end."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import msgspec

from contracts.codec import decode, header
from contracts.errors import DataError, LogError, LogUnavailableError
from contracts.events import Prediction, WaferMap
from contracts.records import Record, TopicPartition
from contracts.topics import Stream, topic_name
from streaming.log import Log, Reader
from streaming.open import open_log

__all__ = ["Audit", "Follower", "Watch", "audit", "read_all", "wait_until"]

# Nothing here takes longer, unless something is wrong.
_PATIENCE_S = 180.0


def wait_until(true: Callable[[], bool], what: str, limit_s: float = _PATIENCE_S) -> None:
    """Look until `true()` is so.

    Raises:
        TimeoutError: it was not so within `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {limit_s:.0f} s")
        time.sleep(0.002)


class Follower:
    """Reads a topic beside everything else.

    It survives what it watches: a log that is away is opened again where it was left.

    Args:
        url: of the log.
        topic: to read from its beginning on.
        take: called with all that comes, in a thread of its own.
    """

    def __init__(self, url: str, topic: str, take: Callable[[list[Record]], None]) -> None:
        self._url = url
        self._topic = topic
        self._take = take
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {topic}", daemon=True)
        self.failures: list[str] = []
        self._thread.start()

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        places: dict[TopicPartition, int] = {}
        while not self._stop.is_set():
            log = open_log(self._url)
            reader: Reader | None = None
            try:
                reader = log.reader([self._topic], places or "beginning")
                while not self._stop.is_set():
                    records = reader.poll(2000, 0.2)
                    self._take(records)
                    for record in records:
                        places[record.topic_partition] = record.offset + 1
            except LogUnavailableError as error:
                self.failures.append(str(error))
                self._stop.wait(0.2)
            finally:
                # A client that is not closed goes on trying to reach its brokers for ever.
                for part in (reader, log):
                    if part is not None:
                        with suppress(LogError):
                            part.close()


class Watch:
    """Notes when each record of a topic was seen."""

    def __init__(self, url: str, topic: str) -> None:
        self.seen_at: list[float] = []
        self._follower = Follower(url, topic, self._take)
        self.failures = self._follower.failures

    @property
    def count(self) -> int:
        """Records seen so far."""
        return len(self.seen_at)

    def close(self) -> None:
        """Stop watching."""
        self._follower.close()

    def longest_gap_s(self, since: float, until: float) -> float:
        """The longest time without a record between two moments."""
        inside = [at for at in self.seen_at if since < at < until]
        edges = [since, *inside, until]
        return max(later - earlier for earlier, later in pairwise(edges))

    def first_after(self, moment: float) -> float | None:
        """When the first record after `moment` was seen."""
        return next((at for at in self.seen_at if at > moment), None)

    def _take(self, records: list[Record]) -> None:
        self.seen_at += [time.monotonic()] * len(records)


def read_all(log: Log, topic: str) -> list[Record]:
    """All records of a topic, as far as it goes now."""
    ends = log.ends([topic])
    reader = log.reader([topic], "beginning")
    records: list[Record] = []

    def at_the_end() -> bool:
        # Not by counting: on Kafka the ends of transactions have offsets too.
        records.extend(reader.poll(2000, 0.2))
        positions = reader.positions()
        return all(positions.get(place, 0) >= end for place, end in ends.items())

    wait_until(at_the_end, f"the end of {topic}")
    reader.close()
    return records


class Audit(msgspec.Struct, frozen=True):
    """Predictions held against the maps they are of.

    Attributes:
        missing: maps without a prediction.
        doubled: maps with more than one.
        stray: predictions of no map on the log.
        disordered_keys: lots whose predictions come in another order than their maps, or lie in
            more than one partition.
    """

    maps: int
    distinct_maps: int
    predictions: int
    missing: int
    doubled: int
    stray: int
    disordered_keys: int
    dead_letters: int

    def good(self, wafers: int) -> bool:
        """Whether each of so many maps has its one prediction, in order."""
        wrong = self.missing + self.doubled + self.stray + self.disordered_keys + self.dead_letters
        return wrong == 0 and wafers == self.maps == self.distinct_maps == self.predictions


def audit(log: Log, site: str) -> Audit:
    """Read a site's maps, predictions and dead letters as committed readers see them."""
    maps: dict[bytes, list[str]] = defaultdict(list)
    for record in read_all(log, topic_name(site, Stream.WAFER_MAPS)):
        if (header(record.headers, "ce_type") or b"").decode() == WaferMap.ce_type:
            maps[record.key].append((header(record.headers, "ce_id") or b"").decode())
    answers: dict[bytes, list[str]] = defaultdict(list)
    places: dict[bytes, set[int]] = defaultdict(set)
    for record in read_all(log, topic_name(site, Stream.PREDICTIONS)):
        with suppress(DataError):
            event = decode(record.headers, record.value)
            assert isinstance(event, Prediction)
            answers[record.key].append(event.input_id)
            places[record.key].add(record.partition)
    wanted = Counter(name for names in maps.values() for name in names)
    given = Counter(name for names in answers.values() for name in names)
    return Audit(
        maps=wanted.total(),
        distinct_maps=len(wanted),
        predictions=given.total(),
        missing=len(wanted.keys() - given.keys()),
        doubled=sum(count > 1 for count in given.values()),
        stray=len(given.keys() - wanted.keys()),
        disordered_keys=sum(
            answers[key] != names or len(places[key]) > 1 for key, names in maps.items()
        ),
        dead_letters=len(read_all(log, topic_name(site, Stream.DEAD_LETTERS))),
    )
