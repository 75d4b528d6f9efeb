"""Sessions: a random id in a cookie, its hash here, an end after idling and an end in any case."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from console.access import tables
from console.access.identity import Identity
from console.access.roles import RIGHTS, Role
from console.access.secrets import csrf_of, digest_of, new_secret

__all__ = ["Lifetimes", "end", "look_up", "open_session", "touch"]

# Somebody has a few machines; a program that signs in again and again must not fill the table.
_A_PERSON = 20
# The time of the last use is written this often at most: a page is not a write.
_TOUCH_MS = 60_000
# A session that began later than this from now was opened before the clock was set back. It must
# not hold until that time comes again. Machines beside each other differ by less.
_AHEAD_MS = 5 * 60_000


@dataclass(frozen=True)
class Lifetimes:
    """When sessions end.

    Attributes:
        idle_ms: after nobody has done anything for so long.
        absolute_ms: after signing in, in any case.
    """

    idle_ms: int = 60 * 60_000
    absolute_ms: int = 12 * 3_600_000


def open_session(
    connection: Connection, account: str, address: str, now_ms: int, lifetimes: Lifetimes
) -> str:
    """Begin a session inside the caller's transaction; its secret, for the cookie."""
    table = tables.sessions
    secret = new_secret()
    connection.execute(
        delete(table).where(
            (table.c.seen_ms < now_ms - lifetimes.idle_ms)
            | (table.c.created_ms < now_ms - lifetimes.absolute_ms)
            | (table.c.created_ms > now_ms + _AHEAD_MS)
        )
    )
    connection.execute(
        table.insert().values(
            hash=digest_of(secret),
            account=account,
            address=address[:64],
            created_ms=now_ms,
            seen_ms=now_ms,
        )
    )
    kept = (
        select(table.c.hash)
        .where(table.c.account == account)
        .order_by(table.c.created_ms.desc(), table.c.hash)
        .limit(_A_PERSON)
    )
    connection.execute(delete(table).where(table.c.account == account, table.c.hash.not_in(kept)))
    return secret


def look_up(
    connection: Connection, secret: str, now_ms: int, lifetimes: Lifetimes
) -> tuple[Identity | None, bool]:
    """Whose session this is, or None, and whether its use should be written down (`touch`)."""
    table, accounts = tables.sessions, tables.accounts
    row = connection.execute(
        select(table, accounts.c.role, accounts.c.disabled)
        .join(accounts, accounts.c.name == table.c.account)
        .where(table.c.hash == digest_of(secret))
    ).first()
    if (
        row is None
        or row.disabled
        or now_ms - row.seen_ms > lifetimes.idle_ms
        or now_ms - row.created_ms > lifetimes.absolute_ms
        or row.created_ms - now_ms > _AHEAD_MS
    ):
        return None, False
    role = Role(row.role)
    identity = Identity(
        name=row.account,
        role=role,
        rights=RIGHTS[role],
        via="session",
        key=f"session:{row.hash[:16]}",
        csrf=csrf_of(secret),
    )
    return identity, abs(now_ms - row.seen_ms) > _TOUCH_MS


def touch(connection: Connection, secret: str, now_ms: int) -> None:
    """Write down that the session is used."""
    table = tables.sessions
    connection.execute(
        table.update().where(table.c.hash == digest_of(secret)).values(seen_ms=now_ms)
    )


def end(connection: Connection, secret: str) -> None:
    """End a session; nothing happens if there is none."""
    table = tables.sessions
    connection.execute(delete(table).where(table.c.hash == digest_of(secret)))
