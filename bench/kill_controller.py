"""Two controllers of one site, killed in turn, and the database restarted under them.

    python -m bench.kill_controller --database postgres --model m.onnx --wafers 1000 --kills 20
    python -m bench.kill_controller --database postgres --log kafka --model m.onnx

A fab with excursions is simulated and scored once. Its records go to two empty logs of the kind
asked for. On the first one a controller works undisturbed. On the second one a holder and a standby
work, and things happen at random moments, most of them while messages are on their way from the
database to the log: the holder is killed (SIGKILL), and so is the standby as it takes over;
PostgreSQL is restarted or killed; the broker is killed; the holder hangs (SIGSTOP) until it has
lost its lease, and goes on. In the end the alerts and actions on both logs must be equal byte for
byte, each once. Prints one JSON object and exits with 1 if that does not hold.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from contracts.records import Message, Record
from contracts.topics import Stream, topic_name
from fabpilot.controller import controller_topics, loop_name
from fabpilot.wiring import site_topics
from streaming.database import open_engine, read_only
from streaming.log import Log
from streaming.offsets import load_offsets
from streaming.open import open_log
from streaming.outbox import create_tables, metadata
from tests.command_line import Home
from tests.postgres_server import PostgresServer

_SITE = "kr1"
# Nothing here takes longer, unless something is wrong.
_PATIENCE_S = 120.0
# For how long, and for how many records, the next message is waited for.
_NEXT_MESSAGE_S, _SOON = 1.0, 1500
# As in production, but a holder that hangs inside a transaction is given up sooner.
_OPTIONS = "-c idle_in_transaction_session_timeout=5s -c statement_timeout=60s"


def _site_log(url: str) -> Log:
    log = open_log(url)
    log.create_topics(site_topics(_SITE))
    return log


def records(log: Log, topics: list[str]) -> list[Record]:
    """All records of some topics."""
    reader = log.reader(topics, "beginning")
    found: list[Record] = []

    def at_the_end() -> bool:
        # Not by counting: on Kafka the ends of transactions have offsets too.
        found.extend(reader.poll(1000, 0.2))
        positions = reader.positions()
        return all(positions.get(place, 0) >= end for place, end in log.ends(topics).items())

    wait_until(at_the_end, "the end of the log")
    reader.close()
    return found


def copy_records(source: Log, target: Log, topics: list[str]) -> None:
    """The records of some topics, to a log that has these topics and nothing in them."""
    messages = [Message(r.topic, r.key, r.value, r.headers) for r in records(source, topics)]
    for first in range(0, len(messages), 500):
        target.append(messages[first : first + 500])


@contextmanager
def empty_log(kind: str, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The URL of an empty log, a file or a Kafka of its own, and what kills its broker."""
    if kind == "embedded":
        yield f"embedded:{folder / 'log.db'}", lambda: None
        return
    sys.path.append(str(Path(__file__).parents[1] / "deploy" / "kafka-local"))
    from kafka_cluster import KafkaCluster, running  # type: ignore[import-not-found]

    def kill_broker() -> None:
        cluster.kill(1)
        cluster.start_node(1)

    with running(KafkaCluster(folder / "kafka")) as cluster:
        yield f"kafka://{cluster.brokers}", kill_broker


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {_PATIENCE_S:.0f} s")
        time.sleep(0.002)


class Ordeal:
    """A holder and a standby, and what happens to them."""

    def __init__(self, home: Home, engine: sa.Engine, rng: random.Random) -> None:
        self._home = home
        self._engine = engine
        self._rng = rng
        self._controllers: list[subprocess.Popen[bytes]] = []
        self._said = (home.folder / "controllers.log").open("ab")
        self.happened: Counter[str] = Counter()
        self.happened_at: list[int] = []
        self.while_publishing = 0

    def two_at_work(self) -> None:
        """Have two controllers, one of them holding the lease."""
        self._controllers = [one for one in self._controllers if one.poll() is None]
        while len(self._controllers) < 2:
            self._controllers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "fabpilot", "control"],
                    env=self._home.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._said,
                )
            )
        wait_until(lambda: self._holder() is not None, "a holder")

    def taken_in(self) -> int:
        """Records settled; -1 while the database is away."""
        try:
            with read_only(self._engine).begin() as connection:
                return sum(load_offsets(connection, loop_name(_SITE)).values())
        except DBAPIError:
            return -1

    def happen(
        self, what: str, target: int, server: PostgresServer | None, kill_broker: Callable[[], None]
    ) -> None:
        """Once `target` records are settled and a random moment has passed, `what`."""
        self.two_at_work()
        wait_until(lambda: self.taken_in() >= target, "progress")
        if self._rng.random() < 0.7 and self._publishing(target + _SOON):
            self.while_publishing += 1
            time.sleep(self._rng.uniform(0.0, 0.01))
        else:
            time.sleep(self._rng.uniform(0.0, 0.1))
        self.happened[what] += 1
        self.happened_at.append(self.taken_in())
        if what == "kill":
            self._kill(self._holder())
        elif what == "kill both":
            first = self._holder()
            self._kill(first)
            wait_until(lambda: self._holder() not in (None, first), "a successor")
            time.sleep(self._rng.uniform(0.0, 0.1))
            self._kill(self._holder())
        elif what == "hang":
            self._hang()
        elif what == "broker killed":
            kill_broker()
        elif server is not None:
            server.kill() if what == "database killed" else server.stop()
            server.start()

    def finish(self) -> list[int]:
        """Stop both, and let one more come to the end of the log; the exit codes of the two."""
        self.two_at_work()
        codes: list[int] = []
        while len(codes) < 2:
            # Whoever holds the lease has come up, and can be told to end.
            wait_until(lambda: self._holder() is not None, "a holder")
            if (holder := self._holder()) is not None:
                holder.terminate()
                codes.append(holder.wait(60))
        self._home.run("control", "--until-idle")
        return codes

    def close(self) -> None:
        """Leave nobody behind."""
        for one in self._controllers:
            one.kill()
            one.wait()
        self._said.close()

    def _publishing(self, limit: int) -> bool:
        """Wait for messages between state and log: few moments matter more. False if none come."""
        outbox = metadata.tables["outbox"]
        query = sa.select(outbox.c.seq).where(outbox.c.name == loop_name(_SITE)).limit(1)
        deadline = time.monotonic() + _NEXT_MESSAGE_S
        while time.monotonic() < deadline:
            with suppress(DBAPIError), read_only(self._engine).begin() as connection:
                if connection.execute(query).first() is not None:
                    return True
            if self.taken_in() > limit:
                return False
        return False

    def _holder(self) -> subprocess.Popen[bytes] | None:
        """The one whose process number is in the lease (streaming.liveness)."""
        table = metadata.tables["stream_leases"]
        query = sa.select(table.c.process).where(table.c.name == loop_name(_SITE))
        try:
            with read_only(self._engine).begin() as connection:
                name = connection.execute(query).scalar() or ""
        except DBAPIError:
            return None
        pid = name.rpartition("]/")[2].partition("/")[0]
        living = (one for one in self._controllers if one.poll() is None)
        return next((one for one in living if str(one.pid) == pid), None)

    def _kill(self, one: subprocess.Popen[bytes] | None) -> None:
        if one is not None:
            one.kill()
            one.wait()

    def _hang(self) -> None:
        hanging = self._holder()
        if hanging is None:
            return
        hanging.send_signal(signal.SIGSTOP)
        wait_until(lambda: self._holder() not in (None, hanging), "a successor of one that hangs")
        hanging.send_signal(signal.SIGCONT)


def _happenings(options: argparse.Namespace, rng: random.Random) -> list[str]:
    kills = [
        "kill both" if number % 2 else "kill" for number in range((options.kills * 2 + 2) // 3)
    ]
    restarts = ["database restarted", "database killed"] * options.restarts
    on_postgres = restarts[: options.restarts] + ["hang"] * options.hangs
    on_kafka = ["broker killed"] * options.broker_kills
    happenings = kills + (on_postgres if options.database == "postgres" else [])
    happenings += on_kafka if options.log == "kafka" else []
    rng.shuffle(happenings)
    return happenings


_SAID = (Stream.ALERTS, Stream.ACTIONS, Stream.RISKS, Stream.CHARTS, Stream.DEAD_LETTERS)


def decisions(log: Log) -> dict[str, list[bytes]]:
    """What a controller said on the log, in no order."""
    return {
        stream.value: sorted(r.value for r in records(log, [topic_name(_SITE, stream)]))
        for stream in _SAID
    }


def kill_controller(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make the input, run undisturbed, run disturbed, compare."""
    made = Home(folder / "made", FABPILOT_SITE=_SITE)
    made.run("sim", "run", "--scenario", "demo", "--wafers", str(options.wafers))
    made.run("process", "--until-idle", "--model", str(Path(options.model).absolute()))
    source = _site_log(f"embedded:{made.folder / 'log.db'}")
    topics = list(site_topics(_SITE))

    calm = folder / "calm"
    calm.mkdir()
    with empty_log(options.log, calm) as (url, _):
        log = _site_log(url)
        copy_records(source, log, topics)
        began = time.monotonic()
        Home(calm, FABPILOT_SITE=_SITE, FABPILOT_LOG=url).run("control", "--until-idle")
        calm_s = time.monotonic() - began
        expected = decisions(log)
        log.close()

    hard = folder / "hard"
    hard.mkdir()
    with (
        empty_log(options.log, hard) as (url, kill_broker),
        _database(options.database, hard) as (server, db),
    ):
        log = _site_log(url)
        copy_records(source, log, topics)
        engine = open_engine(db)
        create_tables(engine)
        home = Home(hard, FABPILOT_SITE=_SITE, FABPILOT_LOG=url, FABPILOT_DATABASE=db)
        rng = random.Random(options.seed)
        ordeal = Ordeal(home, engine, rng)
        happenings = _happenings(options, rng)
        total = sum(log.ends(controller_topics(_SITE)).values())
        targets = sorted(rng.uniform(0.0, 0.95) * total for _ in happenings)
        began = time.monotonic()
        try:
            for what, target in zip(happenings, targets, strict=True):
                ordeal.happen(what, int(target), server, kill_broker)
            codes = ordeal.finish()
        finally:
            ordeal.close()
        hard_s = time.monotonic() - began
        found = decisions(log)
        engine.dispose()
        log.close()
    source.close()
    if options.keep:
        Path(options.keep).write_bytes((hard / "controllers.log").read_bytes())
    same = {name: expected[name] == found[name] for name in expected}
    happened = ordeal.happened
    return {
        "log": options.log,
        "database": options.database,
        "wafers": options.wafers,
        "records": total,
        "alert_revisions": len(expected["alerts"]),
        "actions": len(expected["actions"]),
        "dead_letters": len(found["dead_letters"]),
        "same": same,
        "each_once": all(len(set(values)) == len(values) for values in found.values()),
        "kills": happened["kill"] + 2 * happened["kill both"],
        "database_restarts": happened["database restarted"] + happened["database killed"],
        "hangs": happened["hang"],
        "broker_kills": happened["broker killed"],
        "while_publishing": ordeal.while_publishing,
        "happened_at": ordeal.happened_at,
        "exit_codes": codes,
        "undisturbed_s": round(calm_s, 1),
        "disturbed_s": round(hard_s, 1),
        "good": all(same.values()) and bool(expected["alerts"]) and not any(codes),
    }


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[tuple[PostgresServer | None, str]]:
    if kind == "sqlite":
        yield None, f"sqlite:///{folder / 'fabpilot.db'}"
        return
    server = PostgresServer()
    try:
        server.start()
        url = sa.make_url(server.url(server.create_database()))
        url = url.update_query_dict({"options": _OPTIONS})
        yield server, url.render_as_string(hide_password=False)
    finally:
        server.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--log", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--model", required=True, help="an ONNX file")
    parser.add_argument("--wafers", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20, help="of controllers, at least")
    parser.add_argument("--restarts", type=int, default=6, help="of PostgreSQL")
    parser.add_argument("--hangs", type=int, default=2, help="of the holder, on PostgreSQL")
    parser.add_argument("--broker-kills", type=int, default=3, help="of Kafka")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default="", help="where to keep what the controllers said")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fabpilot-kill-") as folder:
        result = kill_controller(Path(folder), options)
    print(json.dumps(result))
    sys.exit(0 if result["good"] else 1)


if __name__ == "__main__":
    main()
