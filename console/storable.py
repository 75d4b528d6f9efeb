"""Whether a row fits its table. PostgreSQL refuses what does not, with all that came beside it."""

from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Integer, String, Text

from console import tables
from contracts.errors import DataError

__all__ = ["check_storable"]

_INTEGER = 2**31 - 1
_BIG_INTEGER = 2**63 - 1


def check_storable(table: str, row: dict[str, Any]) -> None:
    """Let rows through whose names are short enough and whose numbers are small enough.

    Raises:
        DataError: one is not, or a text has a NUL in it.
    """
    lengths, limits = _limits(table)
    for name, value in row.items():
        if isinstance(value, str):
            if len(value) > lengths.get(name, _BIG_INTEGER):
                raise DataError(f"{name} has {len(value)} characters; {lengths[name]} are kept")
            if "\x00" in value:
                raise DataError(f"{name} has a NUL in it; no database keeps that as text")
        elif isinstance(value, int) and abs(value) > limits.get(name, _BIG_INTEGER):
            raise DataError(f"{name} is {value}; at most {limits.get(name, _BIG_INTEGER)} is kept")


@cache
def _limits(table: str) -> tuple[dict[str, int], dict[str, int]]:
    """Most characters of its texts, and most of its numbers, by column."""
    columns = tables.metadata.tables[f"console_{table}"].c
    lengths = {
        column.name: column.type.length
        for column in columns
        if isinstance(column.type, String)
        and not isinstance(column.type, Text)
        and column.type.length
    }
    limits = {
        column.name: _BIG_INTEGER if isinstance(column.type, BigInteger) else _INTEGER
        for column in columns
        if isinstance(column.type, Integer)
    }
    return lengths, limits
