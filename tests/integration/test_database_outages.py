"""The stateful loop while its PostgreSQL server is restarted, killed, or not there at all."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa

from contracts.codec import encode
from contracts.errors import LogError, LogUnavailableError
from contracts.events import Label
from streaming.database import open_engine
from streaming.embedded import EmbeddedLog
from streaming.lease import Lease
from streaming.outbox import create_tables, enqueue, metadata
from streaming.stateful import StatefulLoop, StatefulReport
from tests.postgres_server import PostgresServer
from tests.stream_helpers import (
    LABELS,
    MAPS,
    SUMS,
    apply,
    decoded,
    label_of,
    publish,
    state,
    wafer,
)

pytestmark = pytest.mark.postgres

RECORDS = 120
EVERY_THIRD = [f"{n} {n - 1}" for n in range(3, RECORDS + 1, 3)]
AT_ONCE = 8


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path / "log.db")
    publish(opened, [encode(wafer(i)) for i in range(RECORDS)])
    yield opened
    opened.close()


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    opened = state(postgres_url)
    yield opened
    opened.dispose()


def loop(log: EmbeddedLog, engine: sa.Engine) -> StatefulLoop:
    return StatefulLoop(
        name="c", log=log, engine=engine, topics=lambda: [MAPS], apply=apply, batch=10
    )


def texts(log: EmbeddedLog) -> list[str]:
    found = [event.patterns[0] for event in decoded(log, LABELS) if isinstance(event, Label)]
    return sorted(found, key=lambda text: int(text.split()[0]))


def counted(engine: sa.Engine) -> int:
    with engine.begin() as connection:
        return int(connection.execute(sa.select(SUMS.c.n)).scalar_one())


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_server_that_restarts_changes_nothing(
    log: EmbeddedLog,
    engine: sa.Engine,
    postgres_server: PostgresServer,
    mode: Literal["fast", "immediate", "kill"],
) -> None:
    def restart(report: StatefulReport) -> None:
        if report.consumed % 40:
            return
        if mode == "kill":
            postgres_server.kill()
            postgres_server.start()
        else:
            postgres_server.restart(mode)

    report = loop(log, engine).run(threading.Event(), until_idle=True, on_progress=restart)
    assert report.consumed == counted(engine) == RECORDS
    assert texts(log) == EVERY_THIRD


def test_a_server_that_goes_in_the_midst_of_a_transaction(
    log: EmbeddedLog, engine: sa.Engine, postgres_server: PostgresServer
) -> None:
    went: list[int] = []

    def going(connection: sa.Connection, arrived):  # type: ignore[no-untyped-def]
        events = apply(connection, arrived)
        if len(went) < 3:
            went.append(len(arrived))
            postgres_server.kill()
            postgres_server.start()
        return events

    report = StatefulLoop(
        name="c", log=log, engine=engine, topics=lambda: [MAPS], apply=going, batch=10
    ).run(threading.Event(), until_idle=True)
    assert len(went) == 3
    assert report.consumed == counted(engine) == RECORDS
    assert texts(log) == EVERY_THIRD


def test_a_server_that_comes_late_is_waited_for(
    log: EmbeddedLog, engine: sa.Engine, postgres_server: PostgresServer
) -> None:
    postgres_server.stop()
    tried = threading.Event()
    sa.event.listen(engine, "do_connect", lambda *_: tried.set())
    with ThreadPoolExecutor() as pool:
        running = pool.submit(loop(log, engine).run, threading.Event(), until_idle=True)
        tried.wait()
        postgres_server.start()
        assert running.result().consumed == RECORDS
    assert texts(log) == EVERY_THIRD


def test_a_stop_ends_the_wait_and_a_standby_goes_on(
    log: EmbeddedLog, engine: sa.Engine, postgres_server: PostgresServer
) -> None:
    stop, tried = threading.Event(), threading.Event()

    def leave(report: StatefulReport) -> None:
        postgres_server.stop()
        sa.event.listen(engine, "do_connect", lambda *_: tried.set())

    with ThreadPoolExecutor() as pool:
        running = pool.submit(loop(log, engine).run, stop, on_progress=leave)
        tried.wait()
        stop.set()
        # It returns while the server is away: the lease that it cannot give up expires by itself.
        assert running.result().consumed == 10
    postgres_server.start()
    with engine.begin() as connection:
        connection.execute(metadata.tables["stream_leases"].update().values(process=""))
        connection.execute(metadata.tables["stream_leases"].update().values(expires_ms=1))
    assert loop(log, engine).run(threading.Event(), until_idle=True).consumed == RECORDS - 10
    assert texts(log) == EVERY_THIRD


def test_one_that_is_refused_ends(log: EmbeddedLog, postgres_url: str) -> None:
    engine = open_engine(postgres_url, password="wrong")
    with pytest.raises(LogError, match="check user and password") as raised:
        loop(log, engine).run(threading.Event())
    assert not isinstance(raised.value, LogUnavailableError)
    engine.dispose()


def test_two_that_start_at_once_do_not_collide(postgres_url: str) -> None:
    """Tables, the first lease and the first numbers of an outbox, by several at the same moment."""
    together = threading.Barrier(AT_ONCE)

    def start(number: int) -> bool:
        engine = open_engine(postgres_url)
        together.wait()
        create_tables(engine)
        with engine.begin() as connection:
            together.wait()
            leads = Lease("c", None, 60_000).acquire(connection)
        for one in range(5):
            with engine.begin() as connection:
                enqueue(connection, "c", [label_of(wafer(number * 10 + one), "x")] * 3)
        engine.dispose()
        return leads

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert sum(pool.map(start, range(AT_ONCE))) == 1
    engine = open_engine(postgres_url)
    outbox = metadata.tables["outbox"]
    with engine.begin() as connection:
        numbers = connection.execute(sa.select(outbox.c.seq).order_by(outbox.c.seq)).scalars().all()
    engine.dispose()
    assert numbers == list(range(1, AT_ONCE * 5 * 3 + 1))
