"""Accounts: made, changed and disabled inside the caller's transaction, each with an audit row."""

import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, delete, func, select

from console.access import tables
from console.access.roles import Role
from console.access.trail import append
from console.decisions import MissingError
from contracts.errors import ConflictError, DataError

__all__ = [
    "Account",
    "add",
    "admit",
    "change_role",
    "check_name",
    "check_password",
    "disable",
    "find",
    "hash_password",
    "listed",
    "password_fits",
    "set_password",
]

# NIST SP 800-63B asks for length and not for kinds of characters.
_SHORTEST, _LONGEST = 12, 256
_NAME = re.compile(r"[\w][\w.@-]{0,63}")
# argon2id with the library's parameters (RFC 9106, 64 MiB, 3 passes). Each needs its memory, so few
# are made at once: a flood of logins waits instead of filling the machine.
_hasher = PasswordHasher()
_turns = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class Account:
    """One account.

    Attributes:
        name: what one signs in with and what decisions are signed with.
        local: it has a password here; otherwise it signs in with the identity provider.
    """

    name: str
    role: Role
    local: bool
    disabled: bool
    created_ms: int


def check_name(name: str) -> str:
    """The name as it is kept: composed (NFKC), in small letters.

    Raises:
        DataError: it can be no name.
    """
    kept = unicodedata.normalize("NFKC", name.strip()).lower()
    if not _NAME.fullmatch(kept):
        raise DataError(
            f"{name[:40]!r} can be no account's name: letters and digits of any script, and . _ - @"
            " after the first, at most 64"
        )
    return kept


def check_password(name: str, password: str) -> None:
    """Refuse what is easily guessed.

    Raises:
        DataError: it is too short, too long, or has the name in it.
    """
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise DataError(f"a password has {_SHORTEST} to {_LONGEST} characters; a sentence is fine")
    if name.lower() in password.lower() or len(set(password)) < 5:
        raise DataError("this password is easily guessed; take a few words that do not belong"
                        " together")  # fmt: skip


def hash_password(password: str) -> str:
    """Its argon2id hash; takes tens of milliseconds, so not inside a transaction."""
    with _turns:
        return _hasher.hash(password)


@cache
def _nobody() -> str:
    """A hash that no password fits, made once, with the same parameters."""
    return _hasher.hash("nobody has this password")


def password_fits(stored: str, password: str) -> bool:
    """Whether the password is the one hashed; as slow for an account that is not there ('')."""
    with _turns:
        try:
            _hasher.verify(stored or _nobody(), password)
        except (VerificationError, InvalidHashError):
            return False
    return bool(stored)


def find(connection: Connection, name: str) -> Account | None:
    """The account of that name."""
    row = connection.execute(select(tables.accounts).where(tables.accounts.c.name == name)).first()
    return _account(row) if row else None


def listed(connection: Connection) -> list[Account]:
    """All accounts by name."""
    rows = connection.execute(select(tables.accounts).order_by(tables.accounts.c.name))
    return [_account(row) for row in rows]


def add(
    connection: Connection, name: str, role: Role, hashed: str, *, by: str, now_ms: int
) -> Account:
    """Make an account.

    Raises:
        ConflictError: there is one of that name.
    """
    if find(connection, name) is not None:
        raise ConflictError(f"there is an account {name!r} already")
    _insert(connection, name, role, hashed, "", now_ms)
    append(connection, now_ms, by, "account.added", name, after={"role": role.value})
    return _found(connection, name)


def admit(connection: Connection, name: str, role: Role, subject: str, *, now_ms: int) -> Account:
    """The account of somebody whom the identity provider vouches for, made or brought up to date.

    Args:
        connection: inside the caller's transaction.
        name: that the provider gives them.
        role: that the provider gives them.
        subject: issuer and subject, which never change for one person.
        now_ms: wall time.

    Raises:
        ConflictError: the name belongs to somebody else here.
        DataError: the account is disabled.
    """
    table = tables.accounts
    there = connection.execute(select(table).where(table.c.name == name)).first()
    if there is None:
        _insert(connection, name, role, "", subject, now_ms)
        append(connection, now_ms, "identity provider", "account.added", name,
               after={"role": role.value, "subject": subject})  # fmt: skip
        return _found(connection, name)
    if there.subject != subject:
        raise ConflictError(
            f"the name {name!r} belongs to another account here; an administrator must rename one"
            " of them at the identity provider"
        )
    if there.disabled:
        raise DataError(f"the account {name!r} is disabled here; ask an administrator")
    if there.role != role.value:
        change_role(connection, name, role, by="identity provider", now_ms=now_ms)
    return _found(connection, name)


def change_role(connection: Connection, name: str, role: Role, *, by: str, now_ms: int) -> None:
    """Give an account another role; its sessions end.

    Raises:
        MissingError: there is no such account.
        ConflictError: it is the last administrator.
    """
    before = _found(connection, name)
    if before.role is Role.ADMIN and role is not Role.ADMIN:
        _check_another_admin(connection, name)
    _update(connection, name, now_ms, role=role.value)
    append(connection, now_ms, by, "account.role", name,
           before={"role": before.role.value}, after={"role": role.value})  # fmt: skip


def disable(
    connection: Connection, name: str, *, disabled: bool, by: str, now_ms: int, why: str = ""
) -> None:
    """Close an account, or open it again; its sessions end.

    Raises:
        MissingError: there is no such account.
        ConflictError: it is the last administrator.
    """
    before = _found(connection, name)
    if disabled and before.role is Role.ADMIN:
        _check_another_admin(connection, name)
    _update(connection, name, now_ms, disabled=int(disabled))
    append(connection, now_ms, by, "account.disabled" if disabled else "account.enabled", name, why,
           before={"disabled": before.disabled}, after={"disabled": disabled})  # fmt: skip


def set_password(connection: Connection, name: str, hashed: str, *, by: str, now_ms: int) -> None:
    """Give an account another password; its sessions end.

    Raises:
        MissingError: there is no such account.
        ConflictError: it signs in with the identity provider.
    """
    if not _found(connection, name).local:
        raise ConflictError(f"{name!r} signs in with the identity provider and has no password")
    _update(connection, name, now_ms, password=hashed)
    append(connection, now_ms, by, "account.password", name)


def _insert(
    connection: Connection, name: str, role: Role, hashed: str, subject: str, now_ms: int
) -> None:
    connection.execute(
        tables.accounts.insert().values(
            name=name,
            role=role.value,
            password=hashed,
            subject=subject,
            disabled=0,
            created_ms=now_ms,
            changed_ms=now_ms,
        )
    )


def _update(connection: Connection, name: str, now_ms: int, **changed: object) -> None:
    table, sessions = tables.accounts, tables.sessions
    connection.execute(
        table.update().where(table.c.name == name).values(changed_ms=now_ms, **changed)
    )
    connection.execute(delete(sessions).where(sessions.c.account == name))


def _check_another_admin(connection: Connection, name: str) -> None:
    table = tables.accounts
    others = connection.execute(
        select(func.count()).where(
            table.c.role == Role.ADMIN.value, table.c.disabled == 0, table.c.name != name
        )
    ).scalar_one()
    if not others:
        raise ConflictError(
            f"{name!r} is the last administrator; make another first: fabpilot accounts add NAME"
            " --role admin"
        )


def _found(connection: Connection, name: str) -> Account:
    account = find(connection, name)
    if account is None:
        raise MissingError(f"there is no account {name!r}; 'fabpilot accounts list' shows them")
    return account


def _account(row: object) -> Account:
    return Account(
        name=row.name,  # type: ignore[attr-defined]
        role=Role(row.role),  # type: ignore[attr-defined]
        local=not row.subject,  # type: ignore[attr-defined]
        disabled=bool(row.disabled),  # type: ignore[attr-defined]
        created_ms=row.created_ms,  # type: ignore[attr-defined]
    )
