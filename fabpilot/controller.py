"""A site's controller: the pure engine of `control` inside the stateful loop of `streaming`."""

import threading
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
    Stream.METROLOGY,
    Stream.PREDICTIONS,
    Stream.ALERTS,
    Stream.ACTIONS,
)
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
    ) -> StatefulReport:
        """Control until `stop` is set; see `StatefulLoop.run`."""
        return self._loop.run(stop, until_idle=until_idle, on_progress=on_progress)

    def _forget(self) -> None:
        """A transaction was rolled back: what is in memory never happened."""
        self._engine = None

    def _apply(self, connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
        first = self._engine is None
        engine = self._engine or self._load(connection)
        self._engine = engine
        events = [event for one in arrived for event in engine.handle(one.event)]
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
