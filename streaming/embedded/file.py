"""The SQLite file under the embedded log: schema, connections, transactions, waiting.

Layout. One table `records` holds all partitions; its integer primary key is the partition's number
in the upper bits and the offset in the lower ones, so a partition lies together on disk, is read by
a range scan, and its oldest records can be dropped by one range delete. What a partition's next
offset is stands in `partitions` and never in `records`, so offsets are not reused when records go.

Durability. WAL with synchronous=FULL: a commit is on the disk when it returns. NORMAL would survive
a killed process as well, but a power cut could take back the last commits of this file and not
those of a database that has already noted their offsets. docs/streaming.md has the price.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import LogError, LogUnavailableError
from streaming.deadline import Deadline
from streaming.sqlite_errors import advice, disk_is_full

__all__ = ["OFFSET_BITS", "LogFile", "record_id"]

APPLICATION_ID = 0x46414250  # "FABP", in the file's header: what `file` and we know it by
SCHEMA_VERSION = 1
OFFSET_BITS = 40

# How long a writer waits for another process's transaction; ours take milliseconds.
_BUSY_TIMEOUT_S = 30.0
# Waiting for other processes: looking costs some microseconds, so 20 ms is free and still prompt.
_FIRST_LOOK_S = 0.001
_LONGEST_LOOK_S = 0.02

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE partitions (
    partition_id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    timestamp_ms INTEGER NOT NULL,
    key BLOB NOT NULL,
    headers BLOB NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE sources (
    source TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE groups (
    name TEXT PRIMARY KEY,
    generation INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE members (
    member TEXT PRIMARY KEY,
    group_name TEXT NOT NULL,
    topics TEXT NOT NULL,
    process TEXT NOT NULL,
    seen_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE assignments (
    group_name TEXT NOT NULL,
    partition_id INTEGER NOT NULL,
    member TEXT NOT NULL,
    since_generation INTEGER NOT NULL,
    PRIMARY KEY (group_name, partition_id)
) WITHOUT ROWID;
CREATE TABLE offsets (
    group_name TEXT NOT NULL,
    partition_id INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, partition_id)
) WITHOUT ROWID;
"""

_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")


def record_id(partition_id: int, offset: int) -> int:
    """The primary key of a record."""
    return partition_id << OFFSET_BITS | offset


class LogFile:
    """Connections to one file, one a thread, opened when first needed."""

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        self.path = path
        self._synchronous = synchronous
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, sqlite3.Connection] = {}
        self._closed = False
        # Writers of one process queue here instead of in SQLite's busy handler, which sleeps.
        self._writing = threading.RLock()
        self._committed = threading.Condition()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot of the file, for several queries.

        Raises:
            LogError: the file cannot be read.
        """
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._explain(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: everything in it is durable when this ends, or nothing is.

        Raises:
            LogError: the file cannot be written.
        """
        try:
            connection = self._connection()
            with self._writing:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._explain(error) from error
        with self._committed:
            self._committed.notify_all()

    def version(self) -> int:
        """A number that changes when another connection, of whatever process, commits."""
        try:
            (version,) = self._connection().execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise self._explain(error) from error
        return int(version)

    def wait_for_change(self, version: int, deadline: Deadline) -> bool:
        """Wait until `version()` differs from `version`; False if the deadline came first."""
        look_s = _FIRST_LOOK_S
        while self.version() == version:
            left_s = deadline.left_s()
            if left_s <= 0.0:
                return False
            with self._committed:
                self._committed.wait(min(look_s, left_s))
            look_s = min(2 * look_s, _LONGEST_LOOK_S)
        return True

    def close(self) -> None:
        """Close the connections of all threads. May be called twice."""
        with self._lock:
            self._closed = True
            connections = list(self._connections.values())
            self._connections.clear()
        for connection in connections:
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._closed:
            with self._lock:
                if self._closed:
                    raise LogError(f"the log {self.path} is closed")
                for thread in [t for t in self._connections if not t.is_alive()]:
                    self._connections.pop(thread).close()
                connection = self._open()
                self._connections[threading.current_thread()] = connection
                self._local.connection = connection
        return connection

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Closed by `close`, from whatever thread calls it, hence check_same_thread.
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except OSError as error:
            raise LogError(f"the log {self.path} cannot be made: {error.strerror}") from error
        except sqlite3.Error as error:
            raise self._explain(error) from error
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._explain(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Larger pages: fewer levels and fewer overflow pages for records of 1 KB to 5 MB.
        connection.execute("PRAGMA page_size = 8192")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # 32 MB of WAL between checkpoints; the file is cut back to 64 MB after a large burst.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if not self._is_ours(connection):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have been quicker.
            if not self._is_ours(connection):
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
            connection.execute("COMMIT")

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Whether the file has our schema; False if it is new and empty."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application == 0 and tables == 0:
            return False
        if application != APPLICATION_ID:
            raise LogError(f"{self.path} is a database of another program; name another file")
        if version != SCHEMA_VERSION:
            raise LogError(
                f"the log {self.path} has format {version}, this version of fabpilot reads"
                f" {SCHEMA_VERSION}; use the version that wrote it, or start a new file"
            )
        return True

    def _explain(self, error: sqlite3.Error) -> LogError:
        if self._closed:
            return LogError(f"the log {self.path} was closed while in use")
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(_BUSY):
            return LogUnavailableError(
                f"the log {self.path} was locked by another process for {_BUSY_TIMEOUT_S:g} s;"
                " look for a process that hangs, then try again"
            )
        if disk_is_full(error):
            return LogUnavailableError(
                f"the disk of the log {self.path} is full; make room, work goes on by itself;"
                f" nothing was written ({error})"
            )
        if (what := advice(error)) is not None:
            return LogError(f"the log {self.path}: {what} ({error})")
        return LogError(f"the log {self.path} failed: {error}")
