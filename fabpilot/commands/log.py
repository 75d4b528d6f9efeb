"""`fabpilot log tail`: records of a stream as JSON lines."""

from typing import Annotated, Any

import msgspec
import typer

from contracts.codec import decode, header
from contracts.errors import DataError
from contracts.ids import check_site
from contracts.records import Record
from contracts.topics import Stream, topic_name
from fabpilot.output import err, write_line
from fabpilot.settings import load_settings
from fabpilot.stopping import stop_event
from streaming.log import Log
from streaming.open import open_log

__all__ = ["register"]

_POLL_S = 0.5


def line(record: Record) -> dict[str, Any]:
    """A record as plain values. One that does not decode has `data` null and says why."""
    ce_type, event_id = header(record.headers, "ce_type"), header(record.headers, "ce_id")
    plain: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": record.key.decode("utf-8", "replace"),
        "type": ce_type.decode("utf-8", "replace") if ce_type else None,
        "event_id": event_id.decode("utf-8", "replace") if event_id else None,
    }
    try:
        plain["data"] = msgspec.to_builtins(decode(record.headers, record.value))
    except DataError as error:
        plain["data"] = None
        plain["error"] = str(error)
    return plain


def tail(
    stream: Annotated[Stream, typer.Argument(help="Which stream.")],
    site: Annotated[
        str | None, typer.Option("--site", help="Only this fab (default: all).", metavar="SITE")
    ] = None,
    from_beginning: Annotated[
        bool,
        typer.Option(
            "--from-beginning", help="Start with the oldest record instead of the next new one."
        ),
    ] = False,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop at the present end of the log.")
    ] = False,
) -> None:
    """Print the records of a stream as JSON lines, until Ctrl-C.

    Each line has topic, partition, offset, key, type, event_id and data.

    For example:

      fabpilot log tail alerts --from-beginning

      fabpilot log tail predictions --from-beginning --until-end | wc -l
    """
    settings = load_settings()
    stop = stop_event()
    if site is not None:
        check_site(site)
    log = open_log(settings.log_url, settings.kafka_access, retention=settings.retention)
    try:
        topics = _topics(log, stream, site)
        if not topics and not until_end:
            err.print(f"no topic of '{stream}' can be seen yet; waiting for the first record")
        while not topics and not until_end and not stop.wait(_POLL_S):
            # Nobody has written yet; what is written first is what the reader waits for.
            topics, from_beginning = _topics(log, stream, site), True
        ends = log.ends(topics)
        reader = log.reader(topics, "beginning" if from_beginning else "end")
        try:
            while not stop.is_set() and topics:
                records = reader.poll(500, 0.0 if until_end else _POLL_S)
                for record in records:
                    if not until_end or record.offset < ends[record.topic_partition]:
                        write_line(msgspec.json.encode(line(record)).decode())
                if until_end and _reached(reader.positions(), ends):
                    break
        finally:
            reader.close()
    finally:
        log.close()


def _topics(log: Log, stream: Stream, site: str | None) -> list[str]:
    wanted = f".{stream.value}" if site is None else topic_name(site, stream)
    return sorted(name for name in log.topics() if name.endswith(wanted))


def _reached(positions: dict[Any, int], ends: dict[Any, int]) -> bool:
    return all(positions.get(partition, 0) >= end for partition, end in ends.items())


def register(app: typer.Typer) -> None:
    """Add the command."""
    log = typer.Typer(help="Read the log.", no_args_is_help=True)
    log.command("tail")(tail)
    app.add_typer(log, name="log")
