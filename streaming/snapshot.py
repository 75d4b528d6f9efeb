"""Copies of several SQLite files as they all were at one moment, while others write to them.

A copy of the log and a later copy of the database that reads it would contradict each other: the
database would have noted offsets that its log does not have, or have forgotten what the log has
published. So:

1. Take the write lock of every file, so that nobody is in the middle of anything.
2. Begin a reading transaction on every file: it sees that moment for as long as it lasts. (In
   WAL mode, as ours are, writers go on meanwhile; MLflow's small file makes them wait.)
3. Let go of the write locks. Writers have waited for some milliseconds, and go on.
4. Copy what the reading transactions see, at leisure.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from contracts.errors import LogError, LogUnavailableError

__all__ = ["copy_at_one_moment"]

# A writer's transaction takes milliseconds; a relay that waits for its log holds one for 30 s.
_BUSY_TIMEOUT_S = 60.0
# 16 MiB of 8 KiB pages between two words about progress.
_PAGES = 2048


def copy_at_one_moment(
    files: Mapping[Path, Path], on_progress: Callable[[int], None] | None = None
) -> None:
    """Copy SQLite files, all as they were at the same moment.

    Args:
        files: each file to the copy that is to be made of it. A copy must not exist yet.
        on_progress: called with the bytes copied since the last call.

    Raises:
        LogUnavailableError: a writer did not let go of a file in time.
        LogError: a file is no SQLite file or cannot be read, or its copy cannot be written.
    """
    for source, target in files.items():
        if not source.is_file():
            raise LogError(f"{source} is not there, so it cannot be copied")
        if target.exists():
            raise LogError(f"{target} is there already; a copy overwrites nothing")
    with ExitStack() as readers:
        with ExitStack() as locks:
            # 1. In one order, so that two who copy at once do not wait for each other.
            for source in sorted(files):
                locks.enter_context(_locked(source))
            # 2.
            frozen = {source: readers.enter_context(_frozen(source)) for source in files}
        # 3. The locks are gone. 4.
        for source, target in files.items():
            _copy(frozen[source], source, target, on_progress)


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        # rw: a file that has gone meanwhile is an error, not a new empty one.
        with closing(
            sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
            )
        ) as connection:
            yield connection
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise LogUnavailableError(
                f"{path} was locked by another process for {_BUSY_TIMEOUT_S:g} s; look for a"
                " process that hangs, then try again"
            ) from error
        raise LogError(f"{path} cannot be copied: {error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The file's write lock."""
    with _connected(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def _frozen(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the file as it is now."""
    with _connected(path) as connection:
        connection.execute("BEGIN")
        # BEGIN alone takes no snapshot; the first look does.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        yield connection


def _copy(
    frozen: sqlite3.Connection,
    source: Path,
    target: Path,
    on_progress: Callable[[int], None] | None,
) -> None:
    (page_size,) = frozen.execute("PRAGMA page_size").fetchone()
    left: int | None = None

    def said(_status: int, remaining: int, total: int) -> None:
        nonlocal left
        if on_progress is not None:
            on_progress(((total if left is None else left) - remaining) * page_size)
        left = remaining

    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            frozen.backup(copy, pages=_PAGES, progress=said)
            # One file: no -wal beside it that could be forgotten.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise LogError(f"{source} cannot be copied to {target}: {error}") from error
