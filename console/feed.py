"""Tells waiting browsers what changed: one look at the database for all of them."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from console.queries.overview import changes_after, last_change

__all__ = ["SLOW_TOPICS", "Change", "Feed"]

_log = structlog.get_logger(__name__)

# Below what a person notices, and four tiny queries a second.
_LOOK_EVERY_S = 0.25
# Kept for those who wait: what comes in minutes from a busy fab. Who was away longer is told from
# the database.
_KEPT = 4_000


SLOW_TOPICS = frozenset({"wafers", "equipment", "risks", "charts"})
"""What a fab never stops telling: a page shows it within two seconds (console/static/live.js)."""


@dataclass(frozen=True)
class Change:
    """One change, and how it is told.

    Attributes:
        number: in the order of commits.
        topic: what it is about.
        told: as a server-sent event, UTF-8; encoded once for all who hear it.
    """

    number: int
    topic: str
    told: bytes

    @classmethod
    def of(cls, number: int, topic: str, subject: str) -> "Change":
        """A change as it stands in the database."""
        data = json.dumps({"subject": subject}, ensure_ascii=False)
        return cls(number, topic, f"id: {number}\nevent: {topic}\ndata: {data}\n\n".encode())


class Feed:
    """Knows the latest changes. Belongs to one event loop.

    Args:
        engine: for looking only.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._latest = 0
        self._urgent = 0
        self._recent: deque[Change] = deque(maxlen=_KEPT)
        self._complete_after = 0
        self._changed = asyncio.Condition()
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._kept_beat: tuple[float, bytes] = (0.0, b"")
        self._beating = asyncio.Lock()
        self.listeners = 0

    @property
    def closed(self) -> bool:
        """No more changes will be told."""
        return self._closed

    @property
    def latest(self) -> int:
        """The number of the latest change that was told."""
        return self._latest

    @property
    def latest_urgent(self) -> int:
        """The number of the latest change that was told and that people wait for."""
        return self._urgent

    def start(self) -> None:
        """Begin to look; call it inside the event loop."""
        self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Let everybody who waits go. May be called twice."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def since(self, number: int) -> list[Change] | None:
        """Changes after `number`, oldest first; None if some of them are not remembered here."""
        if number < self._complete_after or number > self._latest:
            return None
        found: list[Change] = []
        for change in reversed(self._recent):
            if change.number <= number:
                break
            found.append(change)
        return found[::-1]

    async def beat(self, make: Callable[[], bytes], every_s: float = 1.0) -> bytes:
        """What `make` gives, made once a second for all who want it."""
        async with self._beating:
            now = asyncio.get_running_loop().time()
            if now >= self._kept_beat[0]:
                self._kept_beat = (now + every_s, await asyncio.to_thread(make))
            return self._kept_beat[1]

    async def wait_beyond(self, number: int, timeout_s: float) -> bool:
        """True as soon as there is a change after `number`; False after `timeout_s` or a stop."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: self._closed or self._latest > number)
            except TimeoutError:
                return False
        return not self._closed

    def _read(self, after: int) -> list[Change]:
        with self._engine.begin() as connection:
            return [Change.of(*row) for row in changes_after(connection, after, _KEPT)]

    def _last(self) -> int:
        with self._engine.begin() as connection:
            return last_change(connection)

    async def _look(self) -> None:
        begun = False
        while not self._closed:
            try:
                if not begun:
                    # What was before is told from the database to whoever asks for it.
                    self._latest = self._complete_after = await asyncio.to_thread(self._last)
                    begun = True
                found = await asyncio.to_thread(self._read, self._latest)
            except SQLAlchemyError as error:
                _log.warning("no look at the changes", reason=str(error)[:200])
                found = []
            if found:
                async with self._changed:
                    self._keep(found)
                    self._changed.notify_all()
            await asyncio.sleep(_LOOK_EVERY_S)

    def _keep(self, found: list[Change]) -> None:
        if found[0].number > self._latest + 1:
            # More came between two looks than the database keeps: those in between are gone.
            self._recent.clear()
            self._complete_after = found[0].number - 1
        self._recent.extend(found)
        urgent = [change.number for change in found if change.topic not in SLOW_TOPICS]
        self._urgent = urgent[-1] if urgent else self._urgent
        self._latest = found[-1].number
        self._complete_after = max(self._complete_after, self._recent[0].number - 1)
