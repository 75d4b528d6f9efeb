"""What engineers and operators mend: labels of wafers, records that could not be processed."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from console.api.alerts import Comment, Name
from console.dead_letters import fetch
from console.decisions import MissingError, label_wafer, replay_dead_letter
from console.queries import wafers
from console.queries.overview import dead_letter_place
from console.services import Using
from console.views import LabelView, WaferView
from contracts.errors import LogUnavailableError

__all__ = ["LabelIn", "ReplayIn", "router"]

router = APIRouter(prefix="/api/v1", tags=["labels and dead letters"])

_QUEUE = 20


class LabelIn(BaseModel):
    """What a wafer shows, according to whom."""

    model_config = ConfigDict(extra="forbid")

    patterns: list[str] = Field(
        min_length=1,
        max_length=8,
        description="WM-811K names, or new ones of at most 40 letters, digits, ' ', '.', '_', '-'",
    )
    by: Name = Field(default="", validate_default=True, description="who says so")
    comment: Comment = ""


class ReplayIn(BaseModel):
    """Who wants a record back where it was."""

    model_config = ConfigDict(extra="forbid")

    by: Name = Field(default="", validate_default=True, description="who says so")
    comment: Comment = ""


@router.get("/label-queue")
def label_queue(services: Using) -> list[WaferView]:
    """Wafers nobody has labelled: unknown patterns, then what the model is least sure of."""
    with services.read() as connection:
        return wafers.label_queue(connection, _QUEUE)


@router.post("/wafers/{site}/{substrate_id:path}/label")
def label(services: Using, site: str, substrate_id: str, label: LabelIn) -> LabelView:
    """Confirm or correct what a wafer shows; training takes it from the labels stream."""
    with services.deps.engine.begin() as connection:
        event = label_wafer(
            connection,
            site,
            substrate_id,
            tuple(label.patterns),
            by=label.by,
            comment=label.comment,
            now_ms=services.now_ms(),
        )
    services.decided(event)
    return LabelView(
        patterns=list(event.patterns), by=event.by, comment=event.comment, time_ms=event.time_ms
    )


@router.post("/dead-letters/{event_id}/replay")
def replay(services: Using, event_id: str, replay: ReplayIn) -> ReplayIn:
    """Put the record back onto its topic, once. 409 if somebody did already."""
    with services.read() as connection:
        place = dead_letter_place(connection, event_id)
    if place is None:
        raise MissingError(f"there is no dead letter {event_id!r}")
    if services.deps.log is None:
        raise LogUnavailableError("this console has no log to replay from")
    letter = fetch(services.deps.log, *place)
    if letter is None:
        raise MissingError("the log does not keep this dead letter any more")
    with services.deps.engine.begin() as connection:
        replay_dead_letter(
            connection, letter, by=replay.by, comment=replay.comment, now_ms=services.now_ms()
        )
    services.published_soon()
    return replay
