"""Pages that many look at are made once: while nothing urgent changed, and a second at most.

Two hundred people who watch the same page ask for it again at every change. What differs between
them (a name, a role, a token) is put into the finished page.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.access.identity import OPEN, Identity
from console.access.roles import Right
from console.access.rules import is_public
from console.feed import Feed
from console.rendering import personal

__all__ = ["PageCache"]

_KEPT_S = 1.0
# Of about 100 KB each.
_PAGES = 64
# Made at once. Python makes them in turn anyway: a few after the other are there sooner than forty
# side by side, and another goes on while one waits for the database.
_AT_ONCE = 4


@dataclass(frozen=True)
class _Page:
    headers: list[tuple[bytes, bytes]]
    body: bytes


class PageCache:
    """ASGI middleware, behind the door: pages by address, language, theme and rights.

    Whoever is told of a change (`Feed`) and then asks gets a page that shows it: the number of the
    latest change that people wait for is part of what a page is kept by. For what a fab never stops
    telling, pages ask two seconds after they were told, and what is kept is younger than that.
    Whoever changed something themselves gets a new page at once.

    Args:
        app: makes the pages.
        feed: knows the latest change told.
        clock: monotonic seconds.
    """

    def __init__(
        self, app: ASGIApp, feed: Feed, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._feed = feed
        self._clock = clock
        self._pages: OrderedDict[tuple[object, ...], tuple[float, asyncio.Future[_Page | None]]]
        self._pages = OrderedDict()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def __len__(self) -> int:
        return len(self._pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a page that is kept, or make it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] != "GET":
            await self._app(scope, receive, send)
            if scope["method"] != "HEAD":
                self._pages.clear()
            return
        headers = Headers(scope=scope)
        if not _shared(scope, headers):
            await self._app(scope, receive, send)
            return
        identity: Identity = scope["state"].get("identity", OPEN)
        key = (
            scope["path"],
            scope["query_string"],
            _said(headers, "fabpilot_lang"),
            headers.get("accept-language", "")[:2],
            _said(headers, "fabpilot_theme"),
            bool(identity.name),
            # What a page shows to some only: the rest of the role is put in afterwards.
            identity.may(Right.MANAGE),
            identity.may(Right.AUDIT),
            self._feed.latest_urgent,
        )
        until, page = self._pages.get(key, (0.0, None))
        if page is None or self._clock() >= until:
            page = asyncio.get_running_loop().create_future()
            self._pages[key] = (self._clock() + _KEPT_S, page)
            self._pages.move_to_end(key)
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
            await self._make(scope, receive, send, key, page)
            return
        kept = await asyncio.shield(page)
        if kept is None:
            await self._app(scope, receive, send)
            return
        await _answer(scope, send, kept)

    async def _make(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        key: tuple[object, ...],
        page: "asyncio.Future[_Page | None]",
    ) -> None:
        """Have the page made, keep it if it is one, and answer with it."""
        begun: Message = {}
        parts: list[bytes] = []

        async def catch(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.update(message)
            elif message["type"] == "http.response.body":
                parts.append(bytes(message.get("body", b"")))

        scope["state"]["shared"] = True
        try:
            async with self._turns:
                await self._app(scope, receive, catch)
        finally:
            if begun.get("status") == 200 and "set-cookie" not in Headers(raw=begun["headers"]):
                page.set_result(_Page(list(begun["headers"]), b"".join(parts)))
            else:
                page.set_result(None)
                self._pages.pop(key, None)
        await _answer(scope, send, _Page(list(begun["headers"]), b"".join(parts)), begun["status"])


def _shared(scope: Scope, headers: Headers) -> bool:
    """A page, not what only looks at itself: an answer that sets a cookie is one person's."""
    path: str = scope["path"]
    return (
        "text/html" in headers.get("accept", "")
        and not path.startswith("/api/")
        and not is_public(path)
        and b"lang=" not in scope["query_string"]
    )


def _said(headers: Headers, cookie: str) -> str:
    """A cookie's value without reading all of them as HTTP has it; these two are plain words."""
    _, found, rest = headers.get("cookie", "").partition(f"{cookie}=")
    return rest.partition(";")[0][:16] if found else ""


async def _answer(scope: Scope, send: Send, page: _Page, status: int = 200) -> None:
    body = personal(scope, page.body)
    headers = MutableHeaders(raw=list(page.headers))
    headers["content-length"] = str(len(body))
    await send({"type": "http.response.start", "status": status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})
