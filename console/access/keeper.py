"""Knows who is at the door: looks sessions and tokens up, and remembers them for five seconds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from console.access import sessions, tokens
from console.access.identity import Identity
from console.access.policy import Access
from console.access.secrets import digest_of
from contracts.clock import Clock

__all__ = ["Keeper"]

_log = structlog.get_logger(__name__)

# A page asks for itself, its scripts and its pictures within this time. A session that is ended in
# another process, or a token that is revoked, goes on for so long at most.
_REMEMBER_S = 5.0
_REMEMBERED = 10_000
# Longer than any secret of ours; anything beyond is not looked up.
_LONGEST = 200


class Keeper:
    """Answers who a secret belongs to.

    Args:
        engine: where accounts, sessions and tokens are.
        access: how people are let in.
        clock: wall time.
    """

    def __init__(self, engine: Engine, reading: Engine, access: Access, clock: Clock) -> None:
        self._engine = engine
        self._reading = reading
        self._access = access
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Identity | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    async def by_session(self, secret: str, *, active: bool) -> Identity | None:
        """Whose session it is, or None; `active` if a person does something just now."""
        return await self._known_or(
            f"s{int(active)}{digest_of(secret)}", secret, lambda: self._session(secret, active)
        )

    async def by_token(self, secret: str) -> Identity | None:
        """Whom the token acts for, or None."""
        return await self._known_or(f"t{digest_of(secret)}", secret, lambda: self._token(secret))

    def forget(self, secret: str) -> None:
        """The session has ended here: do not remember it."""
        for active in (0, 1):
            self._known.pop(f"s{active}{digest_of(secret)}", None)

    def forget_all(self) -> None:
        """An account or token was changed here: look everything up anew."""
        self._known.clear()

    async def _known_or(
        self, key: str, secret: str, find: Callable[[], Identity | None]
    ) -> Identity | None:
        if not 16 <= len(secret) <= _LONGEST:
            return None
        now = time.monotonic()
        until, identity = self._known.get(key, (0.0, None))
        if now < until:
            return identity
        identity = await asyncio.to_thread(find)
        self._known[key] = (now + _REMEMBER_S, identity)
        self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return identity

    def _session(self, secret: str, active: bool) -> Identity | None:
        now_ms = self._clock.now_ms()
        with self._reading.begin() as connection:
            identity, old = sessions.look_up(connection, secret, now_ms, self._access.lifetimes)
        if identity is not None and old and active:
            try:
                with self._engine.begin() as connection:
                    sessions.touch(connection, secret, now_ms)
            except SQLAlchemyError as error:
                # The page can be shown all the same; the session only looks older than it is.
                _log.warning("session not touched", reason=str(error)[:200])
        return identity

    def _token(self, secret: str) -> Identity | None:
        with self._reading.begin() as connection:
            return tokens.look_up(connection, secret, self._clock.now_ms())
