"""Tells waiting browsers that something changed: one look at the database for all of them."""

import asyncio

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from console.queries.overview import last_change

__all__ = ["Feed"]

_log = structlog.get_logger(__name__)

# Below what a person notices, and four tiny queries a second.
_LOOK_EVERY_S = 0.25


class Feed:
    """Knows the number of the latest change. Belongs to one event loop.

    Args:
        engine: for looking only.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._latest = 0
        self._changed = asyncio.Condition()
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """No more changes will be told."""
        return self._closed

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

    async def wait_beyond(self, number: int, timeout_s: float) -> bool:
        """True as soon as there is a change after `number`; False after `timeout_s` or a stop."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: self._closed or self._latest > number)
            except TimeoutError:
                return False
        return not self._closed

    def _read(self) -> int:
        with self._engine.begin() as connection:
            return last_change(connection)

    async def _look(self) -> None:
        while not self._closed:
            try:
                latest = await asyncio.to_thread(self._read)
            except SQLAlchemyError as error:
                _log.warning("no look at the changes", reason=str(error)[:200])
                latest = self._latest
            if latest != self._latest:
                async with self._changed:
                    self._latest = latest
                    self._changed.notify_all()
            await asyncio.sleep(_LOOK_EVERY_S)
