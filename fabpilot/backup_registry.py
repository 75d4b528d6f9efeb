"""The registry in a backup: its database, then the artifacts that it names.

The database is copied first. Artifacts are written before the version that names them and never
changed afterwards, so whatever a copy of the database names is among the files that are copied
later; what came in between is there too much and harms nobody. The other way round, a version
registered in between would have no files.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import ConfigError
from fabpilot.settings import Settings
from streaming.database import open_engine

__all__ = [
    "check_artifacts",
    "check_empty_database",
    "empty_database",
    "registry_places",
    "relocate",
]


def registry_places(settings: Settings) -> tuple[URL, Path] | None:
    """The database of an MLflow server and the folder of its artifacts; None if none is set.

    Raises:
        ConfigError: one is set without the other, or it is no PostgreSQL.
    """
    named, folder = settings.mlflow_database, settings.mlflow_artifacts
    if not named and folder is None:
        return None
    if not named or folder is None:
        raise ConfigError(
            "a registry on a server is its database and its artifacts: set"
            " FABPILOT_MLFLOW_DATABASE and FABPILOT_MLFLOW_ARTIFACTS, or neither"
        )
    engine = open_engine(named, settings.secret("mlflow_database_password_file"))
    if engine.dialect.name != "postgresql":
        raise ConfigError("FABPILOT_MLFLOW_DATABASE must be a PostgreSQL database")
    return engine.url, folder.absolute()


def check_artifacts(database: URL, folder: Path) -> None:
    """See that the folder is the one in which the server keeps what its database names.

    Raises:
        ConfigError: it is not, or the server keeps its artifacts elsewhere, as in a bucket.
    """
    engine = open_engine(database.render_as_string(hide_password=False))
    try:
        with engine.connect() as connection:
            versions = connection.execute(
                sa.text("SELECT name, version, source FROM model_versions WHERE source IS NOT NULL")
            ).all()
    except SQLAlchemyError as error:
        raise ConfigError(
            f"the registry {_shown(database)} cannot be read: {str(error).splitlines()[0]}"
        ) from error
    finally:
        engine.dispose()
    for name, version, source in versions:
        parts = urlsplit(source)
        if parts.scheme != "mlflow-artifacts":
            raise ConfigError(
                f"version {version} of {name} is kept at {parts.scheme}:, not by the MLflow server"
                " in a folder of its own; copy that place with its own tools and unset"
                " FABPILOT_MLFLOW_ARTIFACTS"
            )
        if not (folder / unquote(parts.path).lstrip("/")).is_dir():
            raise ConfigError(
                f"{folder} has no files of version {version} of {name}; is"
                " FABPILOT_MLFLOW_ARTIFACTS what the server calls --artifacts-destination?"
            )


def check_empty_database(database: URL) -> None:
    """See that a database can be restored into.

    Raises:
        ConfigError: it has tables, or does not answer.
    """
    if _tables(database):
        raise ConfigError(
            f"the database {_shown(database)} has tables already, and pg_restore fills an empty"
            " one alone; name another, and restore before its server and our processes start"
        )


def empty_database(database: URL) -> None:
    """Remove the tables of a database that was empty when a restore began."""
    engine = open_engine(database.render_as_string(hide_password=False))
    try:
        found = sa.MetaData()
        found.reflect(engine)
        found.drop_all(engine)
    finally:
        engine.dispose()


def _tables(database: URL) -> list[str]:
    engine = open_engine(database.render_as_string(hide_password=False))
    try:
        return sa.inspect(engine).get_table_names()
    except SQLAlchemyError as error:
        raise ConfigError(
            f"the database {_shown(database)} does not answer: {str(error).splitlines()[0]}"
        ) from error
    finally:
        engine.dispose()


def _shown(database: URL) -> str:
    """A database's URL without its password."""
    return database.set(password=None).render_as_string()


def relocate(mlflow: Path, old: str, new: Path) -> None:
    """Have a copy of MLflow's store look for its artifacts where they are now."""
    before, after = Path(old).as_uri(), new.as_uri()
    if before == after:
        return
    columns = (
        ("runs", "artifact_uri"),
        ("experiments", "artifact_location"),
        ("model_versions", "source"),
        ("model_versions", "storage_location"),
        ("logged_models", "artifact_location"),
    )
    with closing(sqlite3.connect(mlflow)) as connection:
        for table, column in columns:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608
                f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (after, len(before) + 1, before, len(before) + 1, before + "/"),
            )
        connection.commit()
