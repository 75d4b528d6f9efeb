"""`fabpilot replay`: recorded wafer maps onto the log."""

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from contracts.clock import SystemClock
from contracts.codec import encode
from contracts.errors import DataError
from contracts.events import DeadLetter, Event
from contracts.ids import derived_id
from contracts.records import Message
from contracts.topics import MAX_RECORD_BYTES, Stream, topic_name
from fabpilot.appending import Appended, SourceAppender
from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.output import err, progress_bar, report
from fabpilot.recorded import RecordedMaps
from fabpilot.settings import load_settings
from fabpilot.stopping import stop_event
from fabpilot.tracing import tracing
from fabpilot.wiring import open_site_log

__all__ = ["ReplayReport", "register", "replay"]

# Records per append: large enough that a commit costs little, small enough to stop quickly.
_BATCH = 500
# Real recordings carry no wall time; a fixed one keeps events the same on every run.
_EPOCH_MS = 1_735_689_600_000  # 2025-01-01 UTC


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay did.

    Attributes:
        published: maps put onto the log now.
        skipped: maps that an earlier replay of the same file had put there.
        dead_letters: maps no event can carry, put to dead letters with the reason.
    """

    published: int
    skipped: int
    dead_letters: int
    seconds: float
    topic: str


def replay(
    path: Annotated[Path, typer.Argument(help="A .npz file of wafer maps.", metavar="PATH")],
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only this many maps, from the first on.")
    ] = None,
    site: SiteOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Publish maps again that were replayed before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put recorded wafer maps onto the log as events.

    A replay that was interrupted goes on where it stopped; maps that are there already are not
    published twice. A log that goes away meanwhile is waited for.

    For example:

      fabpilot replay wm811k.npz --limit 20000

      fabpilot process --until-idle --json
    """
    settings = load_settings()
    site = site or settings.site
    stop = stop_event()
    maps = RecordedMaps(path, site=site, start_ms=_EPOCH_MS)
    total = min(len(maps), limit) if limit else len(maps)
    log = open_site_log(settings, site, stop)
    try:
        source = f"replay.{site}.{maps.fingerprint[:16]}"
        if again:
            source += f".{SystemClock().now_ms()}"
        appender = SourceAppender(log, source, stop)
        reached = log.position(source)
        first = 0 if reached is None else min(reached + 1, total)
        published = dead = 0
        began = time.perf_counter()
        with (
            tracing(settings, "replay", site=site) as told,
            progress_bar(f"replaying {path.name}", total) as bar,
        ):
            task = bar.tasks[0].id
            bar.update(task, completed=first)
            for start in range(first, total, _BATCH):
                if stop.is_set():
                    break
                last = min(start + _BATCH, total) - 1
                read_ns = time.time_ns()
                read = list(maps.events(start, last + 1))
                made = [
                    _message(event, raw, index, site, source, path.name)
                    for index, event, raw in read
                ]
                done = appender.append([message for message, _ in made], last)
                if done is Appended.STOPPED:
                    break
                refused = sum(is_dead for _, is_dead in made)
                if done is Appended.DONE:
                    dead += refused
                    published += len(made) - refused
                    if told:
                        events = [event for _, event, _ in read if isinstance(event, Event)]
                        told.sent([(event, read_ns) for event in events], time.time_ns())
                bar.update(task, completed=last + 1)
        if first:
            err.print(f"{first} of these maps were on the log already; --again publishes them anew")
        result = ReplayReport(
            published, first, dead, time.perf_counter() - began, topic_name(site, Stream.WAFER_MAPS)
        )
        report(result, as_json=as_json, title="replay")
    finally:
        log.close()


def _message(
    event: Event | DataError, raw: bytes, index: int, site: str, source: str, name: str
) -> tuple[Message, bool]:
    """The message of one map, and whether it is a dead letter."""
    if not isinstance(event, DataError):
        try:
            return encode(event), False
        except DataError as error:
            event = error
    letter = DeadLetter(
        event_id=derived_id("dead", source, index),
        site=site,
        time_ms=_EPOCH_MS,
        source_topic=f"file:{name}",
        source_partition=-1,
        source_offset=index,
        source_key=b"",
        source_headers=(),
        value=raw[:MAX_RECORD_BYTES],
        value_bytes=len(raw),
        error=type(event).__name__,
        reason=str(event),
        stage="replay",
    )
    return encode(letter), True


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)
