"""What an error of the database means: away for now, refusing us, or a fault of the statement."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from contracts.errors import LogError, LogUnavailableError
from streaming.sqlite_errors import advice, disk_is_full

__all__ = ["database_errors"]

# SQLSTATEs, or their first characters, after which the same may succeed (PostgreSQL, appendix A).
_PASSING = (
    "08",  # the connection failed
    "25006",  # read-only: we are connected to what was the primary until just now
    "25P03",  # idle in a transaction for too long
    "40",  # deadlock, serialization: rolled back, may be tried again
    "53100",  # the disk is full: there will be room again
    "53200",  # out of memory
    "53300",  # too many connections
    "55P03",  # a lock was not to be had
    "57014",  # cancelled: statement_timeout
    "57P01",  # shut down by an administrator,
    "57P02",  # after a crash,
    "57P03",  # starting up
    "57P05",  # idle for too long
)
_CHECK_USER = "check user and password (FABPILOT_DATABASE, FABPILOT_DATABASE_PASSWORD_FILE)"
# A connection that is refused comes without SQLSTATE (libpq has none to give); these are the
# server's and libpq's words for what waiting does not change, and what does. In another language
# it is waited for, and the log says why.
_REFUSED = (
    ("authentication failed", _CHECK_USER),
    ("no password supplied", _CHECK_USER),
    ("is not permitted to log in", _CHECK_USER),
    ("no pg_hba.conf entry", "let us in there (pg_hba.conf)"),
    ("does not exist", "make what is missing, or name another database in FABPILOT_DATABASE,"),
    ("permission denied", "grant our user the right to make tables there, or make them its own,"),
    ("does not support SSL", "set it up for TLS or ask for none (sslmode)"),
    ("certificate verify failed", "give us its authority's certificate (sslrootcert)"),
    ("invalid connection option", "correct FABPILOT_DATABASE"),
    ("invalid port number", "correct FABPILOT_DATABASE"),
)


@contextmanager
def database_errors(engine: sa.Engine) -> Iterator[None]:
    """Turn errors of the database into ours; errors of what it was given pass as they are.

    Raises:
        LogUnavailableError: it cannot be reached or does not do it now; trying again may help.
        LogError: it refuses, or is broken.
    """
    try:
        yield
    except DBAPIError as error:
        if _the_statement_is_wrong(error):
            raise
        shown = engine.url.set(query={}).render_as_string(hide_password=True)
        # Without the statement and its values, which only `error` itself has.
        said = " ".join(str(error.orig).split())
        if disk_is_full(error.orig):
            raise LogUnavailableError(
                f"the disk of the database {shown} is full; make room, work goes on by itself;"
                f" nothing was written ({said})"
            ) from error
        if engine.dialect.name == "postgresql" and _passes(error, said):
            raise LogUnavailableError(f"the database {shown} does not answer ({said})") from error
        known = next((advice for words, advice in _REFUSED if words in said), "mend it")
        raise LogError(
            f"the database {shown} failed ({said}); nothing of the log was lost;"
            f" {advice(error.orig) or known} and start again"
        ) from error


def _the_statement_is_wrong(error: DBAPIError) -> bool:
    """Whether the values in it are at fault: another record may succeed."""
    # Class 42: no such table, no right to write it, whatever the values are. No statement: it was
    # the connection that failed.
    return (
        isinstance(error, DataError | IntegrityError | ProgrammingError)
        and error.statement is not None
        and not _state(error).startswith("42")
    )


def _passes(error: DBAPIError, said: str) -> bool:
    state = _state(error)
    if state:
        return state.startswith(_PASSING)
    return not any(words in said for words, _ in _REFUSED)


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
