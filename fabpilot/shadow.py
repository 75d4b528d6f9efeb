"""A challenger in shadow: it judges the wafers that the champion judges, and nobody hears it."""

import heapq
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from contracts.codec import decode
from contracts.errors import DataError, WaferMapError
from contracts.events import NOVELTY_LIMIT, Prediction, WaferMap
from contracts.topics import Stream, topic_name
from contracts.wafer_map import canonical_maps, check_grid
from control.drift import Effect, add, compare, moments
from control.state import Moments
from fabpilot.reading import read_events
from serving.repository import Loaded
from serving.scorer import prediction
from serving.session import Session
from streaming.log import Log

__all__ = ["Difference", "Shadow", "ShadowReport", "Side", "coming_maps", "recorded_maps"]

_POLL_S = 0.5
_DIFFERENCES = 10


class Difference(msgspec.Struct, frozen=True):
    """Wafers on which the two said different things."""

    champion: str
    challenger: str
    wafers: int


class Side(msgspec.Struct, frozen=True):
    """One of the two models.

    Attributes:
        novel: share of the wafers it takes for unknown patterns; None if it does not say.
        latency_ms: of a single map, median.
        latency_p99_ms: the same, 99 of 100 are faster.
        embedding_drift: how far the wafers are from its training data, root mean square of the
            standardised mean differences of the embedding; None if its file does not say.
        share_drift: total variation of the class shares from those of its training data.
    """

    version: str
    novel: float | None
    latency_ms: float
    latency_p99_ms: float
    embedding_drift: float | None
    share_drift: float | None


class ShadowReport(msgspec.Struct, frozen=True):
    """What champion and challenger said about the same wafers.

    Attributes:
        agreement: share of the wafers about which both say the same; None without wafers.
        differences: what they said where they did not agree, the most frequent first.
    """

    wafers: int
    agreement: float | None
    champion: Side
    challenger: Side
    differences: tuple[Difference, ...]


class _Ear:
    """Listens to one model."""

    def __init__(self, loaded: Loaded[Session]) -> None:
        self._loaded = loaded
        self._times_ms: list[float] = []
        self._novel: list[bool] = []
        self._seen: Moments | None = None

    def hear(self, event: WaferMap) -> tuple[str, ...]:
        """What the model says about one wafer."""
        session = self._loaded.session
        maps = canonical_maps([check_grid(event.grid.numpy())], session.card.canonical_size)
        began = time.perf_counter()
        outputs = session.run(maps)
        self._times_ms.append(1e3 * (time.perf_counter() - began))
        said = prediction(event, self._loaded, outputs, 0)
        if said.novelty is not None:
            self._novel.append(said.novelty >= NOVELTY_LIMIT)
        self._note(said)
        return said.predicted

    def _note(self, said: Prediction) -> None:
        one = moments(said)
        if one is not None:
            self._seen = one if self._seen is None else add(self._seen, one)

    def side(self) -> Side:
        """What came of it."""
        reference = self._loaded.session.card.reference
        effect: Effect | None = None
        seen = self._seen
        if reference is not None and seen is not None:
            effect = compare(seen, reference)
        times = self._times_ms
        return Side(
            version=self._loaded.ref.version,
            novel=statistics.mean(self._novel) if self._novel else None,
            latency_ms=statistics.median(times) if times else 0.0,
            latency_p99_ms=float(np.percentile(times, 99)) if times else 0.0,
            embedding_drift=effect.embedding if effect else None,
            share_drift=effect.shares if effect else None,
        )


class Shadow:
    """Runs both models over wafers, one at a time as they come, and publishes nothing.

    Args:
        champion: what serves.
        challenger: what may.
    """

    def __init__(self, champion: Loaded[Session], challenger: Loaded[Session]) -> None:
        self._ears = _Ear(champion), _Ear(challenger)

    def run(
        self, wafers: Iterable[WaferMap], on_progress: Callable[[int], None] | None = None
    ) -> ShadowReport:
        """Compare the two on wafers. What is no die grid is left out, as it is in serving."""
        said: Counter[tuple[str, str]] = Counter()
        count = 0
        for event in wafers:
            try:
                champion, challenger = (" + ".join(ear.hear(event)) for ear in self._ears)
            except WaferMapError:
                continue
            said[champion, challenger] += 1
            count += 1
            if on_progress is not None:
                on_progress(count)
        apart = {pair: number for pair, number in said.items() if pair[0] != pair[1]}
        ranked = sorted(apart, key=lambda pair: (-apart[pair], pair))
        return ShadowReport(
            wafers=count,
            agreement=1.0 - sum(apart.values()) / count if count else None,
            champion=self._ears[0].side(),
            challenger=self._ears[1].side(),
            differences=tuple(Difference(*p, apart[p]) for p in ranked[:_DIFFERENCES]),
        )


def recorded_maps(log: Log, sites: Sequence[str], count: int) -> list[WaferMap]:
    """The latest `count` wafer maps of some sites, by the fab's time."""

    def maps() -> Iterable[WaferMap]:
        for site in sites:
            topic = topic_name(site, Stream.WAFER_MAPS)
            ends = log.ends([topic]) if topic in log.topics() else {}
            # The latest of all partitions together are among the latest of each.
            start = {place: max(0, end - count) for place, end in ends.items()}
            for _, event in read_events(log, site, Stream.WAFER_MAPS, start):
                if isinstance(event, WaferMap):
                    yield event

    latest = heapq.nlargest(count, maps(), key=lambda event: (event.time_ms, event.event_id))
    return latest[::-1]


def coming_maps(
    log: Log, sites: Sequence[str], count: int, stop: threading.Event
) -> Iterable[WaferMap]:
    """The next `count` wafer maps of some sites as they arrive, until `stop` is set."""
    reader = log.reader([topic_name(site, Stream.WAFER_MAPS) for site in sites], "end")
    try:
        while count > 0 and not stop.is_set():
            for record in reader.poll(count, _POLL_S):
                try:
                    event = decode(record.headers, record.value)
                except DataError:
                    continue
                if isinstance(event, WaferMap):
                    count -= 1
                    yield event
    finally:
        reader.close()
