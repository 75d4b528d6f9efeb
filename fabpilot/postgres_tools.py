"""PostgreSQL's own programs for copies of a database: `pg_dump` and `pg_restore`."""

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy.engine import URL

from contracts.errors import ConfigError

__all__ = ["dump_database", "restore_database"]

_TIMEOUT_S = 3600
# Where Debian puts the programs of each version; the newest can talk to all older servers.
_DEBIAN = Path("/usr/lib/postgresql")


def dump_database(database: URL, target: Path) -> None:
    """Write a database as it is at one moment, in PostgreSQL's custom format.

    Raises:
        ConfigError: the program is missing, or failed.
    """
    _run("pg_dump", database, ["--format=custom", "--no-owner", f"--file={target}"])


def restore_database(database: URL, source: Path) -> None:
    """Put all of a dump into an empty database, or nothing.

    Raises:
        ConfigError: the program is missing or failed, as where the database is not empty.
    """
    _run(
        "pg_restore",
        database,
        ["--single-transaction", "--exit-on-error", "--no-owner", str(source)],
    )


def _run(program: str, database: URL, arguments: list[str]) -> None:
    found = _find(program)
    # No password among the arguments: every user of the machine can read those.
    address = URL.create(
        "postgresql",
        username=database.username,
        host=database.host,
        port=database.port,
        database=database.database,
        query=database.query,
    ).render_as_string(hide_password=False)
    environment = dict(os.environ)
    if database.password:
        environment["PGPASSWORD"] = str(database.password)
    try:
        done = subprocess.run(
            [found, f"--dbname={address}", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{program} of {address} took more than {_TIMEOUT_S} s") from error
    if done.returncode:
        raise ConfigError(f"{program} of {address} failed: {done.stderr.strip()[-1000:]}")


def _find(program: str) -> str:
    if found := shutil.which(program):
        return found
    versions = sorted(_DEBIAN.glob("*"), key=lambda path: (len(path.name), path.name))
    for version in reversed(versions):
        if (path := version / "bin" / program).is_file():
            return str(path)
    raise ConfigError(f"{program} is not here: install PostgreSQL's client programs")
