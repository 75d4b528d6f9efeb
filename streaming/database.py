"""Engines for the database that holds the controller's state: SQLite embedded, PostgreSQL deployed.

SQLite as SQLAlchemy sets it up would begin transactions late and fail where it should wait. Here a
transaction begins with BEGIN IMMEDIATE, so that two writers take turns instead of one of them
failing when it turns from reading to writing. Use `read_only(engine)` for pages that only look: WAL
lets them go on beside a writer.

PostgreSQL locks rows. Its transactions here are READ COMMITTED: what each statement sees was
committed when it began, so a row that was locked first is read as the holder before left it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from contracts.errors import ConfigError

__all__ = ["insert_missing", "insert_or", "open_engine", "read_only"]

_BUSY_TIMEOUT_S = 30.0
_READ_ONLY = "fabpilot_read_only"

_POSTGRES = "postgresql+psycopg"
# What libpq is told unless the URL says otherwise. Without these a server that vanished (no reset,
# no answer) would be waited for until TCP gives up, a quarter of an hour by default.
_LIBPQ: Mapping[str, str | int] = {
    "application_name": "fabpilot",
    # A server that is there answers in milliseconds; a stop must not wait long for one that is not.
    "connect_timeout": 5,
    # Asked after 5 s of silence, then thrice, 2 s apart: a vanished server is noticed after 11 s...
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    # ...and about as soon if it vanished while something was on its way to it.
    "tcp_user_timeout": 10_000,
}
# What the server is told of our sessions, in ms. A holder that hangs inside a transaction keeps its
# locks until the server ends its session: 45 s is longer than the log's longest wait (30 s for one
# call to Kafka, made while the relay has the outbox locked), so that only what hangs is ended.
# A statement takes milliseconds, or waits for such a lock: it may wait until that is resolved.
_SESSION = {"idle_in_transaction_session_timeout": 45_000, "statement_timeout": 60_000}

Row = Mapping[str, Any]


def open_engine(url: str, password: str | None = None) -> sa.Engine:
    """An engine for `url`; nothing is connected yet.

    Args:
        url: as SQLAlchemy writes it: `sqlite:///./.fabpilot/control.db` or
            `postgresql+psycopg://user@host/name`. The folder of an SQLite file is made. What
            libpq can be told (`?sslmode=verify-full`) goes before what it is told here.
        password: instead of the one in the URL.

    Raises:
        ConfigError: the URL cannot be read, or its driver is not installed.
    """
    parsed = _parsed(url)
    if password is not None:
        parsed = parsed.set(password=password)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(parsed)
        return _postgres_engine(parsed)
    except (ArgumentError, ImportError, OSError) as error:
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigError(f"the database {shown!r} cannot be used: {error}") from error


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        if "@" in (parsed.host or ""):
            raise ValueError("an @ too many")
    except (ArgumentError, ValueError):
        # The text of these errors has the URL in it, and that may have a password in it.
        raise ConfigError(
            "the URL of the database cannot be read; it looks like sqlite:///PATH or"
            f" {_POSTGRES}://USER@HOST/NAME, and in a password @, : and / are written %40, %3A, %2F"
        ) from None
    if isinstance(inside := parsed.query.get("password"), str):
        # Taken out of the query, so that it is hidden where the URL is shown.
        parsed = parsed.difference_update_query(["password"]).set(password=inside)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername=_POSTGRES)
    if not parsed.drivername.startswith(("sqlite", _POSTGRES)):
        raise ConfigError(
            f"the database {parsed.drivername!r} is not one of ours; use SQLite or {_POSTGRES}://"
        )
    return parsed


def _sqlite_engine(url: URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _postgres_engine(url: URL) -> sa.Engine:
    session = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    defaults = {**_LIBPQ, "options": session}
    return sa.create_engine(
        url,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        connect_args={name: value for name, value in defaults.items() if name not in url.query},
    )


def read_only(engine: sa.Engine) -> sa.Engine:
    """The same engine for transactions that only read; they wait for no writer."""
    return engine.execution_options(**{_READ_ONLY: True})


def _set_up(connection: Any, _record: Any) -> None:
    # None: the driver begins no transactions of its own; `_begin` does.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def insert_or(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can be told what to do about rows that are there already."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_missing(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert the rows whose primary key is not there yet.

    On PostgreSQL it waits for whoever is inserting or changing such a row at this moment.
    """
    if rows:
        connection.execute(insert_or(connection, table).on_conflict_do_nothing(), rows)
