"""Events and handlers for the tests of the loops."""

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa

from contracts.arrays import Array
from contracts.codec import decode, encode
from contracts.errors import DataError, WaferMapError
from contracts.events import DeadLetter, Event, Label, WaferMap
from contracts.ids import derived_id
from contracts.records import Message, Record
from streaming.database import open_engine
from streaming.log import Log
from streaming.stateful import Arrived

MAPS, LABELS, DEAD = "fab.kr1.wafer_maps", "fab.kr1.labels", "fab.kr1.dead_letters"
GRID = Array.of(np.ones((4, 4), dtype=np.uint8))
BAD = "bad"  # a lot that every handler here refuses


def wafer(number: int, *, time_ms: int | None = None, lot: str = "") -> WaferMap:
    return WaferMap(
        event_id=f"map-{number}",
        site="kr1",
        time_ms=number if time_ms is None else time_ms,
        product="p",
        lot_id=lot or f"lot-{number // 25}",
        substrate_id=f"w-{number}",
        slot=number % 25 + 1,
        grid=GRID,
    )


def label_of(event: Event, text: str) -> Label:
    return Label(
        event_id=derived_id("label", event.event_id),
        site=event.site,
        time_ms=event.time_ms,
        lot_id=getattr(event, "lot_id", ""),
        substrate_id=getattr(event, "substrate_id", ""),
        patterns=(text,),
        by="test",
    )


def junk(number: int) -> Message:
    """A message that no decoder accepts."""
    good = encode(wafer(number))
    return Message(good.topic, good.key, b"\xc1junk", good.headers)


def publish(log: Log, messages: Sequence[Message]) -> None:
    log.create_topics({MAPS: 4, LABELS: 2})
    for first in range(0, len(messages), 500):
        log.append(messages[first : first + 500])


def handle(events: Sequence[Event]) -> list[Sequence[Event] | DataError]:
    """One label for a map; maps of the bad lot are refused."""
    return [
        WaferMapError("a bad lot")
        if getattr(event, "lot_id", "") == BAD
        else [label_of(event, "seen")]
        for event in events
    ]


_sums = sa.MetaData()
SUMS = sa.Table(
    "sums", _sums, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer)
)


def state(url: str) -> sa.Engine:
    """A database with one number in it."""
    engine = open_engine(url)
    _sums.create_all(engine)
    with engine.begin() as connection:
        if connection.execute(sa.select(SUMS.c.n)).scalar() is None:
            connection.execute(SUMS.insert().values(id=1, n=0))
    return engine


def apply(connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
    """Counts the maps and labels every third with the count and its time; order matters."""
    count = connection.execute(sa.select(SUMS.c.n)).scalar_one()
    out: list[Event] = []
    for _, event in arrived:
        if getattr(event, "lot_id", "") == BAD:
            raise WaferMapError("a bad lot")
        count += 1
        if count % 3 == 0:
            out.append(label_of(event, f"{count} {event.time_ms}"))
    connection.execute(SUMS.update().values(n=count))
    return out


def read(log: Log, topic: str) -> list[Record]:
    """All records of a topic."""
    reader = log.reader([topic], "beginning")
    records: list[Record] = []
    while some := reader.poll(1000, 0.0):
        records += some
    return records


def decoded(log: Log, topic: str) -> list[Event]:
    return [decode(record.headers, record.value) for record in read(log, topic)]


def dead_letters(log: Log) -> list[DeadLetter]:
    return [event for event in decoded(log, DEAD) if isinstance(event, DeadLetter)]
