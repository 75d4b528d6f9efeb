"""Hours of a fab with a random service killed in each of them.

    python -m bench.soak --hours 24 --model m.onnx --json
    python -m bench.soak --hours 3 --hour-s 10

A fab, two processors, a controller with its standby and a console work on an Apache Kafka and a
PostgreSQL of their own. In every simulated hour, at a random moment of it, one of these eight
processes gets SIGKILL and is started again as Compose would; in every eight hours each of them has
its turn. In the end every wafer must have exactly one prediction, every revision of an alert and
every stage of an action must be on the log once, the console must show those alerts, the fab's
streams must be byte for byte those of a fab that nothing happened to, the excursions that are
found without kills must be found, and the memory of each of our processes must be what it was
after warm-up (10 % more at most). Prints one JSON object and exits with 1 if that does not hold.
"""

import argparse
import json
import os
import random
import socket
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from bench.fleet import home_on, model_option
from bench.soak_log import Decisions, FabClock, decisions, fab_digest
from bench.soak_memory import Memory, ServiceMemory, judge
from bench.soak_services import Broker, Command, Database, Supervisor
from bench.stream_watch import Watch, audit, wait_until
from contracts.codec import encode
from contracts.errors import ConfigError
from contracts.records import Message
from contracts.topics import Stream, topic_name
from fab_sim import Fab, TrueExcursion, load_scenario
from fabpilot.judge import judge_alerts
from fabpilot.output import err, progress_bar, report
from fabpilot.wiring import site_topics
from streaming.open import open_log
from tests.command_line import Home
from tests.kafka_server import KafkaCluster
from tests.postgres_server import PostgresServer

_SITE = "kr1"
_START, _START_MS = "2026-01-01T00:00", 1_767_225_600_000
_HOUR_MS = 3_600_000
_TOGETHER = 500
# Nothing stands still for longer, unless something is wrong.
_PATIENCE_S = 300.0
_LOOK_S = 1.0
# After the first map: every processor has scored, every page has been shown.
_WARM_UP_H = 2.0
# Whose memory must be flat. A JVM takes what its heap may have; PostgreSQL fills its buffers.
_OURS = ("fab", "processor", "controller", "console")


class Calm(msgspec.Struct, frozen=True):
    """The same hours of the fab with nothing killed.

    Attributes:
        wafers: tested in these hours.
        first_h: when the first one was, in hours since the start; `last_h` the last one.
        fab: count and digest of each of the fab's streams.
        truth: the excursions that began.
    """

    wafers: int
    first_h: float
    last_h: float
    fab: dict[str, tuple[int, str]]
    truth: tuple[TrueExcursion, ...]
    decisions: Decisions


def calm_run(folder: Path, options: argparse.Namespace) -> Calm:
    """Simulate, score and control the hours on an embedded log, one after another."""
    home = home_on(f"embedded:{folder / 'log.db'}", _SITE, folder)
    log = open_log(home.environment["FABPILOT_LOG"])
    log.create_topics(site_topics(_SITE))
    scenario = load_scenario(options.scenario)
    fab = Fab(scenario, site=_SITE, seed=options.seed, start_ms=_START_MS)
    pending: list[Message] = []
    wafers, first_h, last_h = 0, 0.0, 0.0
    with progress_bar("undisturbed fab, hours", options.hours) as bar:
        while (hour := (fab.now_ms - _START_MS) / _HOUR_MS) < options.hours:
            pending += map(encode, fab.step())
            if fab.wafers_done > wafers:
                # A fab on the log ends when its last wafer is tested, so this one does too.
                wafers, last_h = fab.wafers_done, hour
                first_h = first_h or hour
                for first in range(0, len(pending), _TOGETHER):
                    log.append(pending[first : first + _TOGETHER])
                pending = []
                bar.update(bar.tasks[0].id, completed=hour)
    if not wafers:
        raise ConfigError(f"no wafer is tested within {options.hours} hours; ask for more --hours")
    home.run("process", "--until-idle", *model_option(options.model, folder))
    home.run("control", "--until-idle")
    found = Calm(
        wafers,
        first_h,
        last_h,
        fab_digest(log, _SITE),
        fab.truth(),
        decisions(log, _SITE),
    )
    log.close()
    return found


class Soak:
    """The services at work, and what happens to them.

    Args:
        home: of the commands.
        cluster: a Kafka that runs.
        server: a PostgreSQL that runs.
        options: of the command line.
        calm: what it would be without kills; the fab ends with the same wafer.
    """

    def __init__(
        self,
        home: Home,
        cluster: KafkaCluster,
        server: PostgresServer,
        options: argparse.Namespace,
        calm: Calm,
    ) -> None:
        self._hours, self._wafers, self._last_h = options.hours, calm.wafers, calm.last_h
        url = home.environment["FABPILOT_LOG"]
        model = model_option(options.model, home.folder)
        fab = ["sim", "run", "--scenario", options.scenario, "--start", _START]
        fab += ["--seed", str(options.seed), "--wafers", str(calm.wafers)]
        fab += ["--speed", str(3600 / options.hour_s)]
        self._port = _free_port()
        self._home = home
        self._rng = random.Random(options.seed)
        self.clock = FabClock(url, _SITE, _START_MS)
        self._answers = Watch(url, topic_name(_SITE, Stream.PREDICTIONS))
        self.commands = [
            Command("processor-1", home, ["process", *model], ends=False),
            Command("processor-2", home, ["process", *model], ends=False),
            Command("controller-1", home, ["control"], ends=False),
            Command("controller-2", home, ["control"], ends=False),
            Command("console", home, ["console", "--port", str(self._port)], ends=False),
            Command("fab", home, fab, ends=True),
        ]
        servers = [Broker(cluster), Database(server)]
        self.supervisor = Supervisor(
            [*servers, *self.commands], running=[server.name for server in servers]
        )
        self.memory = Memory(
            lambda: {name: one.pid for name, one in self.supervisor.services.items()},
            lambda: self.clock.hour,
        )
        self.killed: list[tuple[float, str]] = []
        self._next_look = 0.0
        self.looks: Counter[str] = Counter()

    def run(self) -> None:
        """Kill one in every hour until the fab has ended and all is predicted.

        Raises:
            TimeoutError: nothing has moved for too long.
        """
        plan = self._plan()
        fab = self.supervisor.services["fab"]
        moved_at, before = time.monotonic(), (0.0, 0)
        with progress_bar("soak, hours", self._hours) as bar:
            while not fab.finished or self._answers.count < self._wafers:
                self.supervisor.look()
                self._look_at_the_console()
                hour = self.clock.hour
                if plan and hour >= plan[0][0]:
                    _, name = plan.pop(0)
                    self.killed.append((round(hour, 2), name))
                    self.supervisor.kill(name)
                bar.update(bar.tasks[0].id, completed=hour)
                now = (hour, self._answers.count)
                if now != before:
                    moved_at, before = time.monotonic(), now
                elif time.monotonic() - moved_at > _PATIENCE_S:
                    raise TimeoutError(
                        f"nothing has moved for {_PATIENCE_S:.0f} s after hour {hour:.1f}"
                        f" and {self._answers.count} predictions"
                    )
                time.sleep(0.1)

    def finish(self) -> dict[str, int]:
        """Let the controllers come to the end, and tell everybody to end; the exit codes."""
        self.memory.close()
        by_name = {one.name: one for one in self.commands}
        codes = {}
        for name in ("controller-1", "controller-2"):
            codes[name] = by_name[name].stop()
        self._home.run("control", "--until-idle")
        return codes | {name: by_name[name].stop() for name in ("processor-1", "processor-2")}

    def shown(self, alerts: int) -> set[str]:
        """The alerts on the console, once it shows so many (or is late).

        Whoever reads alerts reads them page by page.
        """
        found: set[str] = set()

        def look() -> bool:
            self.supervisor.look()
            found.clear()
            with suppress(OSError, ValueError):
                while True:
                    page = self._ask(f"/api/v1/alerts?state=all&limit=100&offset={len(found)}")
                    found.update(one["alert_id"] for one in page["items"])
                    if not page["items"] or len(found) >= page["total"]:
                        break
            return len(found) >= alerts

        with suppress(TimeoutError):
            wait_until(look, "the alerts on the console", 60)
        return found

    def close(self) -> None:
        """Leave nobody behind."""
        self.memory.close()
        self.supervisor.close()
        self._answers.close()
        self.clock.close()

    def _plan(self) -> list[tuple[float, str]]:
        """When, on the fab's clock, who is killed."""
        names: list[str] = []
        while len(names) < self._hours:
            turn = list(self.supervisor.services)
            self._rng.shuffle(turn)
            names += turn
        # The last one before the fab has ended.
        return [
            (min(hour + self._rng.random(), self._last_h - 0.1), name)
            for hour, name in enumerate(names[: self._hours])
        ]

    def _look_at_the_console(self) -> None:
        """As somebody who has the page open: what a process is asked is part of its memory."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_S
        with suppress(OSError, ValueError):
            self._ask("/api/v1/strip")
            self.looks["answered"] += 1
            return
        self.looks["unanswered"] += 1

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
            return json.load(answer)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def soak(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Undisturbed, then disturbed, then compared."""
    calm_folder, hard_folder = folder / "calm", folder / "hard"
    for part in (calm_folder, hard_folder):
        part.mkdir(parents=True)
    calm = calm_run(calm_folder, options)
    err.print(f"undisturbed: {calm.wafers} wafers, {len(calm.decisions.alerts)} alerts")
    cluster, server = KafkaCluster(hard_folder / "kafka"), PostgresServer()
    problem, codes, shown = "", {}, set[str]()
    began = time.monotonic()
    try:
        cluster.start()
        server.start()
        home = Home(
            hard_folder,
            FABPILOT_SITE=_SITE,
            FABPILOT_LOG=f"kafka://{cluster.brokers}",
            FABPILOT_DATABASE=server.url(server.create_database()),
            # As in Compose.
            OMP_NUM_THREADS="1",
        )
        log = open_log(home.environment["FABPILOT_LOG"])
        log.create_topics(site_topics(_SITE))
        log.close()
        one = Soak(home, cluster, server, options, calm)
        try:
            one.run()
            seconds = time.monotonic() - began
            codes = one.finish()
            # The log it had before may have lost its brokers meanwhile.
            log = open_log(home.environment["FABPILOT_LOG"])
            made = decisions(log, _SITE)
            shown = one.shown(len(made.alerts))
            codes["console"] = one.commands[4].stop()
        except (TimeoutError, RuntimeError) as error:
            problem, seconds = str(error), time.monotonic() - began
            log = open_log(home.environment["FABPILOT_LOG"])
            made = decisions(log, _SITE)
        finally:
            one.close()
        found = audit(log, _SITE)
        same_fab = fab_digest(log, _SITE) == calm.fab
        log.close()
    finally:
        cluster.stop()
        server.close()
    memory: dict[str, ServiceMemory] = {}
    for name, samples in sorted(one.memory.samples.items()):
        # A run that failed early has too few of them.
        with suppress(ValueError):
            memory[name] = judge(samples, calm.first_h + _WARM_UP_H)
    affected = [excursion for excursion in calm.truth if excursion.affected]
    named = judge_alerts(list(made.alerts.values()), affected)
    named_calm = judge_alerts(list(calm.decisions.alerts.values()), affected)
    checks = {
        "each_wafer_once": found.good(calm.wafers),
        "same_fab": same_fab,
        "alerts_once": bool(made.alerts) and made.doubled == made.gaps == 0,
        "excursions_found": named[0] >= named_calm[0],
        "console_shows_all": shown == set(made.alerts),
        "memory_flat": all(name in memory and memory[name].flat for name in _OURS),
        "ended_well": not problem and not any(codes.values()),
        "all_killed": len(one.killed) == options.hours,
    }
    return {
        **msgspec.to_builtins(found),
        "hours": options.hours,
        "kills": len(one.killed),
        "killed": dict(Counter(name for _, name in one.killed)),
        "killed_at": one.killed,
        "alerts": len(made.alerts),
        "alert_revisions": made.revisions,
        "actions": made.actions,
        "doubled_decisions": made.doubled,
        "gaps_in_revisions": made.gaps,
        "excursions": len(affected),
        "excursions_named": named[0],
        "excursions_named_undisturbed": named_calm[0],
        "alerts_undisturbed": len(calm.decisions.alerts),
        "causes_only_here": sorted(made.causes - calm.decisions.causes),
        "causes_only_undisturbed": sorted(calm.decisions.causes - made.causes),
        "memory_mib": msgspec.to_builtins(memory),
        "ended_by_itself": one.supervisor.ended_by_itself,
        "console_looks": dict(one.looks),
        "exit_codes": codes,
        "seconds": round(seconds, 1),
        "load": round(os.getloadavg()[0], 1),
        "problem": problem,
        "checks": checks,
        "good": all(checks.values()),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=int, default=24, help="of the fab; one kill in each")
    parser.add_argument("--hour-s", type=float, default=20.0, help="how long one of them takes")
    parser.add_argument("--scenario", default="demo")
    parser.add_argument("--model", default="", help="an ONNX file; without it a small linear one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", default="", help="a folder for what happened, to look into")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    if options.keep:
        result = soak(Path(options.keep).absolute(), options)
    else:
        with tempfile.TemporaryDirectory(prefix="fabpilot-soak-") as folder:
            result = soak(Path(folder), options)
    report(result, as_json=options.json, title="soak")
    sys.exit(0 if result["good"] else 1)


if __name__ == "__main__":
    main()
