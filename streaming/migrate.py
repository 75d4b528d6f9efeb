"""Brings a database to the tables of this release, or refuses it; new and old ones alike.

One history for all tables of ours (the loops', the controller's, the console's), since they may
share a database: `streaming/migrations`. Which step a database has taken last stands in the table
`fabpilot_schema`, which MLflow's `alembic_version` cannot be taken for.

1. A look without a lock: mostly there is nothing to do.
2. One transaction, which only one process has at a time: look again, take the steps that are
   missing, note the last. It is committed whole or not at all, on SQLite as on PostgreSQL.

There is no way back: an earlier release refuses a database that a later one has changed.
"""

import threading
import zlib
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from contracts.errors import LogError
from streaming.database import read_only

__all__ = ["VERSION_TABLE", "migrate", "steps", "upgrade_to"]

VERSION_TABLE = "fabpilot_schema"
_FOLDER = Path(__file__).parent / "migrations"
# Alembic keeps what it is doing in module variables: one at a time in a process.
_alembic = threading.Lock()


@cache
def steps() -> tuple[str, ...]:
    """The numbers of all steps this release knows, in order: `("0001", ...)`."""
    # A file is named v0001_what_it_does.py; reading names spares every start Alembic's import.
    files = (_FOLDER / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py")
    return tuple(sorted(path.name[1:5] for path in files))


def migrate(database: sa.Engine | sa.Connection) -> None:
    """Make the tables or bring them forward. Several processes may do so at once.

    Args:
        database: see `streaming.database.open_engine`; a connection has a transaction begun, and
            the steps are taken in it.

    Raises:
        LogError: a later release has changed the database; nothing was touched.
        sqlalchemy.exc.DBAPIError: the database failed; nothing was changed.
    """
    if isinstance(database, sa.Engine):
        with read_only(database).begin() as connection:
            if _is_current(connection):
                return
        with database.begin() as connection:
            migrate(connection)
        return
    if database.dialect.name == "postgresql":
        # A step may take longer than our sessions are otherwise given, and so may waiting for it.
        database.execute(sa.text("SET LOCAL statement_timeout = 0"))
        # On SQLite, BEGIN IMMEDIATE has seen to the turns.
        turn = sa.func.pg_advisory_xact_lock(zlib.crc32(b"fabpilot tables"))
        database.execute(sa.select(turn))
    if not _is_current(database):
        upgrade_to(database)


def _is_current(connection: sa.Connection) -> bool:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return False
    number = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    if number is not None and number not in steps():
        shown = connection.engine.url.set(query={}).render_as_string(hide_password=True)
        raise LogError(
            f"the database {shown} was changed by a later release (step {number}, this one knows"
            f" {steps()[-1]}); start that release, or restore the backup made before the upgrade"
        )
    return number == steps()[-1]


def upgrade_to(connection: sa.Connection, step: str = "head") -> None:
    """Take the steps up to and with `step`, in the transaction of the connection."""
    # Here, because it takes 0.2 s and is needed once in a database's life.
    from alembic import command
    from alembic.config import Config

    config = Config()
    # % is the configuration's own sign.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _alembic:
        command.upgrade(config, step)
