"""Appending over outages: what was asked for is on the log once, whatever was answered."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import LogUnavailableError
from contracts.records import Message
from fabpilot.appending import Appended, SourceAppender
from streaming.embedded import EmbeddedLog
from tests.stream_helpers import read


class Unsure(EmbeddedLog):
    """A log whose first answers to an append are lost, after the deed or instead of it."""

    def __init__(self, path: Path, answers: Sequence[str]) -> None:
        super().__init__(path)
        self.answers = list(answers)

    def append(self, messages: Sequence[Message], **place: Any) -> bool:
        what = self.answers.pop(0) if self.answers else "done"
        if what == "not done":
            raise LogUnavailableError("no answer, and nothing happened")
        done = super().append(messages, **place)
        if what == "done, unanswered":
            raise LogUnavailableError("no answer, but it happened")
        return done


class Impatient(threading.Event):
    """Not set, and no wait for it takes any time."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


MESSAGE = Message("t", b"k", b"v")


@pytest.mark.parametrize(
    "answers", [[], ["not done"], ["done, unanswered"], ["not done", "done, unanswered"]]
)
def test_an_append_happens_once_and_is_ours(tmp_path: Path, answers: list[str]) -> None:
    log = Unsure(tmp_path / "log.db", answers)
    log.create_topics({"t": 1})
    appender = SourceAppender(log, "s", Impatient())
    assert appender.append([MESSAGE], 7) is Appended.DONE
    assert [record.value for record in read(log, "t")] == [b"v"]
    assert appender.append([MESSAGE], 7) is Appended.BEFORE
    log.close()


def test_what_another_one_published_later_is_not_ours(tmp_path: Path) -> None:
    log = Unsure(tmp_path / "log.db", [])
    log.create_topics({"t": 1})
    assert log.append([MESSAGE], source="s", position=9)
    log.answers = ["not done"]
    assert SourceAppender(log, "s", Impatient()).append([MESSAGE], 8) is Appended.BEFORE
    log.close()


def test_a_stop_ends_the_waiting(tmp_path: Path) -> None:
    log = Unsure(tmp_path / "log.db", ["not done"] * 5)
    log.create_topics({"t": 1})
    stop = threading.Event()
    stop.set()
    assert SourceAppender(log, "s", stop).append([MESSAGE], 1) is Appended.STOPPED
    assert log.answers == ["not done"] * 4
    log.close()
