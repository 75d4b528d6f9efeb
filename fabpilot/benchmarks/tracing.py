"""What it costs a processor to tell of each wafer's way: off, a tenth, all, in one run."""

import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from statistics import median

import msgspec
from prometheus_client import CollectorRegistry

from contracts.codec import encode
from contracts.events import WaferMap
from contracts.topics import Stream, topic_name
from fabpilot.benchmarks.maps import SITE
from fabpilot.benchmarks.stream import append_all, machine
from fabpilot.settings import Settings
from fabpilot.tracing import tracing
from serving.scorer import Scorer
from streaming.log import Log, Offsets
from streaming.processor import Processor

__all__ = ["TracingBench", "TracingCost", "measure_tracing"]

# As `fabpilot process` does it.
_BATCH = 128


class TracingCost(msgspec.Struct, frozen=True):
    """What one share of traces costs.

    Attributes:
        sample: share of the traces that was sent; 0 is off.
        wafers_per_s: median of the rounds.
        ratio: of that to the rate with it off.
        cpu_ms_per_wafer: processor time of all threads, sending included; median.
        spans_sent: in the last round.
        spans_lost: in the last round.
    """

    sample: float
    wafers_per_s: float
    ratio: float
    cpu_ms_per_wafer: float
    spans_sent: int
    spans_lost: int


class TracingBench(msgspec.Struct, frozen=True):
    """Each share in turn, as often as there are rounds, on the same maps of the same log."""

    wafers: int
    rounds: int
    costs: list[TracingCost]
    provider: str
    machine: str


class _Run(msgspec.Struct, frozen=True):
    rate: float
    cpu_s: float
    sent: int
    lost: int


def measure_tracing(
    log: Log,
    settings: Settings,
    events: Sequence[WaferMap],
    scorer: Scorer,
    provider: str,
    *,
    workers: int,
    samples: Sequence[float],
    rounds: int,
) -> TracingBench:
    """Score the same maps again and again, with each share in turn.

    Args:
        log: with the topics of the site `SITE`.
        settings: of this process; the endpoint in them is not used.
        events: the maps.
        scorer: what scores them.
        provider: that runs its model, for the report.
        workers: batches scored at once.
        samples: shares besides 'off'.
        rounds: how often each is measured.
    """
    source = topic_name(SITE, Stream.WAFER_MAPS)
    start = log.ends([source])
    append_all(log, [encode(event) for event in events])
    shares = [0.0, *samples]
    runs: dict[float, list[_Run]] = {share: [] for share in shares}
    with _collector() as url:
        for _ in range(rounds):
            for share in shares:
                ours = settings.model_copy(
                    update={"otlp_endpoint": url if share else "", "otlp_sample": share}
                )
                runs[share].append(_run(log, ours, source, start, scorer, workers))
    count, off = len(events), median(run.rate for run in runs[0.0])
    return TracingBench(
        wafers=count,
        rounds=rounds,
        costs=[
            TracingCost(
                sample=share,
                wafers_per_s=median(run.rate for run in some),
                ratio=median(run.rate for run in some) / off,
                cpu_ms_per_wafer=median(run.cpu_s for run in some) / count * 1000,
                spans_sent=some[-1].sent,
                spans_lost=some[-1].lost,
            )
            for share, some in runs.items()
        ],
        provider=provider,
        machine=machine(),
    )


def _run(
    log: Log, settings: Settings, source: str, start: Offsets, scorer: Scorer, workers: int
) -> _Run:
    group = f"bench-{time.time_ns()}"
    log.start_group(group, start)
    registry = CollectorRegistry()
    settled = [0.0]
    with tracing(settings, "processor", registry, site=SITE, group=group) as told:
        processor = Processor(
            log, group=group, topics=lambda: [source], handle=scorer, batch=_BATCH, workers=workers
        )
        began, cpu = time.perf_counter(), time.process_time()
        done = processor.run(
            threading.Event(),
            until_idle=True,
            on_progress=lambda _: settled.__setitem__(0, time.perf_counter()),
            on_handled=told.handled if told else None,
        )
    lost = [
        registry.get_sample_value("fabpilot_spans_lost_total", {"reason": reason}) or 0
        for reason in ("full", "refused", "error")
    ]
    return _Run(
        rate=done.produced / (settled[0] - began),
        cpu_s=time.process_time() - cpu,
        sent=int(registry.get_sample_value("fabpilot_spans_sent_total") or 0),
        lost=int(sum(lost)),
    )


@contextmanager
def _collector() -> Iterator[str]:
    """A collector in a process of its own that takes everything and keeps nothing; its address."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_collect, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _collect(said: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    said.send(server.server_port)
    server.serve_forever()
