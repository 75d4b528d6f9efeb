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
from streaming.log import Log
from streaming.stateful import Arrived, StatefulLoop, StatefulReport

__all__ = ["Controller", "controller_topics", "loop_name"]

_STREAMS = (
    Stream.PROCESS,
    Stream.EQUIPMENT,
    Stream.TRACES,
    Stream.PREDICTIONS,
    Stream.ALERTS,
    Stream.ACTIONS,
)
OnSettled = Callable[[Sequence[float], int, Sequence[Event]], None]

# How long a standby waits after the last sign of life. A controller that was killed is back within
# this time too; alerts can wait that long, and a busy machine does not lose its lease by accident.
_LEASE_MS = 3_000

_metadata = sa.MetaData()
_state = sa.Table(
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


class Controller:
    """Reads a site's events in time order and keeps the engine's state in the database.

    Args:
        log: with the site's topics.
        engine: of the database.
        site: the fab.
        policy_path: guard rails; None takes the packaged ones.

    Raises:
        ConfigError: the policy file is wrong.
    """

    def __init__(self, log: Log, engine: sa.Engine, *, site: str, policy_path: Path | None) -> None:
        self._site = site
        self._policy = load_policy(policy_path)
        self._engine: Engine | None = None
        self._unsettled: list[tuple[list[float], list[Event]]] = []
        topics = controller_topics(site)
        self._loop = StatefulLoop(
            name=loop_name(site),
            log=log,
            engine=engine,
            topics=lambda: topics,
            apply=self._apply,
            on_rollback=self._forget,
            lease_ms=_LEASE_MS,
            tables=_metadata,
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

    def _apply(self, connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
        first = self._engine is None
        engine = self._engine or self._load(connection)
        self._engine = engine
        events = [event for one in arrived for event in engine.handle(one.event)]
        now = time.time()
        ages = [now - one.record.timestamp_ms / 1000 for one in arrived]
        self._unsettled.append((ages, events))
        values = {"state": engine.snapshot()}
        where = _state.c.site == self._site
        if first and connection.execute(sa.select(_state.c.site).where(where)).first() is None:
            connection.execute(_state.insert().values(site=self._site, **values))
        else:
            connection.execute(_state.update().where(where).values(**values))
        return events

    def _load(self, connection: sa.Connection) -> Engine:
        row = connection.execute(
            sa.select(_state.c.state).where(_state.c.site == self._site)
        ).first()
        return Engine(self._policy, self._site, row.state if row else None)
