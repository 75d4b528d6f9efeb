"""The embedded log on files that are not what they should be, and its groups in detail."""

import os
import resource
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from contracts.clock import ManualClock
from contracts.errors import FencedError, LogError, RecordTooLargeError
from contracts.records import Message, Record
from streaming.embedded import EmbeddedLog
from streaming.liveness import process_name, surely_gone

ROOT = Path(__file__).parents[3]


def message(number: int, key: str = "k") -> Message:
    return Message("t", key.encode(), str(number).encode())


def offsets(records: list[Record]) -> dict[tuple[str, int], int]:
    return {record.topic_partition: record.offset + 1 for record in records}


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"not a database " * 1000)
    with pytest.raises(LogError, match="not an embedded log"):
        EmbeddedLog(path).topics()
    assert path.read_bytes() == b"not a database " * 1000


def test_a_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(LogError, match="another program"):
        EmbeddedLog(path).topics()


def test_a_log_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = EmbeddedLog(path)
    log.create_topics({"t": 1})
    log.close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(LogError, match="format 99"):
        EmbeddedLog(path).topics()


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot be opened"):
        EmbeddedLog(tmp_path).topics()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LogError, match="cannot be made"):
        EmbeddedLog(tmp_path / "file" / "log.db").topics()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    EmbeddedLog(path).create_topics({"t": 1})
    path.chmod(0o444)
    with pytest.raises(LogError, match="cannot be written"):
        EmbeddedLog(path).append([message(1)])


def test_a_disk_without_room_is_named_and_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = EmbeddedLog(path)
    log.create_topics({"t": 1})
    log.append([message(1)])
    # A process that may write files of at most 1 MB stands in for a disk that is full.
    script = (
        "import sys; from pathlib import Path; from streaming.embedded import EmbeddedLog\n"
        "from contracts.records import Message; from contracts.errors import LogError\n"
        "log = EmbeddedLog(Path(sys.argv[1]))\n"
        "try: log.append([Message('t', b'k', bytes(1_000_000))] * 4)\n"
        "except LogError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)),
        check=True,
    )
    assert "disk" in done.stdout
    assert [r.value for r in log.reader(["t"], "beginning").poll(10, 0.0)] == [b"1"]
    log.append([message(2)])
    log.close()


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"t": 1})
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.topics()


def test_headers_have_a_limit(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"t": 1})
    with pytest.raises(RecordTooLargeError, match="headers"):
        log.append([Message("t", b"k", b"", (("h", bytes(100_000)),))])
    log.close()


def test_a_topic_needs_a_partition(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="at least 1"):
        EmbeddedLog(tmp_path / "log.db").create_topics({"t": 0})


def test_poll_wakes_up_for_another_threads_append(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"t": 1})
    found: list[Record] = []
    polling = threading.Event()

    def wait_for_one() -> None:
        reader = log.reader(["t"], "beginning")
        polling.set()
        found.extend(reader.poll(10, 30.0))

    thread = threading.Thread(target=wait_for_one)
    thread.start()
    assert polling.wait(10)
    log.append([message(7)])
    thread.join(10)
    assert [record.value for record in found] == [b"7"]
    log.close()


def test_a_silent_member_loses_its_partitions_after_the_session_timeout(tmp_path: Path) -> None:
    clock = ManualClock(1_000_000)
    log = EmbeddedLog(tmp_path / "log.db", clock=clock, session_timeout_ms=10_000)
    log.create_topics({"t": 1})
    log.append([message(1)])
    silent, waiting = log.consumer("g", ["t"]), log.consumer("g", ["t"])
    in_hand = silent.poll(10, 0.0)
    clock.advance(9_000)
    assert waiting.poll(10, 0.0) == []
    clock.advance(2_000)
    theirs = waiting.poll(10, 0.0)
    assert [record.value for record in theirs] == [b"1"]
    with pytest.raises(FencedError):
        silent.commit([message(99)], offsets(in_hand))
    waiting.commit([message(2)], offsets(theirs))
    assert log.ends(["t"])[in_hand[0].topic_partition] == 2
    # It comes back as a new member and waits its turn.
    silent.rewind()
    assert silent.poll(10, 0.0) == []
    assert silent.lag() == 0
    assert waiting.lag() == 1
    log.close()


def test_a_busy_partition_starves_no_other(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"t": 4})
    log.append([message(i, key="busy") for i in range(1000)])
    log.append([message(i, key=f"k{i}") for i in range(40)])
    reader = log.reader(["t"], "beginning")
    seen = {record.partition for _ in range(4) for record in reader.poll(10, 0.0)}
    assert seen == {0, 1, 2, 3}
    log.close()


def test_a_topic_made_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    clock = ManualClock(1)
    log = EmbeddedLog(tmp_path / "log.db", clock=clock)
    log.create_topics({"other": 1})
    consumer, reader = log.consumer("g", ["t"]), log.reader(["t"], "end")
    assert consumer.poll(10, 0.0) == []
    assert reader.poll(10, 0.0) == []
    log.create_topics({"t": 2})
    log.append([message(1)])
    clock.advance(1_000)
    assert [record.value for record in consumer.poll(10, 0.0)] == [b"1"]
    assert [record.value for record in reader.poll(10, 0.0)] == [b"1"]
    log.close()


def test_a_process_that_ended_is_known_to_be_gone() -> None:
    code = "from streaming.liveness import process_name; print(process_name())"
    name = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.strip()
    if not name:
        pytest.skip("this system does not name processes beyond doubt")
    assert surely_gone(name)
    assert not surely_gone(process_name())
    # Another process with the same number; another machine; a damaged name.
    assert surely_gone(process_name() + "9")
    assert not surely_gone("elsewhere/pid:[1]/1/1")
    assert not surely_gone("")
