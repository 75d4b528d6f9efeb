"""A site's controller: the pure engine of `control` inside the stateful loop of `streaming`."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from contracts.events import Event
from contracts.topics import Stream, topic_name
from control.engine import Engine
from control.policy import load_policy
from control.state_parts import Changes
from fabpilot.tracing import Led
from streaming.database import insert_or
from streaming.log import Log
from streaming.merge import Taken
from streaming.migrate import migrate
from streaming.stateful import Arrived, StatefulLoop, StatefulReport

__all__ = ["Controller", "controller_topics", "loop_name", "save_new"]

_STREAMS = (
    Stream.PROCESS,
    Stream.EQUIPMENT,
    Stream.TRACES,
    Stream.METROLOGY,
    Stream.PREDICTIONS,
    Stream.ALERTS,
    Stream.ACTIONS,
    Stream.JUDGEMENTS,
)
OnSettled = Callable[[Sequence[float], int, Sequence[Event]], None]
OnApplied = Callable[[Sequence[Led], Sequence[Taken], int], None]

# How long a standby waits after the last sign of life. A controller that was killed is back within
# this time too; alerts can wait that long, and a busy machine does not lose its lease by accident.
_LEASE_MS = 3_000

_metadata = sa.MetaData()
_parts = sa.Table(
    "controller_parts",
    _metadata,
    sa.Column("site", sa.String(32), primary_key=True),
    sa.Column("part", sa.String(200), primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
# Where the state was kept in one piece: read once, if there are no parts yet.
_whole = sa.Table(
    "controller_state",
    _metadata,
    sa.Column("site", sa.String(32), primary_key=True),
    sa.Column("state", sa.LargeBinary, nullable=False),
)


def loop_name(site: str) -> str:
    """What the loop calls itself in the database: of its offsets, lease and outbox."""
    return f"controller.{site}"


def controller_topics(site: str) -> list[str]:
    """What the controller reads."""
    return [topic_name(site, stream) for stream in _STREAMS]


def save_new(database: sa.Engine, site: str, engine: Engine) -> None:
    """Write the state of an engine for a controller that has none yet to go on from."""
    migrate(database)
    with database.begin() as connection:
        _write(connection, site, engine.changes())


def _write(connection: sa.Connection, site: str, changes: Changes) -> None:
    """Put changed parts in the place of the old ones, in the connection's transaction."""
    rows = [
        {"site": site, "part": part, "data": data}
        for part, data in changes.items()
        if data is not None
    ]
    insert = insert_or(connection, _parts)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["site", "part"], set_={"data": insert.excluded.data}
        ),
        rows,
    )
    gone = [part for part, data in changes.items() if data is None]
    if gone:
        connection.execute(_parts.delete().where(_parts.c.site == site, _parts.c.part.in_(gone)))


class Controller:
    """Reads a site's events in time order and keeps the engine's state in the database.

    Args:
        log: with the site's topics.
        engine: of the database.
        site: the fab.
        policy_path: guard rails; None takes the packaged ones.
        on_applied: called after every transaction with what each record led to, the records, and
            when it ended (`fabpilot.tracing`).

    Raises:
        ConfigError: the policy file is wrong.
    """

    def __init__(
        self,
        log: Log,
        engine: sa.Engine,
        *,
        site: str,
        policy_path: Path | None,
        on_applied: OnApplied | None = None,
    ) -> None:
        self._site = site
        self._policy = load_policy(policy_path)
        self._engine: Engine | None = None
        self._unsettled: list[tuple[list[float], list[Event]]] = []
        self._on_applied = on_applied
        self._led: list[Led] = []
        topics = controller_topics(site)
        self._loop = StatefulLoop(
            name=loop_name(site),
            log=log,
            engine=engine,
            topics=lambda: topics,
            apply=self._apply,
            on_rollback=self._forget,
            on_taken=self._taken if on_applied is not None else None,
            lease_ms=_LEASE_MS,
        )

    def run(
        self,
        stop: threading.Event,
        *,
        until_idle: bool = False,
        on_progress: Callable[[StatefulReport], None] | None = None,
        on_settled: OnSettled | None = None,
        on_turn: Callable[[bool], None] | None = None,
    ) -> StatefulReport:
        """Control until `stop` is set; see `StatefulLoop.run`.

        Args:
            stop: ends the run.
            until_idle: end when everything is taken in.
            on_progress: called after every batch with the totals.
            on_settled: called after every batch with the ages of its records in seconds, the
                number of its dead letters, and the events that followed.
            on_turn: called after every turn of the loop with whether the lease is ours.
        """
        dead = 0

        def progress(report: StatefulReport) -> None:
            nonlocal dead
            if on_settled is not None:
                ages = [age for some, _ in self._unsettled for age in some]
                events = [event for _, some in self._unsettled for event in some]
                on_settled(ages, report.dead_letters - dead, events)
            dead = report.dead_letters
            self._unsettled.clear()
            if on_progress is not None:
                on_progress(report)

        return self._loop.run(stop, until_idle=until_idle, on_progress=progress, on_turn=on_turn)

    def _forget(self) -> None:
        """A transaction was rolled back: what is in memory never happened."""
        self._engine = None
        # Earlier parts of the batch may be settled; they are lost to the figures alone.
        self._unsettled.clear()
        self._led.clear()

    def _taken(self, taken: Sequence[Taken], began_ns: int, ended_ns: int) -> None:
        """Tell what one transaction's records led to; it was committed at `ended_ns`."""
        count = sum(isinstance(one, Arrived) for one in taken)
        led, self._led = self._led[:count], self._led[count:]
        if self._on_applied is not None:
            self._on_applied(led, taken, ended_ns)

    def _apply(self, connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
        engine = self._engine or self._load(connection)
        self._engine = engine
        events: list[Event] = []
        for one in arrived:
            began_ns = time.time_ns()
            followed = engine.handle(one.event)
            events += followed
            if self._on_applied is not None:
                self._led.append((one.record, one.event, followed, began_ns))
        now = time.time()
        ages = [now - one.record.timestamp_ms / 1000 for one in arrived]
        self._unsettled.append((ages, events))
        _write(connection, self._site, engine.changes())
        return events

    def _load(self, connection: sa.Connection) -> Engine:
        rows = connection.execute(
            sa.select(_parts.c.part, _parts.c.data).where(_parts.c.site == self._site)
        ).all()
        if rows:
            return Engine(self._policy, self._site, {row.part: row.data for row in rows})
        whole = connection.execute(
            sa.select(_whole.c.state).where(_whole.c.site == self._site)
        ).first()
        if whole is None:
            return Engine(self._policy, self._site)
        connection.execute(_whole.delete().where(_whole.c.site == self._site))
        return Engine(self._policy, self._site, whole.state)
