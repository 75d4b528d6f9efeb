from contracts.clock import ManualClock
from contracts.records import Message, TopicPartition
from contracts.topics import Stream, topic_name
from streaming.embedded import EmbeddedLog, Retention
from streaming.merge import Merge

HOUR = 3_600_000
MAPS, ALERTS, EQUIPMENT, DEAD = (
    topic_name("kr1", s)
    for s in (Stream.WAFER_MAPS, Stream.ALERTS, Stream.EQUIPMENT, Stream.DEAD_LETTERS)
)
ELSE = "somebody.elses"


def opened(tmp_path, clock, hours=24):
    log = EmbeddedLog(tmp_path / "log.db", clock=clock, retention=Retention(hours))
    log.create_topics({topic: 1 for topic in (MAPS, ALERTS, EQUIPMENT, DEAD, ELSE)})
    return log


def put(log, topic, *values):
    log.append([Message(topic, b"k", value, ()) for value in values])


def read(log, topic):
    return [r.value for r in log.reader([topic], "beginning").poll(1000, 0.0)]


def test_telemetry_goes_and_decisions_stay(tmp_path):
    clock = ManualClock(1_000 * HOUR)
    log = opened(tmp_path, clock)
    for topic in (MAPS, ALERTS, EQUIPMENT, DEAD, ELSE):
        put(log, topic, b"old")
    clock.advance(25 * HOUR)
    put(log, MAPS, b"new")
    assert read(log, MAPS) == [b"new"]
    for topic in (ALERTS, EQUIPMENT, DEAD, ELSE):
        assert read(log, topic) == [b"old"]
    # Dead letters have a time of their own: 30 days.
    clock.advance(30 * 24 * HOUR)
    put(log, ALERTS, b"later")
    assert read(log, DEAD) == []
    assert read(log, ALERTS) == [b"old", b"later"]


def test_zero_keeps_everything(tmp_path):
    clock = ManualClock(1_000 * HOUR)
    log = opened(tmp_path, clock, hours=0)
    put(log, MAPS, b"old")
    clock.advance(1_000 * HOUR)
    put(log, MAPS, b"new")
    assert read(log, MAPS) == [b"old", b"new"]


def test_offsets_are_not_used_again_and_whoever_is_late_goes_on(tmp_path):
    clock = ManualClock(1_000 * HOUR)
    log = opened(tmp_path, clock)
    group = log.consumer("g", [MAPS])
    put(log, MAPS, b"1", b"2", b"3")
    (first,) = group.poll(1, 0.0)
    group.commit([], {TopicPartition(MAPS, 0): first.offset + 1})
    late = log.reader([MAPS], {TopicPartition(MAPS, 0): 1})
    clock.advance(25 * HOUR)
    put(log, ALERTS, b"sweeps")
    # Everything of the partition is gone: nothing is left to do, for anybody.
    place = TopicPartition(MAPS, 0)
    assert log.ends([MAPS]) == {place: 3} == late.positions() == log.committed("g", [MAPS])
    assert Merge(late, lambda: log.ends([MAPS])).take(10, 0.0) == []
    put(log, MAPS, b"4")
    (record,) = late.poll(10, 0.0)
    assert (record.offset, record.value) == (3, b"4")


def test_a_clock_set_back_does_not_stop_it(tmp_path):
    clock = ManualClock(1_000 * HOUR)
    log = opened(tmp_path, clock)
    put(log, MAPS, b"old")
    clock.advance(-990 * HOUR)
    put(log, MAPS, b"in the past")
    clock.advance(1_020 * HOUR)
    put(log, ALERTS, b"sweeps")
    assert read(log, MAPS) == []
