"""Two hundred people watch the console and twenty programs ask it, while a fab goes on.

Every viewer does what a page in a browser does: it listens, and asks for its page again shortly
after something changed. The console is the command, with accounts, in a process of its own; this
process makes the load, on the same cores.
"""

import asyncio
import itertools
import json
import random
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from console.feed import SLOW_TOPICS
from contracts.codec import encode
from contracts.errors import LogUnavailableError
from contracts.events import Event, WaferMap
from contracts.ids import derived_id
from fabpilot.benchmarks.console_data import SITE, an_alert, fill, shift
from fabpilot.benchmarks.console_process import (
    make_registry,
    people,
    programs,
    running_console,
)
from fabpilot.benchmarks.http_client import Connection, listen
from fabpilot.benchmarks.process_usage import cpu_s, resident_mib
from fabpilot.benchmarks.stream import machine
from fabpilot.settings import Settings
from fabpilot.wiring import open_site_log
from streaming.database import open_engine
from streaming.deadline import Deadline
from streaming.log import Log

__all__ = ["ConsoleBench", "measure_console"]

# As in console/static/live.js: how long a page waits for more before it asks.
_SETTLE_S, _SLOW_S, _SPREAD_S = 0.4, 2.0, 0.3
_WARM_UP_S = 3.0
_ALERT_EVERY_S = 2.0
# What a program asks in turn, and how often.
_ASKED = (
    "/api/v1/alerts",
    "/api/v1/wafers?limit=50",
    "/api/v1/equipment",
    "/api/v1/strip",
    "/api/v1/shift",
)
_ASK_EVERY_S = 0.5
_EMPTY_EVERY_S = 0.1
# Alerts after the last one was told must have come by then.
_DRAIN_S = 10.0


class ConsoleBench(msgspec.Struct, frozen=True):
    """What the viewers saw.

    Attributes:
        viewers, api_clients: at once.
        pages: asked for by the viewers while measuring; pages_per_s of them.
        page_p50_ms, page_p99_ms, page_max_ms: from asking to the last byte.
        api_p99_ms: of the programs' requests.
        failures: answers that were not 200.
        alerts: told on the log while measuring.
        alert_p50_ms, alert_max_ms: from an alert on the log until a viewer's browser was told, over
            all alerts and viewers.
        alerts_missed: (alert, viewer) pairs without one; must be 0.
        events_per_s: of the fab, onto the log beside it.
        empty_idle_p99_ms: of an endpoint that does nothing, before the load.
        empty_p99_ms: of the same, under the load: what remains is the machine's and the server's.
        empty_per_s: of it, one after the other, before the load.
        ratio: page_p99_ms / empty_p99_ms.
        rss_before_mb, rss_peak_mb, rss_after_mb: memory of the console.
        console_cpu, load_cpu: cores' worth of processor time of the console and of this process.
    """

    viewers: int
    api_clients: int
    seconds: float
    pages: int
    pages_per_s: float
    page_p50_ms: float
    page_p99_ms: float
    page_max_ms: float
    api_p99_ms: float
    failures: int
    alerts: int
    alert_p50_ms: float
    alert_max_ms: float
    alerts_missed: int
    events_per_s: float
    empty_idle_p99_ms: float
    empty_p99_ms: float
    empty_per_s: float
    ratio: float
    rss_before_mb: float
    rss_peak_mb: float
    rss_after_mb: float
    console_cpu: float
    load_cpu: float
    machine: str


@dataclass
class _Seen:
    pages: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    failures: int = 0
    told: dict[str, float] = field(default_factory=dict)
    heard: list[dict[str, float]] = field(default_factory=list)
    measuring: bool = False
    peak_mb: float = 0.0

    def note(self, kind: list[float], began: float, status: int) -> None:
        if self.measuring:
            kind.append(time.perf_counter() - began)
            self.failures += status != 200


def measure_console(
    settings: Settings, *, viewers: int, clients: int, seconds: float, events_per_s: float
) -> ConsoleBench:
    """Measure all of it in one run.

    Args:
        settings: for everything but where things are kept.
        viewers: people with a page open.
        clients: programs with a token.
        seconds: how long to measure.
        events_per_s: of the fab beside it.

    Raises:
        LogUnavailableError: the console does not start.
    """
    with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
        home = Path(folder)
        settings = settings.model_copy(
            update={"home": home, "log": "", "database": "", "auth": "local"}
        )
        log = open_site_log(settings, SITE)
        engine = open_engine(settings.database_url)
        try:
            maps = fill(engine, 150)
            make_registry(home)
            viewing, asking = people(engine, viewers), programs(engine, clients)
            with running_console(home) as (port, pid):
                return asyncio.run(
                    _measured(log, maps, viewing, asking, port, pid, seconds, events_per_s)
                )
        finally:
            engine.dispose()
            log.close()


async def _measured(
    log: Log,
    maps: list[WaferMap],
    viewing: list[dict[str, str]],
    asking: list[dict[str, str]],
    port: int,
    pid: int,
    seconds: float,
    events_per_s: float,
) -> ConsoleBench:
    idle = await _idle(port)
    before_mb = resident_mib(pid)
    seen = _Seen(heard=[{} for _ in viewing])
    pages = itertools.cycle(_pages(maps))
    fab = asyncio.create_task(_fab(log, events_per_s))
    tasks = [fab, asyncio.create_task(_empty(port, seen))]
    tasks += [
        asyncio.create_task(_viewer(port, headers, next(pages), seen, heard))
        for headers, heard in zip(viewing, seen.heard, strict=True)
    ]
    tasks += [asyncio.create_task(_program(port, headers, seen)) for headers in asking]
    peak = asyncio.create_task(_peak(pid, seen))
    await asyncio.sleep(_WARM_UP_S)
    seen.measuring = True
    cpu, load = cpu_s(pid), time.process_time()
    began = time.perf_counter()
    number = 100
    while (now := time.perf_counter()) < began + seconds:
        alert = an_alert(number, maps[-100:])
        seen.told[alert.alert_id] = now
        await asyncio.to_thread(log.append, [encode(alert)])
        number += 1
        await asyncio.sleep(_ALERT_EVERY_S)
    took = time.perf_counter() - began
    seen.measuring = False
    cores, ours = (cpu_s(pid) - cpu) / took, (time.process_time() - load) / took
    deadline = Deadline(_DRAIN_S)
    while _missed(seen) and not deadline.passed:
        await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [one for one in ended if isinstance(one, Exception)]
    if failed:
        raise LogUnavailableError(f"{len(failed)} of the load failed, first: {failed[0]!r}")
    peak.cancel()
    waits = [heard[one] - seen.told[one] for heard in seen.heard for one in heard]
    page, empty = _ms(seen.pages, 50, 99, 100), _ms(seen.empty, 99)
    return ConsoleBench(
        viewers=len(viewing),
        api_clients=len(asking),
        seconds=took,
        pages=len(seen.pages),
        pages_per_s=len(seen.pages) / took,
        page_p50_ms=page[0],
        page_p99_ms=page[1],
        page_max_ms=page[2],
        api_p99_ms=_ms(seen.asked, 99)[0],
        failures=seen.failures,
        alerts=len(seen.told),
        alert_p50_ms=_ms(waits, 50)[0],
        alert_max_ms=_ms(waits, 100)[0],
        alerts_missed=_missed(seen),
        events_per_s=events_per_s,
        empty_idle_p99_ms=_ms(idle, 99)[0],
        empty_p99_ms=empty[0],
        empty_per_s=len(idle) / sum(idle),
        ratio=page[1] / empty[0],
        rss_before_mb=before_mb,
        rss_peak_mb=seen.peak_mb,
        rss_after_mb=resident_mib(pid),
        console_cpu=cores,
        load_cpu=ours,
        machine=machine(),
    )


def _pages(maps: list[WaferMap]) -> list[str]:
    """What people look at: mostly the first page, some an alert or another page."""
    alert = derived_id("bench-alert", 1)
    wafer = maps[-1]
    others = ["/wafers", "/equipment", f"/alerts/{alert}", f"/wafers/{SITE}/{wafer.substrate_id}"]
    return ["/", "/", *others[:1], "/", "/", *others[1:2], "/", "/", *others[2:3], "/"]


async def _viewer(
    port: int, headers: dict[str, str], page: str, seen: _Seen, heard: dict[str, float]
) -> None:
    """A page in a browser: it listens, and asks for itself again after a change."""
    changed, urgent = asyncio.Event(), asyncio.Event()
    chance = random.Random(headers["cookie"])
    browser = Connection(port, {**headers, "accept": "text/html", "x-fabpilot-live": "1"})

    async def watch() -> None:
        after = 0
        async for event, data in listen(port, f"/api/v1/events?after={after}", headers):
            if event == "alerts":
                subject = json.loads(data)["subject"]
                if subject in seen.told:
                    heard.setdefault(subject, time.perf_counter())
            if event != "beat":
                changed.set()
            if event not in ("beat", *SLOW_TOPICS):
                urgent.set()
        raise LogUnavailableError("a stream ended")

    watching = asyncio.create_task(watch())
    try:
        while True:
            began = time.perf_counter()
            status, _ = await browser.get(page)
            seen.note(seen.pages, began, status)
            waiting = asyncio.create_task(changed.wait())
            await asyncio.wait({waiting, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                waiting.cancel()
                watching.result()
            with suppress(TimeoutError):
                await asyncio.wait_for(urgent.wait(), _SLOW_S - _SETTLE_S)
            await asyncio.sleep(_SETTLE_S + chance.uniform(0.0, _SPREAD_S))
            changed.clear()
            urgent.clear()
    finally:
        watching.cancel()
        browser.close()


async def _program(port: int, headers: dict[str, str], seen: _Seen) -> None:
    connection = Connection(port, headers)
    for path in itertools.cycle(_ASKED):
        began = time.perf_counter()
        status, _ = await connection.get(path)
        seen.note(seen.asked, began, status)
        await asyncio.sleep(_ASK_EVERY_S)


async def _empty(port: int, seen: _Seen) -> None:
    connection = Connection(port, {})
    while True:
        began = time.perf_counter()
        status, _ = await connection.get("/livez")
        seen.note(seen.empty, began, status)
        await asyncio.sleep(_EMPTY_EVERY_S)


async def _idle(port: int) -> list[float]:
    """Seconds of each of many requests that do nothing, one after the other."""
    connection = Connection(port, {})
    found = []
    for _ in range(500):
        began = time.perf_counter()
        await connection.get("/livez")
        found.append(time.perf_counter() - began)
    connection.close()
    return found


async def _fab(log: Log, events_per_s: float) -> None:
    """A fab that goes on, at an even pace."""
    source = itertools.chain.from_iterable(shift(100_000, seed=1))
    portion = max(1, round(events_per_s / 4))
    while True:
        began = time.perf_counter()
        events: list[Event] = await asyncio.to_thread(
            lambda: list(itertools.islice(source, portion))
        )
        await asyncio.to_thread(log.append, [encode(event) for event in events])
        await asyncio.sleep(max(0.0, began + portion / events_per_s - time.perf_counter()))


async def _peak(pid: int, seen: _Seen) -> None:
    while True:
        seen.peak_mb = max(seen.peak_mb, resident_mib(pid))
        await asyncio.sleep(0.5)


def _missed(seen: _Seen) -> int:
    return sum(one not in heard for one in seen.told for heard in seen.heard)


def _ms(seconds: list[float], *percentiles: float) -> list[float]:
    found = 1000 * np.percentile(seconds or [float("nan")], percentiles)
    return [float(one) for one in found]
