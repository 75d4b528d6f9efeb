"""Follows the dead letters of all sites. No stateful loop reads those, or it could feed itself."""

import threading
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Engine, func, select

from console import tables
from console.store import project
from contracts.codec import decode
from contracts.errors import CodecError
from contracts.events import DeadLetter, Event
from contracts.records import Record, TopicPartition
from streaming.database import read_only
from streaming.log import Log

__all__ = ["fetch", "follow"]

_log = structlog.get_logger(__name__)
_WAIT_S = 0.25
_BATCH = 100


class _Letter:
    """A record with its event, as `project` takes them."""

    def __init__(self, record: Record, event: Event) -> None:
        self.record = record
        self.event = event


def follow(
    log: Log, engine: Engine, topics: Callable[[], Sequence[str]], stop: threading.Event
) -> None:
    """Store dead letters as they come, until `stop` is set or the topics change.

    Where to go on is read from the table itself: each row knows its place in the log.

    Raises:
        LogError: the log cannot be read.
    """
    names = tuple(topics())
    if not names:
        stop.wait(_WAIT_S)
        return
    reader = log.reader(names, _start(engine))
    try:
        while not stop.is_set() and tuple(topics()) == names:
            letters = [
                letter
                for record in reader.poll(_BATCH, _WAIT_S)
                if (letter := _letter(record)) is not None
            ]
            if letters:
                with engine.begin() as connection:
                    project(connection, letters)
    finally:
        reader.close()


def fetch(log: Log, place: TopicPartition, offset: int) -> DeadLetter | None:
    """The dead letter at one place of the log, or None if it is no longer there."""
    # Partitions that are not named begin at the beginning, so all are named: the rest at the end.
    reader = log.reader([place.topic], {**log.ends([place.topic]), place: offset})
    try:
        records = reader.poll(1, _WAIT_S)
    finally:
        reader.close()
    if not records or records[0].offset != offset:
        return None
    event = decode(records[0].headers, records[0].value)
    return event if isinstance(event, DeadLetter) else None


def _start(engine: Engine) -> dict[TopicPartition, int]:
    table = tables.dead_letters
    statement = select(table.c.topic, table.c.partition, func.max(table.c.offset) + 1).group_by(
        table.c.topic, table.c.partition
    )
    with read_only(engine).begin() as connection:
        return {
            TopicPartition(topic, partition): offset
            for topic, partition, offset in connection.execute(statement)
        }


def _letter(record: Record) -> _Letter | None:
    try:
        return _Letter(record, decode(record.headers, record.value))
    except CodecError as error:
        place = f"{record.topic}/{record.partition}@{record.offset}"
        _log.warning("a dead letter cannot be read", place=place, reason=str(error))
        return None
