from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from contracts.clock import ManualClock
from contracts.errors import ConfigError
from contracts.records import Message, TopicPartition
from fabpilot.replay_from import parse_start, start_offsets
from streaming.embedded import EmbeddedLog


def test_a_start_is_a_time_offsets_or_a_word() -> None:
    assert parse_start("2026-01-01T00:00") == datetime(2026, 1, 1, tzinfo=UTC)
    korea = timezone(timedelta(hours=9))
    assert parse_start("2026-01-01T09:00+09:00") == datetime(2026, 1, 1, 9, tzinfo=korea)
    assert parse_start("0:12,3:7") == {0: 12, 3: 7}
    assert parse_start("end") == "end"
    for wrong in ("", "yesterday", "12", "0:-1", "2026-13-01"):
        with pytest.raises(ConfigError, match="--from"):
            parse_start(wrong)


def test_a_start_becomes_offsets(tmp_path: Path) -> None:
    clock = ManualClock(1_000)
    log = EmbeddedLog(tmp_path / "log.db", clock=clock)
    log.create_topics({"t": 2})
    one, two = TopicPartition("t", 0), TopicPartition("t", 1)
    log.append([Message("t", b"k%d" % number, b"v") for number in range(20)])
    before = log.ends(["t"])
    clock.advance(60_000)
    log.append([Message("t", b"k%d" % number, b"v") for number in range(20)])
    ends = log.ends(["t"])
    assert start_offsets(log, "t", "beginning") == {one: 0, two: 0}
    assert start_offsets(log, "t", "end") == ends
    assert start_offsets(log, "t", datetime.fromtimestamp(2, tz=UTC)) == before
    # What offsets leave out is not done again.
    assert start_offsets(log, "t", {0: 3}) == {one: 3, two: ends[two]}
    with pytest.raises(ConfigError, match="ends at"):
        start_offsets(log, "t", {0: 10_000})
    with pytest.raises(ConfigError, match="does not exist"):
        start_offsets(log, "t", {7: 0})
    log.close()
