"""Where a stateful loop stands, beside the state it made of what it read."""

import sqlalchemy as sa

from contracts.records import TopicPartition
from streaming.log import Offsets
from streaming.outbox import metadata

__all__ = ["load_offsets", "store_offsets"]

_offsets = sa.Table(
    "stream_offsets",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("topic", sa.String(200), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
)


def load_offsets(connection: sa.Connection, name: str) -> dict[TopicPartition, int]:
    """Next offset to read, for the partitions that loop `name` has read from."""
    rows = connection.execute(sa.select(_offsets).where(_offsets.c.name == name))
    return {TopicPartition(row.topic, row.partition): row.next_offset for row in rows}


def store_offsets(connection: sa.Connection, name: str, offsets: Offsets) -> None:
    """Set where loop `name` stands in some partitions."""
    for (topic, partition), offset in offsets.items():
        place = {"name": name, "topic": topic, "partition": partition}
        updated = connection.execute(
            _offsets.update()
            .where(*(_offsets.c[column] == value for column, value in place.items()))
            .values(next_offset=offset)
        )
        if updated.rowcount == 0:
            connection.execute(_offsets.insert().values(**place, next_offset=offset))
