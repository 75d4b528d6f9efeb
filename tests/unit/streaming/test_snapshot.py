import sqlite3
import threading
from contextlib import closing

import pytest

from contracts.errors import LogError
from streaming.snapshot import copy_at_one_moment


def make(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (n INTEGER)")
        connection.execute("INSERT INTO t VALUES (0)")


def number(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT max(n) FROM t").fetchone()[0]


def test_copies_are_of_one_moment_while_a_writer_goes_on(tmp_path):
    # The writer commits n to the first file, then n to the second: at any moment the first is
    # equal or one ahead. Copies made one after the other would not be.
    first, second = tmp_path / "a.db", tmp_path / "b.db"
    make(first)
    make(second)
    stop, wrote = threading.Event(), threading.Semaphore(0)

    def write():
        with (
            closing(sqlite3.connect(first, timeout=30, isolation_level=None)) as one,
            closing(sqlite3.connect(second, timeout=30, isolation_level=None)) as two,
        ):
            n = 0
            while not stop.is_set():
                n += 1
                one.execute("INSERT INTO t VALUES (?)", (n,))
                two.execute("INSERT INTO t VALUES (?)", (n,))
                wrote.release()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        gaps = []
        for turn in range(10):
            wrote.acquire()
            # The one that is written second is copied first.
            copies = {second: tmp_path / f"b{turn}.db", first: tmp_path / f"a{turn}.db"}
            copy_at_one_moment(copies)
            gaps.append(number(copies[first]) - number(copies[second]))
    finally:
        stop.set()
        writer.join()
    assert set(gaps) <= {0, 1}


def test_a_copy_stands_alone_and_progress_adds_up(tmp_path):
    source, target = tmp_path / "a.db", tmp_path / "copy.db"
    make(source)
    seen = []
    copy_at_one_moment({source: target}, seen.append)
    assert number(target) == 0
    assert sum(seen) == target.stat().st_size
    assert sorted(p.name for p in tmp_path.glob("copy.db*")) == ["copy.db"]


def test_what_cannot_be_copied_is_said(tmp_path):
    source = tmp_path / "a.db"
    with pytest.raises(LogError, match="is not there"):
        copy_at_one_moment({source: tmp_path / "b.db"})
    source.write_bytes(b"no database at all, but long enough to be looked at" * 10)
    with pytest.raises(LogError, match="cannot be copied"):
        copy_at_one_moment({source: tmp_path / "b.db"})
    make(tmp_path / "c.db")
    with pytest.raises(LogError, match="overwrites nothing"):
        copy_at_one_moment({tmp_path / "c.db": source})
