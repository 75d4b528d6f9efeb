"""Engines for the database that holds the controller's state: SQLite embedded, PostgreSQL deployed.

SQLite as SQLAlchemy sets it up would begin transactions late and fail where it should wait. Here a
transaction begins with BEGIN IMMEDIATE, so that two writers take turns instead of one of them
failing when it turns from reading to writing. Use `read_only(engine)` for pages that only look: WAL
lets them go on beside a writer.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from contracts.errors import ConfigError

__all__ = ["open_engine", "read_only"]

_BUSY_TIMEOUT_S = 30.0
_READ_ONLY = "fabpilot_read_only"


def open_engine(url: str) -> sa.Engine:
    """An engine for `url`; nothing is connected yet.

    Args:
        url: as SQLAlchemy writes it: `sqlite:///./.fabpilot/control.db` or
            `postgresql+psycopg://user@host/name`. The folder of an SQLite file is made.

    Raises:
        ConfigError: the URL cannot be read, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(parsed, pool_pre_ping=True)
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_TIMEOUT_S})
    except (ArgumentError, ModuleNotFoundError, OSError) as error:
        raise ConfigError(f"the database {url!r} cannot be used: {error}") from error
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", _begin)
    return engine


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
