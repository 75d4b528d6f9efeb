"""What more processors bring on one machine, and what a wafer costs in processor time."""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from contracts.codec import encode
from contracts.errors import LogError
from contracts.events import WaferMap
from contracts.topics import Stream, topic_name
from fabpilot.benchmarks.maps import SITE
from fabpilot.benchmarks.process_usage import cpu_s, machine_cpu_s
from fabpilot.benchmarks.service import Service
from fabpilot.benchmarks.stream import append_all, machine
from fabpilot.settings import Settings
from streaming.deadline import Deadline
from streaming.log import Log, Offsets

__all__ = ["ScaleBench", "Scaled", "measure_scale"]

_LIMIT_S = 600.0
# Often enough to know the end to a percent, seldom enough to cost nothing.
_LOOK_EVERY_S = 0.1


class Scaled(msgspec.Struct, frozen=True):
    """So many processors together.

    Attributes:
        processors: how many.
        wafers_per_s: of all of them, from the first commit to the last.
        speedup: over one.
        cpu_us_per_wafer: processor time of the processors, a wafer.
        rest_us_per_wafer: what the rest of the machine used meanwhile, the brokers above all.
        busy: share of the machine's cores that was used.
    """

    processors: int
    wafers_per_s: float
    speedup: float
    cpu_us_per_wafer: float
    rest_us_per_wafer: float
    busy: float


class ScaleBench(msgspec.Struct, frozen=True):
    """How throughput grows with processors.

    Attributes:
        runs: one a number of processors.
        ceiling_per_s: what the cores could do if nothing but one processor's and the brokers' work
            for each wafer were done, on all cores, all the time.
        ratio: the best run / ceiling_per_s.
        partitions: of the maps' topic; more processors than that would idle.
    """

    runs: list[Scaled]
    ceiling_per_s: float
    ratio: float
    partitions: int
    wafers: int
    log: str
    machine: str


def measure_scale(
    log: Log, settings: Settings, events: Sequence[WaferMap], *, model: str, most: int
) -> ScaleBench:
    """One to `most` processors, each as `fabpilot process`, over the same maps.

    They share the cores with the brokers where those run here: on one machine this shows what a
    wafer costs, and that members share the work; more machines are needed to see it go faster.
    """
    start = log.ends([topic_name(SITE, Stream.WAFER_MAPS)])
    append_all(log, [encode(event) for event in events])
    runs: list[Scaled] = []
    for processors in range(1, most + 1):
        one = runs[0] if runs else None
        runs.append(_run(log, settings, model, start, processors, len(events), one))
    cores = os.cpu_count() or 1
    ceiling = 1e6 * cores / (runs[0].cpu_us_per_wafer + runs[0].rest_us_per_wafer)
    return ScaleBench(
        runs=runs,
        ceiling_per_s=ceiling,
        ratio=max(run.wafers_per_s for run in runs) / ceiling,
        partitions=len(start),
        wafers=len(events),
        log=settings.log_url.partition(":")[0],
        machine=machine(),
    )


def _run(
    log: Log,
    settings: Settings,
    model: str,
    start: Offsets,
    processors: int,
    wafers: int,
    one: Scaled | None,
) -> Scaled:
    """Have so many processors work through the maps from `start` on."""
    group = f"bench-{time.time_ns()}"
    log.start_group(group, start)
    topics = {place.topic for place in start}
    begin, end = sum(start.values()), sum(log.ends(topics).values())
    with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder, ExitStack() as members:
        running = [
            members.enter_context(Service(settings, model, Path(folder), group, number))
            for number in range(processors)
        ]
        # All have their model by now; the first may have begun already.
        at, cpu, whole = _done(log, group, begin), _cpu_s(running), machine_cpu_s()
        began, own = time.perf_counter(), time.process_time()
        deadline = Deadline(_LIMIT_S)
        while (now := _done(log, group, begin)) < end - begin:
            if deadline.passed or any(service.ended for service in running):
                raise LogError(f"{processors} processors stopped at {now} of {end - begin} records")
            time.sleep(_LOOK_EVERY_S)
        seconds = time.perf_counter() - began
        used = _cpu_s(running) - cpu
        rest = machine_cpu_s() - whole - used - (time.process_time() - own)
    # Offsets count the markers of transactions too; scale them to wafers.
    done = (end - begin - at) * wafers / (end - begin)
    rate = done / seconds
    return Scaled(
        processors=processors,
        wafers_per_s=rate,
        speedup=rate / one.wafers_per_s if one else 1.0,
        cpu_us_per_wafer=1e6 * used / done,
        rest_us_per_wafer=1e6 * rest / done,
        busy=(used + rest) / seconds / (os.cpu_count() or 1),
    )


def _done(log: Log, group: str, begin: int) -> int:
    """Records that the group has settled since `begin`."""
    return sum(log.committed(group, [topic_name(SITE, Stream.WAFER_MAPS)]).values()) - begin


def _cpu_s(running: Sequence[Service]) -> float:
    """Processor time that the processors have used together, in seconds."""
    return sum(cpu_s(service.pid) for service in running)
