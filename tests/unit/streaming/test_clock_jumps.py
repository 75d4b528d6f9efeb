"""A clock that is set forward or back: nothing is lost, nothing is there twice, nobody waits."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from contracts.clock import ManualClock
from contracts.errors import FencedError
from contracts.records import Message
from streaming import lease as lease_module
from streaming.embedded import EmbeddedLog
from streaming.lease import Lease
from streaming.outbox import Relay, create_tables, enqueue_messages, waiting

HOUR_MS = 3_600_000
ELSEWHERE = "another-machine/1/1"


def values(log: EmbeddedLog) -> list[bytes]:
    reader = log.reader(["t"], "beginning")
    found = [record.value for record in reader.poll(1000, 0.0)]
    reader.close()
    return found


def test_a_holder_from_before_the_clock_was_set_back_keeps_nobody_waiting(
    engine: sa.Engine,
) -> None:
    create_tables(engine)
    clock = ManualClock(10 * HOUR_MS)
    holder, standby = Lease("c", clock, 3_000), Lease("c", clock, 3_000)
    with engine.begin() as connection:
        assert holder.acquire(connection)
        # Of a process of which we cannot know whether it lives.
        leases = lease_module._leases
        connection.execute(leases.update().values(process=ELSEWHERE))
    clock.advance(-5 * HOUR_MS)
    with engine.begin() as connection:
        assert standby.acquire(connection)
    with pytest.raises(FencedError), engine.begin() as connection:
        holder.renew(connection)


def test_a_holder_that_renews_keeps_its_lease_when_the_clock_is_set_back(
    engine: sa.Engine,
) -> None:
    create_tables(engine)
    clock = ManualClock(10 * HOUR_MS)
    holder, standby = Lease("c", clock, 3_000), Lease("c", clock, 3_000)
    with engine.begin() as connection:
        assert holder.acquire(connection)
    clock.advance(-5 * HOUR_MS)
    with engine.begin() as connection:
        holder.renew(connection)
    with engine.begin() as connection:
        assert not standby.acquire(connection)


@pytest.mark.parametrize("jump_ms", [-5 * HOUR_MS, 5 * HOUR_MS])
def test_the_outbox_publishes_each_message_once(
    engine: sa.Engine, tmp_path: Path, jump_ms: int
) -> None:
    create_tables(engine)
    clock = ManualClock(10 * HOUR_MS)
    log = EmbeddedLog(tmp_path / "log.db", clock=clock)
    log.create_topics({"t": 1})
    relay = Relay(log, engine, "c")
    for number in range(3):
        with engine.begin() as connection:
            enqueue_messages(connection, "c", [Message("t", b"k", str(number).encode())])
        assert relay.publish_pending() == 1
        clock.advance(jump_ms)
    with engine.begin() as connection:
        assert waiting(connection, "c") == 0
    assert values(log) == [b"0", b"1", b"2"]
    log.close()


@pytest.mark.parametrize("jump_ms", [-5 * HOUR_MS, 5 * HOUR_MS])
def test_members_of_a_group_take_every_record_once(tmp_path: Path, jump_ms: int) -> None:
    clock = ManualClock(10 * HOUR_MS)
    log = EmbeddedLog(tmp_path / "log.db", clock=clock, session_timeout_ms=10_000)
    log.create_topics({"t": 4, "out": 1})
    members = [log.consumer("g", ["t"]) for _ in range(2)]
    done: list[bytes] = []

    def turn() -> None:
        for member in members:
            records = member.poll(100, 0.0)
            offsets = {record.topic_partition: record.offset + 1 for record in records}
            try:
                member.commit([], offsets)
            except FencedError:
                member.rewind()
            else:
                done.extend(record.value for record in records)

    for number in range(40):
        if number == 20:
            clock.advance(jump_ms)
        log.append([Message("t", str(number).encode(), str(number).encode())])
        turn()
        clock.advance(1_500)
    for _ in range(4):
        turn()
        clock.advance(1_500)
    assert sorted(done, key=int) == [str(number).encode() for number in range(40)]
    log.close()


def test_new_topics_are_seen_after_the_clock_was_set_back(tmp_path: Path) -> None:
    clock = ManualClock(10 * HOUR_MS)
    log = EmbeddedLog(tmp_path / "log.db", clock=clock)
    consumer = log.consumer("g", ["t"])
    assert consumer.poll(10, 0.0) == []
    clock.advance(-5 * HOUR_MS)
    log.create_topics({"t": 1})
    log.append([Message("t", b"k", b"1")])
    assert [record.value for record in consumer.poll(10, 0.0)] == [b"1"]
    log.close()
