"""Insert-or-update in the two databases we speak, and numbers handed out in commit order."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, case, select

from console import tables
from streaming.database import insert_missing, insert_or

__all__ = ["Row", "larger", "later", "next_numbers", "upsert"]

Row = dict[str, Any]
"""One row by column name, on its way into a table."""


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Row],
    *,
    merge: Callable[[Table, Any], dict[str, Any]] | None = None,
    newer: Callable[[Table, Any], ColumnElement[bool]] | None = None,
) -> None:
    """Insert rows, or update those whose primary key is there.

    `merge` gives the columns to set from the stored row and the new one; without it, that is every
    column that is not part of the key. Only rows where `newer` holds are updated, so that an old
    event never replaces a newer one.
    """
    if not rows:
        return
    statement = insert_or(connection, table)
    new = statement.excluded
    keys = [column.name for column in table.primary_key]
    if merge is None:
        changed = {name: new[name] for name in rows[0] if name not in keys}
    else:
        changed = merge(table, new)
    where = newer(table, new) if newer else None
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=changed, where=where), rows
    )


def later(*columns: str) -> Callable[[Table, Any], ColumnElement[bool]]:
    """Holds where the new row comes after the stored one, compared column by column."""

    def compare(table: Table, new: Any) -> ColumnElement[bool]:
        last = columns[-1]
        condition: ColumnElement[bool] = new[last] > table.c[last]
        for name in reversed(columns[:-1]):
            condition = (new[name] > table.c[name]) | ((new[name] == table.c[name]) & condition)
        return condition

    return compare


def larger(table: Table, new: Any, column: str) -> ColumnElement[Any]:
    """The larger of the stored and the new value (SQLite and PostgreSQL name this differently)."""
    return case((new[column] > table.c[column], new[column]), else_=table.c[column])


def next_numbers(connection: Connection, name: str, count: int) -> int:
    """Take `count` numbers from a counter; the first of them is returned.

    The counter's row stays locked until the transaction ends, so whoever sees a number committed
    has seen all smaller ones: readers that remember the last number miss nothing.
    """
    counter = tables.counters
    insert_missing(connection, counter, [{"name": name, "value": 0}])
    connection.execute(
        counter.update().where(counter.c.name == name).values(value=counter.c.value + count)
    )
    value = connection.execute(select(counter.c.value).where(counter.c.name == name)).scalar_one()
    return int(value) - count + 1
