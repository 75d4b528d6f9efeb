import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contracts.clock import ManualClock
from contracts.codec import encode
from contracts.errors import FencedError, LogError, LogUnavailableError, ModelError
from contracts.events import Event, Label
from contracts.records import Message
from streaming.database import open_engine, read_only
from streaming.embedded import EmbeddedLog
from streaming.outbox import Relay, create_tables, enqueue, metadata
from streaming.stateful import Apply, Arrived, StatefulLoop, StatefulReport
from tests.stream_helpers import (
    BAD,
    LABELS,
    MAPS,
    SUMS,
    apply,
    dead_letters,
    decoded,
    junk,
    label_of,
    publish,
    state,
    wafer,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path / "log.db")
    yield opened
    opened.close()


def loop(
    log: EmbeddedLog, engine: sa.Engine, use: Apply = apply, batch: int = 16, **more: Any
) -> StatefulLoop:
    return StatefulLoop(
        name="c", log=log, engine=engine, topics=lambda: [MAPS], apply=use, batch=batch, **more
    )


def run(log: EmbeddedLog, engine: sa.Engine, use: Apply = apply, batch: int = 16) -> StatefulReport:
    return loop(log, engine, use, batch).run(threading.Event(), until_idle=True)


def labels(log: EmbeddedLog) -> list[tuple[str, str]]:
    """Substrate and text of each label; the text says how many maps had been counted."""
    found = [e for e in decoded(log, LABELS) if isinstance(e, Label)]
    return sorted(
        ((e.patterns[0], e.substrate_id) for e in found), key=lambda p: int(p[0].split()[0])
    )


def count(engine: sa.Engine) -> int:
    with read_only(engine).begin() as connection:
        return int(connection.execute(sa.select(SUMS.c.n)).scalar_one())


def test_state_events_and_offsets_move_together(log: EmbeddedLog, engine: sa.Engine) -> None:
    publish(log, [encode(wafer(i)) for i in range(100)])
    report = run(log, engine)
    assert (report.consumed, report.produced, report.dead_letters) == (100, 33, 0)
    assert count(engine) == 100
    # Events come in the order of their time, over all partitions.
    assert labels(log) == [(f"{n} {n - 1}", f"w-{n - 1}") for n in range(3, 101, 3)]
    assert run(log, engine).consumed == 0


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_order_does_not_depend_on_batches_or_restarts(
    log: EmbeddedLog, engine: sa.Engine, batch: int
) -> None:
    # Times that go up and down and occur twice, over four partitions.
    publish(log, [encode(wafer(i, time_ms=(i * 7919) % 20)) for i in range(48)])
    seen: list[str] = []

    def noting(connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
        seen.extend(event.event_id for _, event in arrived)
        return apply(connection, arrived)

    taken = 1
    while taken:
        one = loop(log, engine, noting, batch)
        taken = one.run_once()
        one.close()
    expected: list[str] = []
    other = state(f"sqlite:///{log._file.path.parent / 'other.db'}")

    def noting_all(connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
        expected.extend(event.event_id for _, event in arrived)
        return []

    StatefulLoop(
        name="all", log=log, engine=other, topics=lambda: [MAPS], apply=noting_all, batch=10_000
    ).run(threading.Event(), until_idle=True)
    other.dispose()
    assert seen == expected
    assert len(set(seen)) == 48


def test_bad_records_become_dead_letters_and_the_loop_goes_on(
    log: EmbeddedLog, engine: sa.Engine
) -> None:
    good = [encode(wafer(i)) for i in range(40)]
    publish(log, [*good[:20], junk(20), encode(wafer(50, lot=BAD)), *good[20:]])
    rolled_back: list[int] = []
    report = StatefulLoop(
        name="c",
        log=log,
        engine=engine,
        topics=lambda: [MAPS],
        apply=apply,
        on_rollback=lambda: rolled_back.append(1),
    ).run(threading.Event(), until_idle=True)
    assert (report.consumed, report.dead_letters) == (42, 2)
    assert count(engine) == 40
    assert {letter.error for letter in dead_letters(log)} == {"CodecError", "WaferMapError"}
    assert {letter.stage for letter in dead_letters(log)} == {"control"}
    assert len(rolled_back) == 2  # the batch, then the culprit
    assert len(labels(log)) == 13


def test_an_unexpected_error_costs_the_culprit_alone(log: EmbeddedLog, engine: sa.Engine) -> None:
    def raising(connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
        out = apply(connection, arrived)
        if any(event.event_id == "map-5" for _, event in arrived):
            raise KeyError("five")
        return out

    publish(log, [encode(wafer(i)) for i in range(30)])
    assert run(log, engine, raising).dead_letters == 1
    assert [letter.error for letter in dead_letters(log)] == ["KeyError"]
    assert count(engine) == 29


def test_a_model_error_stops_the_loop_and_rolls_back(log: EmbeddedLog, engine: sa.Engine) -> None:
    def failing(connection: sa.Connection, arrived: Sequence[Arrived]) -> list[Event]:
        apply(connection, arrived)
        raise ModelError("no model")

    publish(log, [encode(wafer(i)) for i in range(10)])
    with pytest.raises(ModelError):
        run(log, engine, failing)
    assert count(engine) == 0
    assert run(log, engine).consumed == 10
    assert count(engine) == 10


def test_events_left_in_the_outbox_are_published_once(
    log: EmbeddedLog, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(log, [encode(wafer(i)) for i in range(30)])
    first = loop(log, engine, batch=30)

    def unreachable(*_: object, **__: object) -> bool:
        raise LogError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", unreachable)
        with pytest.raises(LogError, match="not now"):
            first.run_once()
    assert count(engine) == 30
    assert labels(log) == []
    # Published, but the process died before the rows were deleted.
    outbox = metadata.tables["outbox"]
    with engine.begin() as connection:
        rows = [dict(row._mapping) for row in connection.execute(sa.select(outbox))]
    assert Relay(log, engine, "c").publish_pending() == 10
    with engine.begin() as connection:
        connection.execute(outbox.insert(), rows)
    first.close()
    assert run(log, engine).consumed == 0
    assert len(labels(log)) == 10
    with engine.begin() as connection:
        assert connection.execute(sa.select(outbox)).first() is None


def test_a_standby_takes_over_and_the_old_holder_is_fenced(
    log: EmbeddedLog, engine: sa.Engine
) -> None:
    clock = ManualClock(1_000)
    publish(log, [encode(wafer(i)) for i in range(40)])

    first, standby = (loop(log, engine, batch=10, clock=clock, lease_ms=10_000) for _ in range(2))
    assert first.run_once() == 10
    with pytest.raises(FencedError, match="held by another"):
        standby.run_once()
    clock.advance(11_000)
    assert standby.run_once() == 10
    with pytest.raises(FencedError, match="went to another"):
        first.run_once()
    assert count(engine) == 20
    while standby.run_once():
        pass
    assert count(engine) == 40
    assert [text for text, _ in labels(log)] == [f"{n} {n - 1}" for n in range(3, 41, 3)]
    first.close()
    standby.close()
    standby.close()


def test_a_loop_that_ends_frees_its_lease(log: EmbeddedLog, engine: sa.Engine) -> None:
    publish(log, [encode(wafer(1))])
    assert run(log, engine).consumed == 1
    other = loop(log, engine)
    assert other.run_once() == 0
    other.close()


def test_a_topic_that_appears_is_picked_up(log: EmbeddedLog, engine: sa.Engine) -> None:
    publish(log, [encode(wafer(i)) for i in range(5)])
    topics = [MAPS]
    watched = StatefulLoop(name="c", log=log, engine=engine, topics=lambda: topics, apply=apply)
    assert watched.run_once() == 5
    other = encode(wafer(9))
    log.create_topics({"fab.us2.wafer_maps": 1})
    log.append([Message("fab.us2.wafer_maps", other.key, other.value, other.headers)])
    topics.append("fab.us2.wafer_maps")
    assert watched.run_once() == 1
    watched.close()


def test_events_and_a_row_of_ones_own_share_their_fate(log: EmbeddedLog, engine: sa.Engine) -> None:
    create_tables(engine)
    publish(log, [])
    relay = Relay(log, engine, "console")
    with engine.connect() as connection:
        connection.execute(SUMS.update().values(n=1))
        enqueue(connection, "console", [label_of(wafer(1), "1")])
        connection.rollback()
    assert relay.publish_pending() == 0
    assert count(engine) == 0
    with engine.begin() as connection:
        connection.execute(SUMS.update().values(n=1))
        enqueue(connection, "console", [label_of(wafer(1), "1"), label_of(wafer(2), "2")])
        enqueue(connection, "console", [label_of(wafer(3), "3")])
    assert relay.publish_pending() == 3
    assert relay.publish_pending() == 0
    assert [text for text, _ in labels(log)] == ["1", "2", "3"]


def test_readers_do_not_wait_for_a_writer(engine: sa.Engine) -> None:
    with engine.begin() as writer:
        writer.execute(SUMS.update().values(n=5))
        assert count(engine) == 0
    assert count(engine) == 5


def test_a_database_that_cannot_be_used(log: EmbeddedLog, tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"no database" * 1000)
    engine = open_engine(f"sqlite:///{path}")
    publish(log, [encode(wafer(1))])
    with pytest.raises(LogError, match="database"):
        run(log, engine)
    engine.dispose()


class Away:
    """A log that is away for the first `times` calls of one of its methods."""

    def __init__(self, log: EmbeddedLog, method: str, times: int) -> None:
        self._log = log
        self._method = method
        self.times = times

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self.times > 0:
            self.times -= 1
            raise LogUnavailableError("no broker answers")
        return getattr(self._log, name)


@pytest.mark.parametrize("method", ["create_topics", "reader", "ends", "append", "position"])
def test_a_log_that_is_away_is_waited_for(log: EmbeddedLog, engine: sa.Engine, method: str) -> None:
    publish(log, [encode(wafer(i)) for i in range(30)])
    away: Any = Away(log, method, 2)
    assert run(away, engine).consumed == 30
    assert away.times == 0
    assert count(engine) == 30
    assert labels(log) == [(f"{n} {n - 1}", f"w-{n - 1}") for n in range(3, 31, 3)]


def test_a_stop_ends_the_wait_for_a_log(log: EmbeddedLog, engine: sa.Engine) -> None:
    publish(log, [encode(wafer(1))])
    away: Any = Away(log, "reader", 1_000_000)
    stop = threading.Event()
    assert loop(away, engine, on_rollback=stop.set).run(stop).consumed == 0
    assert away.times == 999_999


def test_a_holder_that_lost_its_lease_stands_by_again(log: EmbeddedLog, engine: sa.Engine) -> None:
    clock = ManualClock(1_000)
    publish(log, [encode(wafer(i)) for i in range(60)])

    fenced = threading.Event()
    lease: dict[str, Any] = {"batch": 10, "clock": clock, "lease_ms": 10_000}
    first = loop(log, engine, **lease, on_rollback=fenced.set)
    other = loop(log, engine, **lease)
    batches: list[int] = []

    def take_over(report: StatefulReport) -> None:
        """After its second batch the first one hangs for a while, and another takes its place."""
        batches.append(report.consumed)
        if len(batches) == 2:
            clock.advance(11_000)
            assert other.run_once() == 10

    def end_the_other() -> None:
        fenced.wait()
        other.close()

    ending = threading.Thread(target=end_the_other)
    ending.start()
    report = first.run(threading.Event(), until_idle=True, on_progress=take_over)
    ending.join()
    assert batches == [10, 20, 30, 40, 50]
    assert report.consumed == 50
    assert count(engine) == 60
    assert [text for text, _ in labels(log)] == [f"{n} {n - 1}" for n in range(3, 61, 3)]
