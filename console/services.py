"""What every request needs: the read transaction, the strings, the strip; made once per app."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from console import tables
from console.access.keeper import Keeper
from console.access.policy import Access, Limits
from console.access.trip import IdentityProvider
from console.background import Worker
from console.dead_letters import follow
from console.decisions import OUTBOX
from console.deps import ConsoleDeps, ModelInfo
from console.feed import Feed
from console.queries import overview
from console.store import project
from console.strings import LANGUAGES, Strings, strings_for
from console.views import Strip
from contracts.errors import FabpilotError
from contracts.events import Event
from contracts.topics import Stream, topic_name
from streaming.database import read_only
from streaming.log import Log
from streaming.offsets import load_offsets
from streaming.outbox import Relay
from streaming.outbox import create_tables as create_outbox_tables
from streaming.stateful import StatefulLoop

__all__ = ["LOOP", "Services", "Speaks", "Using", "strings_of"]

LOOP = "console"
"""Name of the loop that reads the log: of its offsets and its lease."""

_RELAY_EVERY_S = 1.0
_LAG_EVERY_S = 1.0
_STOP_S = 1.5
# New topics are noticed within this time; asking a broker more often would be rude.
_TOPICS_S = 2.0


class Services:
    """The console behind its routes.

    Args:
        deps: what the composition root gave us.
    """

    def __init__(self, deps: ConsoleDeps) -> None:
        self.deps = deps
        self.sites = [site.name for site in deps.sites]
        self.zones = {site.name: site.time_zone for site in deps.sites}
        self.reading = read_only(deps.engine)
        self.feed = Feed(self.reading)
        self.limits = Limits()
        self.keeper = Keeper(deps.engine, self.reading, deps.access, deps.clock)
        self.provider = _provider(deps.access)
        self.workers: list[Worker] = []
        self._loop: Worker | None = None
        self._relay: Worker | None = None
        # Measured beside the requests: a log that is down must not hold up a page.
        self._lag: int | None = None
        self._there: frozenset[str] = frozenset()
        self._topics_until = 0.0

    def start(self) -> None:
        """Make the tables and start the threads."""
        tables.create_tables(self.deps.engine)
        create_outbox_tables(self.deps.engine)
        if self.deps.log is None:
            return
        log, engine = self.deps.log, self.deps.engine
        relay = Relay(log, engine, OUTBOX)

        def read(stop: threading.Event) -> None:
            # A loop that failed is not started again: a new one takes up where the database is.
            StatefulLoop(
                name=LOOP,
                log=log,
                engine=engine,
                topics=self.topics,
                apply=project,
                on_taken=self.deps.on_taken,
                stage="console",
            ).run(stop)

        def read_dead_letters(stop: threading.Event) -> None:
            follow(log, engine, self.dead_letter_topics, stop)

        def publish(stop: threading.Event) -> None:
            relay.publish_pending()

        self._loop = Worker("projector", read, pause_s=0.1)
        self._relay = Worker("relay", publish, pause_s=_RELAY_EVERY_S)
        self.workers = [
            self._loop,
            self._relay,
            Worker("dead letters", read_dead_letters, pause_s=0.1),
            Worker("lag", lambda stop: self._measure_lag(log), pause_s=_LAG_EVERY_S),
        ]
        for worker in self.workers:
            worker.start()

    def stop(self) -> None:
        """Stop the threads; within two seconds."""
        for worker in self.workers:
            worker.stop(0.0)
        for worker in self.workers:
            worker.stop(_STOP_S)

    def topics(self) -> list[str]:
        """The topics of our sites that exist, but for dead letters."""
        return self._existing(stream for stream in Stream if stream is not Stream.DEAD_LETTERS)

    def dead_letter_topics(self) -> list[str]:
        """The dead-letter topics of our sites that exist."""
        return self._existing([Stream.DEAD_LETTERS])

    def _existing(self, streams: Iterable[Stream]) -> list[str]:
        assert self.deps.log is not None
        now = time.monotonic()
        if now >= self._topics_until:
            self._there = frozenset(self.deps.log.topics())
            self._topics_until = now + _TOPICS_S
        names = [topic_name(site.name, stream) for stream in streams for site in self.deps.sites]
        return [name for name in names if name in self._there]

    def _measure_lag(self, log: Log) -> None:
        """Note how many records of the log the read model does not show yet."""
        try:
            ends = log.ends(self.topics())
            with self.read() as connection:
                offsets = load_offsets(connection, LOOP)
        except FabpilotError:
            self._lag = None
            raise
        self._lag = sum(max(0, end - offsets.get(place, 0)) for place, end in ends.items())

    def decided(self, event: Event) -> None:
        """Somebody decided this: have the relay look now rather than in a second."""
        self.published_soon()
        if self.deps.on_decided is not None:
            self.deps.on_decided(event)

    def published_soon(self) -> None:
        """Have the relay look now rather than in a second."""
        if self._relay is not None:
            self._relay.wake()

    def projector(self) -> overview.Projector:
        """Whether the log is being read."""
        return self._loop.state if self._loop is not None else "off"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only looks."""
        with self.reading.begin() as connection:
            yield connection

    def now_ms(self) -> int:
        """Wall time."""
        return self.deps.clock.now_ms()

    def serving(self) -> ModelInfo | None:
        """The model that decides: the champion, or whichever really runs."""
        models = list(self.deps.model_info())
        champions = [model for model in models if "champion" in model.alias.split(", ")]
        return next(iter(champions or [model for model in models if model.provider]), None)

    def strip(self, connection: Connection) -> Strip:
        """The figures at the top of every page."""
        model = self.serving()
        return overview.strip(
            connection,
            self.now_ms(),
            sites=self.sites,
            model=f"{model.name} v{model.version}" if model else "",
            device=(model.device or model.provider) if model else "",
            projector=self.projector(),
            lag_records=self._lag,
        )

    def ready(self) -> str:
        """Why the console cannot do its work, or ''."""
        try:
            with self.read() as connection:
                connection.execute(select(func.count()).select_from(tables.site_clocks))
        except SQLAlchemyError as error:
            return f"the database does not answer: {type(error).__name__}"
        failed = [f"{worker.name}: {worker.failure}" for worker in self.workers if worker.failure]
        return "; ".join(failed)


def _provider(access: Access) -> IdentityProvider | None:
    if access.oidc is None:
        return None
    # Here, because only those who sign in elsewhere need Authlib installed.
    from console.access.oidc import Provider

    return Provider(access.oidc)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def strings_of(request: Request) -> Strings:
    """The strings of the language that the address, a cookie or the browser asks for."""
    asked = request.query_params.get("lang") or request.cookies.get("fabpilot_lang")
    if asked is None:
        header = request.headers.get("accept-language", "")
        asked = header[:2].lower()
    return strings_for(asked if asked in LANGUAGES else "en")


Using = Annotated[Services, Depends(_services)]
Speaks = Annotated[Strings, Depends(strings_of)]
