"""Hours of a fab with a random service killed in each of them.

    python -m bench.soak --hours 24 --model m.onnx --json
    python -m bench.soak --hours 9 --hour-s 10

A fab, two processors, a controller with its standby and a console work on an Apache Kafka, a
PostgreSQL and an MLflow of their own. In every simulated hour, at a random moment of it, one of
these nine gets SIGKILL and is started again as Compose would; in every nine hours each of them has
its turn. MLflow stays away until a processor has been killed as well and serves again, and comes
back to a promotion (bench/soak_registry.py).

In the end every wafer must have exactly one prediction, every revision of an alert and every stage
of an action must be on the log once, the console must show those alerts, the fab's streams must be
byte for byte those of a fab that nothing happened to, the excursions that are found without kills
must be found, and the memory of each of our processes must be what it was after warm-up (10 % more
at most). Processors must have served the last good model while there was no registry, and each
promoted one within 10 s. Prints one JSON object and exits with 1 if that does not hold.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from bench.fleet import model_option
from bench.soak_calm import SITE, START_MS, Calm, calm_run
from bench.soak_log import Decisions, FabClock, decisions, fab_digest
from bench.soak_memory import Memory, Sample, ServiceMemory, judge
from bench.soak_registry import Answers, ModelServer, Outage, Registry, register_two
from bench.soak_services import Broker, Command, Database, Service, Supervisor
from bench.stream_watch import Audit, audit, wait_until
from contracts.topics import Stream, topic_name
from fabpilot.judge import judge_alerts
from fabpilot.output import err, progress_bar, report
from fabpilot.wiring import site_topics
from streaming.open import open_log
from tests.command_line import Home
from tests.kafka_server import KafkaCluster
from tests.postgres_server import PostgresServer, free_port

# Nothing stands still for longer, unless something is wrong.
_PATIENCE_S = 300.0
_LOOK_S = 1.0
# After the first map: every processor has scored, every page has been shown.
_WARM_UP_H = 2.0
# Whose memory must be flat. A JVM takes what its heap may have; PostgreSQL fills its buffers.
_OURS = ("fab", "processor", "controller", "console")


class Soak:
    """The services at work, and what happens to them.

    Args:
        home: of the commands.
        cluster: a Kafka that runs.
        server: a PostgreSQL that runs.
        mlflow: that runs, with two versions of the model.
        options: of the command line.
        calm: what it would be without kills; the fab ends with the same wafer.
    """

    def __init__(
        self,
        home: Home,
        cluster: KafkaCluster,
        server: PostgresServer,
        mlflow: ModelServer,
        options: argparse.Namespace,
        calm: Calm,
    ) -> None:
        self._hours, self._wafers, self._last_h = options.hours, calm.wafers, calm.last_h
        url = home.environment["FABPILOT_LOG"]
        fab = ["sim", "run", "--scenario", options.scenario]
        fab += ["--seed", str(options.seed), "--wafers", str(calm.wafers)]
        fab += ["--speed", str(3600 / options.hour_s)]
        self._port = free_port()
        self._home = home
        self._rng = random.Random(options.seed)
        self.clock = FabClock(url, SITE, START_MS)
        self._answers = Answers(url, topic_name(SITE, Stream.PREDICTIONS))
        ports = {name: free_port() for name in ("processor-1", "processor-2")}
        commands = [
            *(
                Command(name, home.but(FABPILOT_METRICS_PORT=str(port)), ["process"], ends=False)
                for name, port in ports.items()
            ),
            Command("controller-1", home, ["control"], ends=False),
            Command("controller-2", home, ["control"], ends=False),
            Command("console", home, ["console", "--port", str(self._port)], ends=False),
            Command("fab", home, fab, ends=True),
        ]
        self.commands = {one.name: one for one in commands}
        servers: list[Service] = [Broker(cluster), Database(server), mlflow]
        self.supervisor = Supervisor(
            [*servers, *commands], running=[server.name for server in servers]
        )
        self.registry = Registry(mlflow, self.supervisor, ports, self._answers)
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
            while not (
                fab.finished and self._answers.count >= self._wafers and self.registry.settled
            ):
                self.supervisor.look()
                self._look_at_the_console()
                hour = self.clock.hour
                self.registry.look(hour, last=not plan)
                if plan and hour >= plan[0][0] and not self.registry.busy:
                    _, name = plan.pop(0)
                    self.killed.append((round(hour, 2), name))
                    self.supervisor.kill(name)
                    self.registry.killed(name, hour)
                    err.print(f"hour {hour:.1f} of {self._hours}: {name} killed")
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
        codes = {name: self.commands[name].stop() for name in ("controller-1", "controller-2")}
        self._home.run("control", "--until-idle")
        return codes | {name: self.commands[name].stop() for name in ("processor-1", "processor-2")}

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
            # Who is started while there is no registry begins with the model that served last.
            turn.remove("processor-1")
            turn.insert(turn.index("mlflow") + 1, "processor-1")
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


class Outcome(msgspec.Struct, frozen=True):
    """What the disturbed run left.

    Attributes:
        audit: maps held against predictions.
        fab: count and digest of each of the fab's streams.
        shown: alerts on the console in the end.
        killed: the hour, and who.
        outages: times without the registry.
        problem: why it came to no end, '' if it did.
        codes: exit codes of those who were told to end.
    """

    audit: Audit
    fab: dict[str, tuple[int, str]]
    decisions: Decisions
    shown: set[str]
    killed: list[tuple[float, str]]
    outages: list[Outage]
    samples: dict[str, list[Sample]]
    ended_by_itself: dict[str, int]
    looks: dict[str, int]
    codes: dict[str, int]
    seconds: float
    problem: str


def hard_run(folder: Path, options: argparse.Namespace, calm: Calm) -> Outcome:
    """The hours with their kills, on servers of their own."""
    cluster, server = KafkaCluster(folder / "kafka"), PostgresServer()
    mlflow: ModelServer | None = None
    try:
        cluster.start()
        server.start()
        mlflow = ModelServer(folder / "mlflow", server.url(server.create_database()))
        home = Home(
            folder,
            FABPILOT_SITE=SITE,
            FABPILOT_LOG=f"kafka://{cluster.brokers}",
            FABPILOT_DATABASE=server.url(server.create_database()),
            FABPILOT_MLFLOW=mlflow.url,
            # As in Compose.
            OMP_NUM_THREADS="1",
        )
        with closing(open_log(home.environment["FABPILOT_LOG"])) as log:
            log.create_topics(site_topics(SITE))
        mlflow.start()
        mlflow.wait()
        register_two(mlflow.url, Path(model_option(options.model, folder)[1]), folder)
        one = Soak(home, cluster, server, mlflow, options, calm)
        problem, codes, shown = "", {}, set[str]()
        began = time.monotonic()
        try:
            one.run()
            seconds = time.monotonic() - began
            codes = one.finish()
        except (TimeoutError, RuntimeError) as error:
            problem, seconds = str(error), time.monotonic() - began
        try:
            with closing(open_log(home.environment["FABPILOT_LOG"])) as log:
                made = decisions(log, SITE)
                if not problem:
                    shown = one.shown(len(made.alerts))
                    codes["console"] = one.commands["console"].stop()
                return Outcome(
                    audit=audit(log, SITE),
                    fab=fab_digest(log, SITE),
                    decisions=made,
                    shown=shown,
                    killed=one.killed,
                    outages=one.registry.outages,
                    samples=one.memory.samples,
                    ended_by_itself=one.supervisor.ended_by_itself,
                    looks=dict(one.looks),
                    codes=codes,
                    seconds=round(seconds, 1),
                    problem=problem,
                )
        finally:
            one.close()
    finally:
        if mlflow is not None:
            mlflow.kill()
        cluster.stop()
        server.close()


def compare(calm: Calm, hard: Outcome, options: argparse.Namespace) -> dict[str, Any]:
    """The report: what must hold, and whether it does."""
    memory: dict[str, ServiceMemory] = {}
    for name, samples in sorted(hard.samples.items()):
        # A run that failed early has too few of them.
        with suppress(ValueError):
            memory[name] = judge(samples, calm.first_h + _WARM_UP_H)
    affected = [excursion for excursion in calm.truth if excursion.affected]
    made, expected = hard.decisions, calm.decisions
    named, false = judge_alerts(list(made.alerts.values()), affected)
    named_calm, false_calm = judge_alerts(list(expected.alerts.values()), affected)
    checks = {
        "each_wafer_once": hard.audit.good(calm.wafers),
        "same_fab": hard.fab == calm.fab,
        "alerts_once": bool(made.alerts) and made.doubled == made.gaps == 0,
        "excursions_found": named >= named_calm,
        "console_shows_all": hard.shown == set(made.alerts),
        "memory_flat": all(name in memory and memory[name].flat for name in _OURS),
        # Nine hours have each of the services once.
        "model_followed": bool(hard.outages) and all(one.good for one in hard.outages),
        "worked_without_registry": any(one.predictions for one in hard.outages),
        "ended_well": not hard.problem and not any(hard.codes.values()),
        "all_killed": len(hard.killed) == options.hours,
    }
    return {
        **msgspec.to_builtins(hard.audit),
        "hours": options.hours,
        "kills": len(hard.killed),
        "killed": dict(Counter(name for _, name in hard.killed)),
        "killed_at": hard.killed,
        "outages_of_the_registry": msgspec.to_builtins(hard.outages),
        "alerts": len(made.alerts),
        "alert_revisions": made.revisions,
        "actions": made.actions,
        "doubled_decisions": made.doubled,
        "gaps_in_revisions": made.gaps,
        "excursions": len(affected),
        "excursions_named": named,
        "false_alerts": false,
        "undisturbed": {
            "alerts": len(expected.alerts),
            "alert_revisions": expected.revisions,
            "actions": expected.actions,
            "excursions_named": named_calm,
            "false_alerts": false_calm,
        },
        "causes_only_here": sorted(made.causes - expected.causes),
        "causes_only_undisturbed": sorted(expected.causes - made.causes),
        "memory_mib": msgspec.to_builtins(memory),
        "ended_by_itself": hard.ended_by_itself,
        "console_looks": hard.looks,
        "exit_codes": hard.codes,
        "seconds": hard.seconds,
        "load": round(os.getloadavg()[0], 1),
        "problem": hard.problem,
        "checks": checks,
        "good": all(checks.values()),
    }


def soak(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Undisturbed, then disturbed, then compared."""
    for part in ("calm", "hard"):
        (folder / part).mkdir(parents=True)
    calm = calm_run(folder / "calm", options)
    err.print(f"undisturbed: {calm.wafers} wafers, {len(calm.decisions.alerts)} alerts")
    hard = hard_run(folder / "hard", options, calm)
    (folder / "memory.json").write_bytes(msgspec.json.encode(hard.samples))
    return compare(calm, hard, options)


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
