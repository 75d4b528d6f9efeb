"""The audit trail, for what is decided on the command line."""

import getpass
import os
from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from console.access.trail import append
from console.tables import create_tables
from contracts.clock import SystemClock
from contracts.errors import ConfigError
from fabpilot.settings import Settings
from streaming.database import open_engine

__all__ = ["record", "this_user"]


def record(
    settings: Settings,
    who: str,
    what: str,
    subject: str,
    why: str,
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    """Add a row to the trail; what it says is true when this returns.

    Raises:
        ConfigError: the database cannot be written.
    """
    engine = open_engine(settings.database_url, settings.database_password)
    try:
        create_tables(engine)
        with engine.begin() as connection:
            now_ms = SystemClock().now_ms()
            append(connection, now_ms, who, what, subject, why, before=before, after=after)
    except SQLAlchemyError as error:
        raise ConfigError(
            "the audit trail cannot be written, so nothing was done: the database"
            f" (FABPILOT_DATABASE) says {type(error).__name__}"
        ) from error
    finally:
        engine.dispose()


def this_user() -> str:
    """Who runs this process, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user often has no name
        return f"uid {os.getuid()}"
