"""Tokens for programs: they act for an account, with fewer rights, until they expire."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from console.access import tables
from console.access.accounts import find
from console.access.identity import Identity
from console.access.roles import RIGHTS, Right, Role
from console.access.secrets import digest_of, new_secret
from console.access.trail import append
from console.decisions import MissingError
from contracts.errors import DataError

__all__ = ["MAX_DAYS", "Token", "add", "listed", "look_up", "revoke"]

MAX_DAYS = 366
"""A token that nobody renews within a year is forgotten somewhere."""
_DAY_MS = 86_400_000
# Makes a token recognisable to those who scan for secrets that were committed by mistake.
_PREFIX = "fabpilot_"


@dataclass(frozen=True)
class Token:
    """A token as it may be shown: without its secret."""

    token_id: str
    account: str
    purpose: str
    scopes: tuple[Right, ...]
    created_ms: int
    expires_ms: int
    revoked: bool


def add(
    connection: Connection,
    account: str,
    scopes: Iterable[Right],
    *,
    days: int,
    purpose: str,
    by: str,
    now_ms: int,
) -> tuple[Token, str]:
    """Make a token inside the caller's transaction; it and its secret, which is never seen again.

    Raises:
        MissingError: there is no such account.
        DataError: no scope, one that the account does not have itself, or too many days.
    """
    owner = find(connection, account)
    if owner is None:
        raise MissingError(f"there is no account {account!r}")
    wanted = tuple(sorted(set(scopes)))
    beyond = set(wanted) - RIGHTS[owner.role]
    if not wanted or beyond:
        allowed = ", ".join(sorted(RIGHTS[owner.role]))
        raise DataError(f"a token of this {owner.role} may have the scopes {allowed}; name some")
    if not 1 <= days <= MAX_DAYS:
        raise DataError(f"a token lives 1 to {MAX_DAYS} days")
    secret = _PREFIX + new_secret()
    token = Token(
        token_id=digest_of(secret)[:8],
        account=account,
        purpose=purpose,
        scopes=wanted,
        created_ms=now_ms,
        expires_ms=now_ms + days * _DAY_MS,
        revoked=False,
    )
    connection.execute(
        tables.tokens.insert().values(
            token_id=token.token_id,
            hash=digest_of(secret),
            account=account,
            purpose=purpose,
            scopes=" ".join(wanted),
            created_ms=now_ms,
            expires_ms=token.expires_ms,
            revoked_ms=0,
        )
    )
    after = {"account": account, "scopes": " ".join(wanted), "expires_ms": token.expires_ms}
    append(connection, now_ms, by, "token.added", token.token_id, purpose, after=after)
    return token, secret


def revoke(connection: Connection, token_id: str, *, by: str, now_ms: int) -> None:
    """End a token for good.

    Raises:
        MissingError: there is no such token.
    """
    table = tables.tokens
    done = connection.execute(
        table.update()
        .where(table.c.token_id == token_id, table.c.revoked_ms == 0)
        .values(revoked_ms=now_ms)
    )
    if done.rowcount != 1:
        raise MissingError(f"there is no token {token_id!r} that could be revoked")
    append(connection, now_ms, by, "token.revoked", token_id)


def listed(connection: Connection) -> list[Token]:
    """All tokens, the latest first."""
    table = tables.tokens
    rows = connection.execute(select(table).order_by(table.c.created_ms.desc(), table.c.token_id))
    return [
        Token(
            token_id=row.token_id,
            account=row.account,
            purpose=row.purpose,
            scopes=tuple(Right(one) for one in row.scopes.split()),
            created_ms=row.created_ms,
            expires_ms=row.expires_ms,
            revoked=bool(row.revoked_ms),
        )
        for row in rows
    ]


def look_up(connection: Connection, secret: str, now_ms: int) -> Identity | None:
    """Who the token acts for, with which rights; None if it is none, expired, or revoked."""
    table, accounts = tables.tokens, tables.accounts
    row = connection.execute(
        select(table, accounts.c.role, accounts.c.disabled)
        .join(accounts, accounts.c.name == table.c.account)
        .where(table.c.hash == digest_of(secret))
    ).first()
    if row is None or row.disabled or row.revoked_ms or now_ms >= row.expires_ms:
        return None
    role = Role(row.role)
    scopes = frozenset(Right(one) for one in row.scopes.split())
    return Identity(
        name=row.account,
        role=role,
        # A token made before the account lost a right does not keep it.
        rights=RIGHTS[role] & scopes,
        via="token",
        key=f"token:{row.token_id}",
    )
