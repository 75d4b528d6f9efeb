"""From the last sample of a wafer to its risk and its alert: the real `fabpilot control`."""

import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from contracts.codec import decode, encode
from contracts.errors import LogError
from contracts.events import Alert, Event, Risk
from contracts.records import Message
from contracts.topics import Stream, topic_name
from control.engine import Engine
from control.policy import Policy
from fabpilot.benchmarks.trace_line import START_MS, STEPS, TraceLine
from fabpilot.controller import save_new
from fabpilot.settings import Settings
from fabpilot.wiring import open_site_log
from streaming.database import open_engine
from streaming.deadline import Deadline
from streaming.log import Log

__all__ = ["TraceLatency", "measure_trace_latency"]

SITE = "kr1"
_WARM_UP_S = 3.0
_LIMIT_S = 60.0
# Ticks until 1,500 wafers are tested and the line is full: the state is as large as it gets.
_HISTORY_TICKS = 2_500
_TICK_MS = 60_000
# Every so many traces another module begins to be off, by so many spreads.
_SICK_EVERY, _SHIFT = 25, 12.0


class TraceLatency(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting times at an even rate of wafers, from when a trace was due to be appended.

    A trace that is appended late because the machine is busy counts from when it was due.

    Attributes:
        rate_per_s: wafers, each with a trace and two process events.
        wafers: measured.
        risk_p50_ms, risk_p99_ms, risk_max_ms: until the wafer's risk could be read from the log.
        alerts: raised; alert_p50_ms, alert_p99_ms, alert_max_ms as above, from the trace that
            raised it.
        floor_p50_ms, floor_p99_ms: until the trace itself could be read.
        state_bytes: of the controller's state at the start.
    """

    rate_per_s: float
    rows: int
    variables: int
    wafers: int
    risk_p50_ms: float
    risk_p99_ms: float
    risk_max_ms: float
    alerts: int
    alert_p50_ms: float
    alert_p99_ms: float
    alert_max_ms: float
    floor_p50_ms: float
    floor_p99_ms: float
    state_bytes: int


def measure_trace_latency(
    settings: Settings, policy: Policy, *, rate: float, seconds: float, rows: int, variables: int
) -> TraceLatency:
    """Give a controller a full state, then wafers at an even rate on an embedded log.

    Args:
        settings: where other things are; log and database are made anew.
        policy: of the engine that makes the state.
        rate: wafers a second.
        seconds: how long to measure.
        rows: of a trace.
        variables: of a trace.
    """
    with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
        home = Path(folder)
        settings = settings.model_copy(
            update={"home": home, "log": f"embedded:{home / 'log.db'}", "database": ""}
        )
        state = _history(policy, variables)
        database = open_engine(settings.database_url)
        save_new(database, SITE, state)
        database.dispose()
        line = TraceLine(SITE, rows, variables, name="M")
        with closing(open_site_log(settings, SITE)) as log, _Control(settings, home):
            return _measure(log, line, rate, seconds, rows, variables, len(state.snapshot()))


def _history(policy: Policy, variables: int) -> Engine:
    engine, line = Engine(policy, SITE), TraceLine(SITE, 10, variables)
    for event in line.states():
        engine.handle(event)
    for number in range(_HISTORY_TICKS):
        for event in line.tick(number):
            engine.handle(event)
    return engine


class _Control:
    """`fabpilot control` as its users run it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._output = folder / "control.out"
        self._environment = {
            **os.environ,
            "FABPILOT_LOG": settings.log_url,
            "FABPILOT_HOME": str(settings.home),
            "FABPILOT_DATABASE": settings.database_url,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> None:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fabpilot", "control", "--site", SITE],
                env=self._environment,
                stdout=output,
                stderr=output,
            )

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


def _measure(
    log: Log,
    line: TraceLine,
    rate: float,
    seconds: float,
    rows: int,
    variables: int,
    state_bytes: int,
) -> TraceLatency:
    count = int((_WARM_UP_S + seconds) * rate)
    batches, names = _batches(line, count)
    risks: dict[str, float] = {}
    alerts: dict[int, float] = {}
    floor: dict[str, float] = {}
    produced = threading.Event()
    began = [time.perf_counter()]
    topics = [topic_name(SITE, s) for s in (Stream.RISKS, Stream.ALERTS, Stream.TRACES)]
    reader = log.reader(topics, "end")
    reader.poll(1, 0.5)

    def read() -> None:
        deadline = Deadline(_LIMIT_S + seconds)
        while len(risks) < len(names) and not deadline.passed:
            records = reader.poll(500, 0.25)
            now = time.perf_counter()
            for record in records:
                event = decode(record.headers, record.value)
                if isinstance(event, Risk):
                    risks.setdefault(event.substrate_id, now)
                elif isinstance(event, Alert) and event.revision == 1:
                    alerts.setdefault(event.time_ms, now)
                elif isinstance(event, Event):
                    floor.setdefault(getattr(event, "substrate_id", ""), now)

    gc.collect()
    gc.freeze()
    reading = threading.Thread(target=read, name="reader")
    reading.start()
    # The controller is up once the first wafer has its risk.
    log.append(batches[0][1])
    deadline = Deadline(_LIMIT_S)
    while names[0] not in risks and not deadline.passed:
        time.sleep(0.05)
    began[0] = time.perf_counter() - 1.0 / rate
    for number, (_, messages) in enumerate(batches[1:], 1):
        due = began[0] + number / rate
        while (early := due - time.perf_counter()) > 0:
            time.sleep(early)
        log.append(messages)
    produced.set()
    reading.join()
    reader.close()
    if missing := len(names) - len(risks):
        raise LogError(f"{missing} of {len(names)} risks did not come within {_LIMIT_S:g} s")
    first = int(_WARM_UP_S * rate)
    due_of = {time_ms: began[0] + n / rate for n, (time_ms, _) in enumerate(batches) if n >= first}

    def waits(seen: dict[str, float]) -> list[float]:
        return [
            1000.0 * (seen[name] - due_of[batches[n][0]])
            for n, name in enumerate(names)
            if n >= first
        ]

    risk = np.percentile(waits(risks), [50, 99, 100]).tolist()
    low = np.percentile(waits(floor), [50, 99]).tolist()
    late = [1000.0 * (when - due_of[t]) for t, when in alerts.items() if t in due_of]
    alert = np.percentile(late, [50, 99, 100]).tolist() if late else [float("nan")] * 3
    return TraceLatency(
        rate_per_s=rate,
        rows=rows,
        variables=variables,
        wafers=count - first,
        risk_p50_ms=risk[0],
        risk_p99_ms=risk[1],
        risk_max_ms=risk[2],
        alerts=len(late),
        alert_p50_ms=alert[0],
        alert_p99_ms=alert[1],
        alert_max_ms=alert[2],
        floor_p50_ms=low[0],
        floor_p99_ms=low[1],
        state_bytes=state_bytes,
    )


def _batches(line: TraceLine, count: int) -> tuple[list[tuple[int, list[Message]]], list[str]]:
    """Time and records of each wafer's last step, and the wafers' names.

    Wafers go to the modules of that step in turn; one module after another begins to be off, each
    in another sensor (what all modules do is nobody's fault), so that there are alerts.
    """
    modules = sorted({line.module_of(wafer, STEPS - 1) for wafer in range(100)})
    start_ms = START_MS + (_HISTORY_TICKS + 60) * _TICK_MS
    batches, names = [], []
    for number in range(count):
        module = modules[number % len(modules)]
        time_ms = start_ms + number * 1000
        place = modules.index(module)
        events = line.treated(
            number,
            STEPS - 1,
            time_ms,
            module=module,
            shift=_SHIFT if number // _SICK_EVERY >= place + 5 else 0.0,
            sensor=place,
        )
        batches.append((time_ms, [encode(event) for event in events]))
        names.append(events[-1].substrate_id)  # type: ignore[attr-defined]
    return batches, names
