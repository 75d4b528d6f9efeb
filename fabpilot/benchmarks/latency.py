"""How long a wafer waits for its prediction: from being produced to being read, at half load."""

import contextlib
import gc
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from contracts.codec import encode, header
from contracts.errors import LogError
from contracts.events import Prediction, WaferMap
from contracts.records import Headers, Message, Record
from contracts.topics import Stream, topic_name
from fabpilot.benchmarks.maps import SITE
from fabpilot.benchmarks.service import Service, command_of, environment_of
from fabpilot.benchmarks.stream import append_all, machine
from fabpilot.settings import Settings
from streaming.deadline import Deadline
from streaming.kafka import BareProducer, KafkaLog
from streaming.log import Log

__all__ = ["LatencyBench", "measure_latency"]

# What is produced before measuring begins: connections, first batches, the group's first rebalance.
_WARM_UP_S = 3.0
# After the last map was produced, its prediction must come within this time.
_DRAIN_LIMIT_S = 30.0


class LatencyBench(msgspec.Struct, frozen=True):
    """Latency from the moment a map was due to be produced until its prediction was read.

    A map that is produced late because the machine is busy counts from when it was due, so that
    stalls are not left out (coordinated omission).

    Attributes:
        load: share of the capacity that was produced.
        capacity_per_s: what one processor managed in the same run with a backlog.
        rate_per_s: maps produced a second.
        wafers: maps measured.
        p50_ms, p90_ms, p99_ms, max_ms: to a read-committed reader in another process than the
            processor.
        floor_p50_ms, floor_p99_ms: the same maps at the same rate read directly: what the log and
            the measuring cost without any processor.
        ratio: p99_ms / floor_p99_ms.
    """

    load: float
    capacity_per_s: float
    rate_per_s: float
    wafers: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    floor_p50_ms: float
    floor_p99_ms: float
    ratio: float
    log: str
    machine: str


def measure_latency(
    log: Log,
    settings: Settings,
    events: Sequence[WaferMap],
    *,
    model: str,
    load: float,
    rate: float | None,
    seconds: float,
) -> LatencyBench:
    """Measure capacity, floor and latency, in turn, on one log.

    Args:
        log: with the topics of the site `SITE`.
        settings: of the processor that is started.
        events: maps to take in turn.
        model: for the processor.
        load: share of the capacity to produce.
        rate: maps a second instead.
        seconds: how long to measure.
    """
    source, target = topic_name(SITE, Stream.WAFER_MAPS), topic_name(SITE, Stream.PREDICTIONS)
    group = f"bench-{time.time_ns()}"
    log.start_group(group, log.ends([source]))
    append_all(log, [encode(event) for event in events])
    capacity = _capacity(settings, model, group)
    pace = rate or load * capacity
    count = int((_WARM_UP_S + seconds) * pace)
    messages = [encode(event) for event in _named(events, count)]
    names = [_id_of(message.headers) for message in messages]
    floor = _timed_run(log, messages, names, pace, source, lambda record: _id_of(record.headers))
    # The floor's maps are not to be processed: another group starts behind them.
    group = f"bench-{time.time_ns()}"
    log.start_group(group, log.ends([source]))
    with (
        tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder,
        Service(settings, model, Path(folder), group),
    ):
        waits = _timed_run(log, messages, names, pace, target, _input_id)
    late = np.percentile(waits, [50, 90, 99, 100]).tolist()
    low = np.percentile(floor, [50, 99]).tolist()
    return LatencyBench(
        load=pace / capacity,
        capacity_per_s=capacity,
        rate_per_s=pace,
        wafers=len(waits),
        p50_ms=late[0],
        p90_ms=late[1],
        p99_ms=late[2],
        max_ms=late[3],
        floor_p50_ms=low[0],
        floor_p99_ms=low[1],
        ratio=late[2] / low[1],
        log=settings.log_url.partition(":")[0],
        machine=machine(),
    )


def _capacity(settings: Settings, model: str, group: str) -> float:
    """Wafers a second of one processor that works off a backlog and ends."""
    done = subprocess.run(
        [*command_of(group, model), "--until-idle"],
        env=environment_of(settings),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise LogError(f"fabpilot process failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout)["wafers_per_s"])


def _id_of(headers: Headers) -> bytes:
    return header(headers, "ce_id") or b""


def _input_id(record: Record) -> bytes:
    prediction = msgspec.msgpack.decode(record.value, type=Prediction)
    return prediction.input_id.encode()


def _timed_run(
    log: Log,
    messages: Sequence[Message],
    names: Sequence[bytes],
    pace: float,
    topic: str,
    name_of: Callable[[Record], bytes | None],
) -> list[float]:
    """Produce at an even pace and read `topic`; milliseconds from due to read, warm-up left out."""
    seen: dict[bytes, float] = {}
    wanted = set(names)
    produced = threading.Event()
    reader = log.reader([topic], "end")
    reader.poll(1, 0.5)

    def read() -> None:
        deadline: Deadline | None = None
        while len(seen) < len(wanted) and not (deadline and deadline.passed):
            records = reader.poll(500, 0.25)
            now = time.perf_counter()
            for record in records:
                name = name_of(record)
                if name in wanted:
                    seen.setdefault(name, now)
            if produced.is_set() and deadline is None:
                deadline = Deadline(_DRAIN_LIMIT_S)

    # Our own garbage collector, busy with so many messages, is not what is measured.
    gc.collect()
    gc.freeze()
    reading = threading.Thread(target=read, name="reader")
    reading.start()
    began = time.perf_counter()
    with _producer(log) as send:
        for number, message in enumerate(messages):
            due = began + number / pace
            while (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            send(message)
    produced.set()
    reading.join()
    reader.close()
    if missing := len(wanted) - len(seen):
        raise LogError(f"{missing} of {len(wanted)} did not come within {_DRAIN_LIMIT_S:g} s")
    first = int(_WARM_UP_S * pace)
    return [
        1000 * (seen[name] - began - number / pace)
        for number, name in enumerate(names)
        if number >= first
    ]


@contextlib.contextmanager
def _producer(log: Log) -> Iterator[Callable[[Message], None]]:
    """Sends one message at a time, as equipment does."""
    if isinstance(log, KafkaLog):
        producer = BareProducer(log.cluster)
        yield producer.send
        producer.close()
    else:

        def send(message: Message) -> None:
            log.append([message])

        yield send


def _named(events: Sequence[WaferMap], count: int) -> list[WaferMap]:
    stamp = time.time_ns()
    return [
        msgspec.structs.replace(events[i % len(events)], event_id=f"latency-{stamp}-{i}")
        for i in range(count)
    ]
