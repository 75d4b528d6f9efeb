"""The audit trail: rows that are added and never changed, each with a digest over the one before.

A digest covers everything its row says and the digest before it, so that a row that was changed,
taken out or put in later does not fit any more. What a chain alone cannot show is a cut-off end, or
a whole chain written anew: therefore every head is also said in the console's log, and `verify`
takes one that was kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Row, RowMapping, func, select

from console import tables
from console.upsert import next_numbers
from contracts.errors import DataError

__all__ = ["Verdict", "append", "entries", "verify"]

_log = structlog.get_logger(__name__)

_FIELDS = ("id", "time_ms", "who", "what", "subject", "why", "before", "after")
_CHUNK = 1000
# Names come from people and programs: what does not fit its column is cut, not refused.
_WHO, _SUBJECT = 200, 200


@dataclass(frozen=True)
class Verdict:
    """What is true of the trail.

    Attributes:
        rows: how many there are.
        before_chain: of them, written by versions that knew no digests; the first digest covers
            them together.
        head: number and digest of the last row, 'ID:SHA256', or ''; keep it where nobody who can
            write to the database can reach it.
        fault: what does not fit, or ''.
    """

    rows: int
    before_chain: int
    head: str
    fault: str


def append(
    connection: Connection,
    now_ms: int,
    who: str,
    what: str,
    subject: str,
    why: str = "",
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add a row, inside the caller's transaction.

    Args:
        connection: all who append take turns from here to the end of the transaction.
        now_ms: wall time.
        who: the account, or the person as far as it is known.
        what: 'alert.acknowledged', 'action.approved', 'account.added', 'login.failed', ...
        subject: what it was done to.
        why: the comment.
        before: what was true before; no secrets.
        after: what is true now; no secrets.
    """
    table = tables.audit
    next_numbers(connection, "audit", 1)
    last = connection.execute(
        select(table.c.id, table.c.digest).order_by(table.c.id.desc()).limit(1)
    ).first()
    row = {
        "id": last.id + 1 if last else 1,
        "time_ms": now_ms,
        "who": who[:_WHO],
        "what": what,
        "subject": subject[:_SUBJECT],
        "why": why,
        "before": json.dumps(before or {}, ensure_ascii=False),
        "after": json.dumps(after or {}, ensure_ascii=False),
    }
    previous = (last.digest or _digest_of_old(connection)) if last else ""
    digest = _digest(previous, row)
    connection.execute(table.insert().values(**row, digest=digest))
    _log.info("audit", number=row["id"], who=row["who"], what=what, digest=digest)


def verify(connection: Connection, expect: str = "") -> Verdict:
    """Recompute the whole chain.

    Args:
        connection: for looking.
        expect: a head kept earlier, 'ID:SHA256': that row must still say the same.

    Raises:
        DataError: `expect` is no head.
    """
    wanted_id, _, wanted = expect.partition(":")
    if expect and not (wanted_id.isascii() and wanted_id.isdigit() and len(wanted) == 64):
        raise DataError(f"{expect!r} is no head; it looks like 1041:9f86d081…, as 'verify' prints")
    rows = old = 0
    last_id, previous, fault = 0, "", ""
    hasher = hashlib.sha256()
    for row in entries(connection):
        rows += 1
        if not fault and expect and row.id == int(wanted_id) and row.digest != wanted:
            fault = f"row {row.id} is not the one whose digest was kept"
        if row.digest is None and not previous:
            old += 1
            hasher.update(_encoded(row._mapping))
        elif not fault:
            start = previous or (hasher.hexdigest() if old else "")
            if row.digest != _digest(start, row._mapping):
                fault = f"row {row.id} (after {last_id}) was changed, taken out or put in"
        last_id, previous = row.id, row.digest or previous
    if not fault and expect and last_id < int(wanted_id):
        fault = f"row {wanted_id} is gone: the trail ends at {last_id}"
    counter = tables.counters
    written = connection.execute(
        select(counter.c.value).where(counter.c.name == "audit")
    ).scalar_one_or_none()
    if not fault and written is not None and written != rows - old:
        fault = f"{written} rows were written with a digest and {rows - old} are there"
    head = f"{last_id}:{previous}" if previous else ""
    return Verdict(rows=rows, before_chain=old, head=head, fault=fault)


def entries(connection: Connection) -> Iterator[Row[Any]]:
    """All rows, the oldest first, a thousand at a time."""
    table, last = tables.audit, 0
    while True:
        found = connection.execute(
            select(table).where(table.c.id > last).order_by(table.c.id).limit(_CHUNK)
        ).all()
        yield from found
        if len(found) < _CHUNK:
            return
        last = found[-1].id


def _digest_of_old(connection: Connection) -> str:
    """Of the rows that earlier versions wrote, all together."""
    if not connection.execute(select(func.count()).select_from(tables.audit)).scalar_one():
        return ""
    hasher = hashlib.sha256()
    for row in entries(connection):
        hasher.update(_encoded(row._mapping))
    return hasher.hexdigest()


def _digest(previous: str, row: Mapping[str, Any] | RowMapping) -> str:
    return hashlib.sha256(previous.encode() + _encoded(row)).hexdigest()


def _encoded(row: Mapping[str, Any] | RowMapping) -> bytes:
    # JSON of a list: unlike texts put one after the other, it says where each ends.
    return json.dumps([row[name] for name in _FIELDS], ensure_ascii=False).encode()
