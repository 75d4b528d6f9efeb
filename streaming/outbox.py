"""The outbox: messages written with the state they follow from, and published afterwards.

A database and a log cannot commit together. So what is to be published is first a row beside the
state it follows from, in the same transaction; a relay then publishes the rows and deletes them.
Rows are numbered per outbox without gaps and in the order of their commits, and the log remembers
the number published last (`Log.append` with `source` and `position`), so a relay that dies anywhere
publishes each message exactly once.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from contracts.codec import encode
from contracts.events import Event
from contracts.records import Headers, Message
from streaming.database import insert_missing, read_only
from streaming.log import Log
from streaming.migrate import migrate

__all__ = ["Relay", "create_tables", "enqueue", "enqueue_messages", "metadata", "waiting"]

metadata = sa.MetaData()

_counters = sa.Table(
    "outbox_counters",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
)
_outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("topic", sa.String(200), nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

# What a relay publishes at a time: large enough to be quick, small enough for one transaction.
_RELAY_ROWS = 1000
_RELAY_BYTES = 32 * 1024 * 1024

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode


def create_tables(engine: sa.Engine) -> None:
    """Make our tables, or bring those of an earlier release up to this one."""
    migrate(engine)


def waiting(connection: sa.Connection, name: str) -> int:
    """How many messages of an outbox are not published yet."""
    count = sa.select(sa.func.count()).select_from(_outbox).where(_outbox.c.name == name)
    return int(connection.execute(count).scalar_one())


def enqueue(connection: sa.Connection, name: str, events: Sequence[Event]) -> None:
    """Have `events` published if and when the connection's transaction commits.

    Args:
        connection: with a transaction begun; what else is written in it goes or stays with them.
        name: of the outbox; a `Relay` of that name publishes it.
        events: in the order they are to be published.

    Raises:
        RecordTooLargeError: an event is larger than a record may be.
    """
    enqueue_messages(connection, name, [encode(event) for event in events])


def enqueue_messages(connection: sa.Connection, name: str, messages: Sequence[Message]) -> None:
    """As `enqueue`, for messages that are encoded already."""
    if not messages:
        return
    # The counter's row stays locked until the transaction ends, so numbers are committed in order:
    # a relay never sees 7 before 6, and 6 is never published too late to count.
    first = _lock_counter(connection, name) + 1
    connection.execute(
        _outbox.insert(),
        [
            {
                "name": name,
                "seq": seq,
                "topic": message.topic,
                "key": message.key,
                "headers": _encode_headers(message.headers),
                "value": message.value,
            }
            for seq, message in enumerate(messages, first)
        ],
    )
    connection.execute(
        _counters.update()
        .where(_counters.c.name == name)
        .values(last_seq=first + len(messages) - 1)
    )


def _lock_counter(connection: sa.Connection, name: str) -> int:
    """The number given last, 0 at first; held until the transaction ends."""
    query = sa.select(_counters.c.last_seq).where(_counters.c.name == name).with_for_update()
    last: int | None = connection.execute(query).scalar()
    if last is None:
        # Two may come first at once; the second waits here for the first, then locks its row.
        insert_missing(connection, _counters, [{"name": name, "last_seq": 0}])
        last = connection.execute(query).scalar_one()
    return last


def _up_to(limit: int, rows: sa.CursorResult[Any]) -> list[sa.Row[Any]]:
    """The first rows, until their values have `limit` bytes together."""
    taken: list[sa.Row[Any]] = []
    size = 0
    with rows:
        for row in rows:
            taken.append(row)
            size += len(row.value)
            if size >= limit:
                break
    return taken


class Relay:
    """Publishes the outbox `name` to the log. Several may run at once; they take turns.

    Args:
        log: where the messages go; their topics must exist.
        engine: the database the outbox is in; see `streaming.database.open_engine`.
        name: of the outbox.
    """

    def __init__(self, log: Log, engine: sa.Engine, name: str) -> None:
        self._log = log
        self._engine = engine
        self._name = name
        self._source = f"outbox.{name}"

    def publish_pending(self) -> int:
        """Publish all that is in the outbox; returns how many messages it published.

        Raises:
            LogError: the log cannot be written. The messages stay in the outbox.
        """
        published = 0
        waiting = sa.select(_outbox.c.seq).where(_outbox.c.name == self._name).limit(1)
        with read_only(self._engine).begin() as connection:
            # Mostly there is nothing; looking takes no lock.
            if connection.execute(waiting).scalar() is None:
                return 0
        while True:
            rows, fresh = self._publish_some()
            published += fresh
            if not rows:
                return published

    def _publish_some(self) -> tuple[int, int]:
        """Publish a part; how many rows it took care of and how many it published."""
        pending = (
            sa.select(_outbox)
            .where(_outbox.c.name == self._name)
            .order_by(_outbox.c.seq)
            .limit(_RELAY_ROWS)
        )
        with self._engine.begin() as connection:
            # 1. Nobody else publishes or adds to this outbox until we are done.
            _lock_counter(connection, self._name)
            rows = _up_to(_RELAY_BYTES, connection.execute(pending))
            if not rows:
                return 0, 0
            # 2. A relay that died between 3 and 4 has published rows that are still here.
            done = self._log.position(self._source) or 0
            messages = [
                Message(row.topic, row.key, row.value, _decode_headers(row.headers))
                for row in rows
                if row.seq > done
            ]
            # 3. To the log, atomically, with the number of the last one.
            last = rows[-1].seq
            if messages:
                self._log.append(messages, source=self._source, position=last)
            # 4. The rows have done their duty.
            connection.execute(
                _outbox.delete().where(_outbox.c.name == self._name, _outbox.c.seq <= last)
            )
        return len(rows), len(messages)
