"""Throughput of the processor beside what its parts could do alone."""

import os
import platform
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.codec import encode
from contracts.events import WaferMap
from contracts.records import Message
from contracts.topics import Stream, topic_name
from contracts.wafer_map import canonical_maps
from fabpilot.benchmarks.maps import SITE
from serving.repository import Loaded
from serving.scorer import Scorer
from serving.session import Session
from streaming.kafka import KafkaLog, bare_consume, bare_produce
from streaming.log import Log, Offsets
from streaming.processor import Processor

__all__ = ["StreamBench", "append_all", "machine", "measure_stream"]

# Where batching stops paying (serving.scorer), and what a poll of the processor brings.
_BATCH, _POLL = 128, 256


class StreamBench(msgspec.Struct, frozen=True):
    """What the processor does beside what its parts could do alone.

    Attributes:
        wafers_per_s: maps in to predictions committed, by one processor.
        consume_per_s: ceiling: reading the same records from the log, nothing else; on Kafka by
            kafka-python with nothing of ours around it.
        score_per_s: ceiling: bare `InferenceSession.run` on the same canonical maps, batches of
            128, all outputs; the mean of one measurement before and one after the processor.
        produce_per_s: ceiling: appending the same predictions to the log, nothing else; on Kafka
            by kafka-python, without transactions.
        bound_per_s: 1 / (1/consume + 1/score + 1/produce), one after the other.
        ratio: wafers_per_s / bound_per_s.
        ratio_to_score: wafers_per_s / score_per_s.
    """

    wafers: int
    wafers_per_s: float
    consume_per_s: float
    score_per_s: float
    produce_per_s: float
    bound_per_s: float
    ratio: float
    ratio_to_score: float
    provider: str
    model_version: str
    log: str
    machine: str


def machine() -> str:
    """What the figures were measured on."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def measure_stream(
    log: Log,
    url: str,
    events: Sequence[WaferMap],
    loaded: Loaded[Session],
    scorer: Scorer,
    workers: int,
) -> StreamBench:
    """Measure everything, in turn, on one log.

    Args:
        log: with the topics of the site `SITE`; other records in them do no harm.
        url: of the log, for the report.
        events: the maps.
        loaded: a session that takes all cores for one run.
        scorer: with a session of one thread, as `fabpilot process` has it.
        workers: batches scored at once.
    """
    source, target = topic_name(SITE, Stream.WAFER_MAPS), topic_name(SITE, Stream.PREDICTIONS)
    count = len(events)
    start, target_start = log.ends([source]), log.ends([target])
    append_all(log, [encode(event) for event in events])
    maps = canonical_maps([e.grid.numpy() for e in events], loaded.session.card.canonical_size)

    consume_s = _timed(lambda: _consume(log, start, count))
    before_s = _timed(lambda: _score(loaded.session, maps))
    group = f"bench-{time.time_ns()}"
    log.start_group(group, start)
    processor = Processor(
        log, group=group, topics=lambda: [source], handle=scorer, batch=_BATCH, workers=workers
    )
    began = time.perf_counter()
    settled = [began]
    done = processor.run(
        threading.Event(),
        until_idle=True,
        on_progress=lambda _: settled.__setitem__(0, time.perf_counter()),
    )
    process_s = settled[0] - began
    after_s = _timed(lambda: _score(loaded.session, maps))
    predictions = _read(log, target, target_start, count)
    produce_s = _timed(lambda: _produce(log, predictions))

    score_s = (before_s + after_s) / 2
    bound = count / (consume_s + score_s + produce_s)
    rate = done.produced / process_s
    return StreamBench(
        wafers=done.produced,
        wafers_per_s=rate,
        consume_per_s=count / consume_s,
        score_per_s=count / score_s,
        produce_per_s=count / produce_s,
        bound_per_s=bound,
        ratio=rate / bound,
        ratio_to_score=rate / (count / score_s),
        provider=loaded.session.provider,
        model_version=loaded.ref.version,
        log=url.partition(":")[0],
        machine=machine(),
    )


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def append_all(log: Log, messages: Sequence[Message]) -> None:
    """Append messages, a batch at a time."""
    for first in range(0, len(messages), _POLL):
        log.append(messages[first : first + _POLL])


def _produce(log: Log, messages: Sequence[Message]) -> None:
    if isinstance(log, KafkaLog):
        bare_produce(log.cluster, messages)
    else:
        append_all(log, messages)


def _consume(log: Log, start: Offsets, count: int) -> None:
    if isinstance(log, KafkaLog):
        bare_consume(log.cluster, start, count)
        return
    reader = log.reader({place.topic for place in start}, start)
    seen = 0
    while seen < count:
        seen += len(reader.poll(_POLL, 5.0))
    reader.close()


def _read(log: Log, topic: str, start: Offsets, count: int) -> list[Message]:
    reader = log.reader([topic], start)
    records: list[Message] = []
    try:
        while len(records) < count:
            records += [
                Message(record.topic, record.key, record.value, record.headers)
                for record in reader.poll(_POLL, 5.0)
            ]
    finally:
        reader.close()
    return records


def _score(session: Session, maps: npt.NDArray[np.uint8]) -> None:
    for first in range(0, len(maps), _BATCH):
        session.run(maps[first : first + _BATCH])
