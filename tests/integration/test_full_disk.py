"""A disk that is full or read-only, for real: what is said, nothing lost, and work goes on."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from contracts.errors import ConfigError, LogError, LogUnavailableError
from contracts.records import Message
from fabpilot.backup import back_up
from fabpilot.settings import Settings
from streaming.database import open_engine
from streaming.embedded import EmbeddedLog
from streaming.outage import database_errors
from streaming.outbox import create_tables, enqueue_messages, waiting
from tests.rights import may_administer

MB = 1024 * 1024


def mount(*arguments: str | Path) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def small(tmp_path):
    """A disk of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not may_administer():
        pytest.skip("a small disk is mounted by root alone (CAP_SYS_ADMIN)")
    assert mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is; removing the file gives it back."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return ballast


def until_full(write: Callable[[int], object]) -> None:
    """Write 8 MB in pieces of 20 KB; the disk has no room for them."""
    for number in range(1, 400):
        write(number)


def message(number: int) -> Message:
    return Message("t", b"k", str(number).encode() + b" " * 20_000)


def test_the_log_says_so_keeps_what_it_has_and_goes_on(small):
    log = EmbeddedLog(small / "log.db")
    log.create_topics({"t": 1})
    log.append([message(0)], source="fab", position=0)
    ballast = fill(small)
    with pytest.raises(LogUnavailableError, match="full; make room, work goes on by itself"):
        until_full(lambda number: log.append([message(number)], source="fab", position=number))
    kept = log.position("fab")
    ballast.unlink()
    log.append([message(kept + 1)], source="fab", position=kept + 1)
    reader = log.reader(["t"], "beginning")
    found = [record.value.split()[0] for record in reader.poll(1000, 0.0)]
    assert found == [str(number).encode() for number in range(kept + 2)]
    log.close()


def test_the_database_says_so_keeps_what_it_has_and_goes_on(small):
    engine = open_engine(f"sqlite:///{small}/state.db")
    create_tables(engine)
    ballast = fill(small)
    put: list[int] = []

    def enqueue(number):
        with database_errors(engine), engine.begin() as connection:
            enqueue_messages(connection, "c", [message(number)])
        put.append(number)

    with pytest.raises(LogUnavailableError, match="full; make room, work goes on by itself"):
        until_full(enqueue)
    ballast.unlink()
    with engine.begin() as connection:
        enqueue_messages(connection, "c", [message(0)])
        assert waiting(connection, "c") == len(put) + 1
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
    engine.dispose()


def test_a_start_on_a_full_disk_waits_for_room(small):
    log = EmbeddedLog(small / "log.db")
    log.create_topics({"t": 1})
    log.close()
    ballast = fill(small)
    with pytest.raises(LogError, match="full"):
        EmbeddedLog(small / "log.db").append([message(number) for number in range(400)])
    ballast.unlink()
    again = EmbeddedLog(small / "log.db")
    again.append([message(1)])
    again.close()


def test_a_read_only_disk_is_named(small):
    log = EmbeddedLog(small / "log.db")
    log.create_topics({"t": 1})
    log.append([message(1)])
    log.close()
    engine = open_engine(f"sqlite:///{small}/state.db")
    create_tables(engine)
    engine.dispose()
    assert mount("-o", "remount,ro", small)
    with pytest.raises(LogError, match="mounted read-only") as caught:
        EmbeddedLog(small / "log.db").append([message(2)])
    assert not isinstance(caught.value, LogUnavailableError)
    with pytest.raises(LogError, match="mounted read-only"), database_errors(engine):
        create_tables(engine)
    engine.dispose()
    assert mount("-o", "remount,rw", small)
    again = EmbeddedLog(small / "log.db")
    again.append([message(2)])
    assert sum(again.ends(["t"]).values()) == 2
    again.close()


def test_half_a_backup_is_no_backup(small, tmp_path, monkeypatch):
    settings = Settings(home=tmp_path / "home", log_url=f"embedded:{tmp_path}/home/log.db")
    log = EmbeddedLog(tmp_path / "home" / "log.db")
    log.create_topics({"t": 1})
    log.append([message(number) for number in range(200)])
    log.close()
    models = tmp_path / "home" / "models"
    models.mkdir()
    (models / "m.onnx").write_bytes(bytes(4 * MB))
    # Room that was there when it began, and was taken by others meanwhile.
    monkeypatch.setattr("fabpilot.backup._check_room", lambda folder, needed: None)
    with pytest.raises((ConfigError, LogError), match=r"No space|full"):
        back_up(settings, small / "site.tar")
    assert list(small.iterdir()) == []


def test_lines_for_a_full_disk_are_lost_and_work_goes_on():
    code = (
        "import structlog; from fabpilot.output import configure_logging\n"
        "configure_logging(debug=False)\n"
        "for n in range(3000): structlog.get_logger().warning('said', n=n)\n"
        "print('done', flush=True)"
    )
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, text=True, timeout=60
        )
    assert ended.stdout == "done\n"
