"""The audit trail as CSV and JSON lines: every row with its digest, a piece at a time."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Row

__all__ = ["COLUMNS", "as_csv", "as_lines", "row_of"]

COLUMNS = ("id", "time_ms", "who", "what", "subject", "why", "before", "after", "digest")
# A spreadsheet would run these as a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def row_of(entry: Row[Any], *, quoted: bool) -> dict[str, Any]:
    """One row by column; `quoted` for spreadsheets."""
    row = {name: entry._mapping[name] for name in COLUMNS}
    if quoted:
        for name, value in row.items():
            if isinstance(value, str) and value.startswith(_FORMULA):
                row[name] = f"'{value}"
    return row


def as_lines(rows: Iterable[Row[Any]]) -> Iterator[str]:
    """JSON lines."""
    for entry in rows:
        yield json.dumps(row_of(entry, quoted=False), ensure_ascii=False) + "\n"


def as_csv(rows: Iterable[Row[Any]]) -> Iterator[str]:
    """CSV (RFC 4180) with a header."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for entry in rows:
        writer.writerow(list(row_of(entry, quoted=True).values()))
        if out.tell() > 65_536:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()
