"""What changed, as server-sent events: numbered, so that a browser that was away misses nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from console.access.door import cookie_of, session_cookie
from console.access.identity import Identity, identity_of
from console.feed import Change
from console.problems import problem
from console.queries.overview import changes_after
from console.services import Services, Using

__all__ = ["MAX_LISTENERS", "router"]

router = APIRouter(prefix="/api/v1", tags=["live"])

# A page shows "last wafer 3 s ago": it hears the time and the strip's figures this often.
BEAT_S = 5.0
MAX_LISTENERS = 600
"""Streams at once. Each is a connection, and there must be some left for pages."""
_RETRY_MS = 1000
_BATCH = 500
# Whose session has ended signs in again; the page asks for itself and is led there.
_SIGNED_OUT = b"event: reset\ndata: {}\n\n"


def _read(services: Services, after: int) -> tuple[list[Change], bool]:
    """Changes after a number, and whether some before them are gone already."""
    with services.read() as connection:
        found = [Change.of(*row) for row in changes_after(connection, after, _BATCH)]
    return found, bool(found) and found[0].number > after + 1


def _beat(services: Services) -> bytes:
    with services.read() as connection:
        strip = services.strip(connection).model_dump_json()
    return f"event: beat\ndata: {strip}\nretry: {_RETRY_MS}\n\n".encode()


async def _still(request: Request, services: Services, identity: Identity) -> bool:
    """Whether who began to listen may still do so."""
    if identity.via == "open":
        return True
    if identity.via == "token":
        token = request.headers.get("authorization", "").partition(" ")[2].strip()
        return await services.keeper.by_token(token) is not None
    secret = cookie_of(request.headers, session_cookie(services.deps.access))
    return await services.keeper.by_session(secret, active=False) is not None


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def events(
    request: Request,
    services: Using,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    last_event_id: Annotated[str, Header(max_length=15)] = "",
) -> Response:
    """Changes after `Last-Event-ID` (or `after`), as they happen.

    Events are named by topic ('alerts', 'actions', 'wafers', 'equipment', 'labels', 'health') with
    data `{"subject": …}`; 'reset' says that some were dropped meanwhile; 'beat' carries the strip.
    """
    if services.feed.listeners >= MAX_LISTENERS:
        return problem(429, f"{MAX_LISTENERS} listen already; try again later")
    seen = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else after
    # Written out here and not by FastAPI's own events: those encode each event for each listener,
    # which two hundred listeners pay for (docs/security.md has the figures).
    return StreamingResponse(
        _told(request, services, seen),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _told(request: Request, services: Services, seen: int) -> AsyncIterator[bytes]:
    feed, identity = services.feed, identity_of(request)
    beat_at = 0.0
    clock = asyncio.get_running_loop().time
    feed.listeners += 1
    try:
        while not feed.closed:
            recent = feed.since(seen)
            if recent is not None:
                found = recent
            else:
                found, gap = await asyncio.to_thread(_read, services, seen)
                if gap:
                    yield f"event: reset\ndata: {{}}\nid: {found[0].number - 1}\n\n".encode()
            if found:
                seen = found[-1].number
                yield b"".join(change.told for change in found)
            if clock() >= beat_at:
                if not await _still(request, services, identity):
                    yield _SIGNED_OUT
                    return
                beat_at = clock() + BEAT_S
                yield await feed.beat(lambda: _beat(services))
            if not found:
                await feed.wait_beyond(seen, max(0.05, beat_at - clock()))
    finally:
        feed.listeners -= 1
