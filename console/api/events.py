"""What changed, as server-sent events: numbered, so that a browser that was away misses nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from console.queries.overview import changes_after
from console.services import Services, Using

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["live"])

# A page shows "last wafer 3 s ago": it hears the time and the strip's figures this often.
BEAT_S = 5.0
_RETRY_MS = 1000
_BATCH = 500


def _read(services: Services, after: int) -> tuple[list[tuple[int, str, str]], bool]:
    """Changes after a number, and whether some before them are gone already."""
    with services.read() as connection:
        found = changes_after(connection, after, _BATCH)
    return found, bool(found) and found[0][0] > after + 1


def _strip(services: Services) -> dict[str, object]:
    with services.read() as connection:
        return services.strip(connection).model_dump()


@router.get("/events", response_class=EventSourceResponse)
async def events(
    services: Using,
    after: Annotated[int, Query(ge=0)] = 0,
    last_event_id: Annotated[str, Header(max_length=20)] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Changes after `Last-Event-ID` (or `after`), as they happen.

    Events are named by topic ('alerts', 'actions', 'wafers', 'equipment', 'labels', 'health') with
    data `{"subject": …}`; 'reset' says that some were dropped meanwhile; 'beat' carries the strip.
    """
    seen = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else after
    beat_at = 0.0
    clock = asyncio.get_running_loop().time
    while not services.feed.closed:
        found, gap = await asyncio.to_thread(_read, services, seen)
        if gap:
            yield ServerSentEvent(event="reset", data={}, id=str(found[0][0] - 1))
        for number, topic, subject in found:
            seen = number
            yield ServerSentEvent(event=topic, data={"subject": subject}, id=str(number))
        if clock() >= beat_at:
            beat_at = clock() + BEAT_S
            strip = await asyncio.to_thread(_strip, services)
            yield ServerSentEvent(event="beat", data=strip, retry=_RETRY_MS)
        if not found:
            await services.feed.wait_beyond(seen, max(0.05, beat_at - clock()))
