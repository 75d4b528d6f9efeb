"""`fabpilot accounts`: who may use the console, and tokens for programs."""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from console.access import accounts as book
from console.access import tokens
from console.access.roles import Right, Role
from console.tables import create_tables
from contracts.clock import SystemClock, rfc3339
from contracts.errors import ConfigError
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, report
from fabpilot.settings import load_settings
from fabpilot.trail import this_user
from streaming.database import open_engine

__all__ = ["register"]

NameArgument = Annotated[str, typer.Argument(help="Name of the account.")]
StdinOption = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input, one line."),
]


@contextmanager
def _open() -> Iterator[Connection]:
    """A transaction on the console's database."""
    settings = load_settings()
    engine = open_engine(settings.database_url, settings.database_password)
    try:
        create_tables(engine)
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _password(name: str, from_stdin: bool) -> str:
    """A password that is good enough, hashed; it is never an argument, which others can see."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Once more: ") != password:
            raise ConfigError("the two passwords differ; nothing was changed")
    else:
        raise ConfigError("there is no terminal to ask for a password: use --password-stdin")
    book.check_password(name, password)
    return book.hash_password(password)


def add(
    name: NameArgument,
    role: Annotated[
        Role, typer.Option("--role", help="What the account may do (docs/security.md).")
    ],
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create an account; the password is asked for, or read from standard input.

    For example:

      fabpilot accounts add kim --role engineer

      fabpilot accounts add admin --role admin --password-stdin < secret
    """
    name = book.check_name(name)
    hashed = _password(name, password_stdin)
    with _open() as connection:
        made = book.add(connection, name, role, hashed, by=this_user(), now_ms=_now_ms())
    report(asdict(made), as_json=as_json, title="account")


def list_(as_json: JsonOption = False) -> None:
    """All accounts with their roles."""
    with _open() as connection:
        found = book.listed(connection)
    if as_json:
        report({"accounts": [asdict(one) for one in found]}, as_json=True)
        return
    if not found:
        err.print("no account yet; make one: fabpilot accounts add NAME --role admin")
        return
    table = Table("name", "role", "signs in", "state", "since")
    for one in found:
        how = "with a password" if one.local else "with the identity provider"
        state = "disabled" if one.disabled else "open"
        table.add_row(one.name, one.role, how, state, rfc3339(one.created_ms)[:10])
    Console().print(table)


def role(
    name: NameArgument,
    role: Annotated[Role, typer.Argument(help="The new role.")],
    as_json: JsonOption = False,
) -> None:
    """Change an account's role; its sessions end."""
    _change(
        name,
        lambda connection, kept: book.change_role(
            connection, kept, role, by=this_user(), now_ms=_now_ms()
        ),
        as_json,
    )


def disable(
    name: NameArgument,
    why: Annotated[str, typer.Option("--why", help="For the audit trail.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Disable an account: its sessions and tokens stop working at once."""
    _change(
        name,
        lambda connection, kept: book.disable(
            connection, kept, disabled=True, by=this_user(), now_ms=_now_ms(), why=why
        ),
        as_json,
    )


def enable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Enable a disabled account again."""
    _change(
        name,
        lambda connection, kept: book.disable(
            connection, kept, disabled=False, by=this_user(), now_ms=_now_ms()
        ),
        as_json,
    )


def password(
    name: NameArgument, password_stdin: StdinOption = False, as_json: JsonOption = False
) -> None:
    """Change an account's password; its sessions end."""
    name = book.check_name(name)
    hashed = _password(name, password_stdin)
    _change(
        name,
        lambda connection, kept: book.set_password(
            connection, kept, hashed, by=this_user(), now_ms=_now_ms()
        ),
        as_json,
    )


def token_add(
    name: NameArgument,
    scope: Annotated[
        list[Right],
        typer.Option("--scope", help="A right of the token; repeat the option for several."),
    ],
    days: Annotated[
        int,
        typer.Option("--days", min=1, max=tokens.MAX_DAYS, help="Days until the token expires."),
    ] = 90,
    purpose: Annotated[
        str, typer.Option("--for", help="Which program uses it, for the audit trail.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Create a token for a program that acts for this account. It is shown only once.

    For example:

      fabpilot accounts token add kim --scope look --days 30 --for "yield report"

      curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/api/v1/alerts
    """
    name = book.check_name(name)
    with _open() as connection:
        made, secret = tokens.add(
            connection,
            name,
            scope,
            days=days,
            purpose=purpose,
            by=this_user(),
            now_ms=_now_ms(),
        )
    if not as_json:
        err.print("Keep it now: it is not shown again, and only its hash is stored here.")
    report({**asdict(made), "token": secret}, as_json=as_json, title="token")


def token_list(as_json: JsonOption = False) -> None:
    """All tokens, without their secrets."""
    with _open() as connection:
        found = tokens.listed(connection)
    if as_json:
        report({"tokens": [asdict(one) for one in found]}, as_json=True)
        return
    table = Table("id", "account", "for", "scopes", "expires", "state")
    for one in found:
        state = "revoked" if one.revoked else "expired" if one.expires_ms < _now_ms() else "holds"
        expires = rfc3339(one.expires_ms)[:10]
        table.add_row(one.token_id, one.account, one.purpose, " ".join(one.scopes), expires, state)
    Console().print(table)


def token_revoke(
    token_id: Annotated[str, typer.Argument(help="The id that 'token list' shows.")],
    as_json: JsonOption = False,
) -> None:
    """Revoke a token for good."""
    with _open() as connection:
        tokens.revoke(connection, token_id, by=this_user(), now_ms=_now_ms())
    report({"token_id": token_id, "revoked": True}, as_json=as_json, title="token")


def _change(name: str, change: Callable[[Connection, str], None], as_json: bool) -> None:
    name = book.check_name(name)
    with _open() as connection:
        change(connection, name)
        after = book.find(connection, name)
    plain: dict[str, Any] = asdict(after) if after else {}
    report(plain, as_json=as_json, title="account")


def _now_ms() -> int:
    return SystemClock().now_ms()


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(help="Accounts, roles and tokens of the console.", no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_)
    group.command("role")(role)
    group.command("disable")(disable)
    group.command("enable")(enable)
    group.command("password")(password)
    token = typer.Typer(help="Tokens for programs.", no_args_is_help=True)
    token.command("add")(token_add)
    token.command("list")(token_list)
    token.command("revoke")(token_revoke)
    group.add_typer(token, name="token")
    app.add_typer(group, name="accounts")
