"""What every log promises (streaming/log.py), checked on each implementation."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.errors import FencedError, LogError, RecordTooLargeError
from contracts.records import Message, Record, TopicPartition
from contracts.topics import MAX_RECORD_BYTES
from streaming.deadline import Deadline
from streaming.embedded import EmbeddedLog
from streaming.log import Consumer, Log, Reader
from streaming.open import open_log

HELPER = Path(__file__).with_name("log_writers.py")
ROOT = Path(__file__).parents[2]
# kafka-python 3.0 also leaves a socket to the collector now and then when a member is closed while
# it connects; on a busy machine that shows. Ours would show on the embedded log as well.
LEFT_SOCKET = (
    r"ignore:Exception ignored in. <socket\.socket:pytest.PytestUnraisableExceptionWarning"
)
KAFKA = pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.filterwarnings(LEFT_SOCKET)])


@pytest.fixture(params=["embedded", KAFKA])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "embedded":
        return f"embedded:{tmp_path / 'log.db'}"
    return f"kafka://{request.getfixturevalue('kafka_brokers')}"


@pytest.fixture
def open_it(url: str) -> Iterator[Callable[[], Log]]:
    opened: list[Log] = []

    def open_one() -> Log:
        opened.append(open_log(url))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def log(open_it: Callable[[], Log]) -> Log:
    return open_it()


@pytest.fixture
def topic(log: Log) -> str:
    name = f"t-{uuid.uuid4().hex}"
    log.create_topics({name: 4})
    return name


@pytest.fixture
def group() -> str:
    return f"g-{uuid.uuid4().hex}"


def messages(topic: str, count: int, *, keys: int = 7, start: int = 0) -> list[Message]:
    return [
        Message(topic, f"k{i % keys}".encode(), str(i).encode(), (("n", str(i).encode()),))
        for i in range(start, start + count)
    ]


def values(records: list[Record]) -> list[int]:
    return [int(record.value) for record in records]


def take(source: Reader | Consumer, count: int, limit_s: float = 30.0) -> list[Record]:
    """Poll until `count` records are there."""
    deadline = Deadline(limit_s)
    records: list[Record] = []
    while len(records) < count and not deadline.passed:
        records += source.poll(count - len(records), 0.1)
    assert len(records) == count
    return records


def poll_both(*members: Consumer) -> list[list[Record]]:
    """What each gets when all poll at the same time, as members in processes of their own do."""
    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(lambda member: member.poll(100, 0.2), members))


def after(records: list[Record]) -> dict[TopicPartition, int]:
    return {record.topic_partition: record.offset + 1 for record in records}


def standing(log: Log, group: str, topic: str) -> dict[TopicPartition, int]:
    """Where a group stands, where it has got anywhere; Kafka's idle members commit zeros too."""
    return {p: offset for p, offset in log.committed(group, [topic]).items() if offset}


def settle(log: Log, group: str, topic: str, expected: dict[TopicPartition, int]) -> None:
    """See a group get to `expected`; Kafka shows offsets some time after their transaction."""
    deadline = Deadline(30.0)
    reader = log.reader([topic], "end")
    while standing(log, group, topic) != expected and not deadline.passed:
        reader.poll(1, 0.1)
    reader.close()
    assert standing(log, group, topic) == expected


def everything(log: Log, topic: str, count: int) -> list[Record]:
    """All records of a topic, of which there must be `count`.

    Kafka shows what is committed a moment later, when its marker is written.
    """
    reader = log.reader([topic], "beginning")
    records = take(reader, count)
    records += reader.poll(1, 0.1)
    reader.close()
    assert len(records) == count
    return records


def test_topics_are_made_once_and_keep_their_partitions(log: Log, topic: str) -> None:
    other = f"t-{uuid.uuid4().hex}"
    log.create_topics({topic: 9, other: 2})
    assert (log.topics()[topic], log.topics()[other]) == (4, 2)


def test_records_come_back_whole_and_in_order_per_key(log: Log, topic: str) -> None:
    sent = messages(topic, 60)
    log.append(sent[:25])
    log.append(sent[25:])
    records = everything(log, topic, 60)
    assert sorted(values(records)) == list(range(60))
    for key in {message.key for message in sent}:
        of_key = [record for record in records if record.key == key]
        assert values(of_key) == [int(m.value) for m in sent if m.key == key]
        assert len({record.partition for record in of_key}) == 1
    for record in records:
        assert record.headers == (("n", record.value),)
        assert record.timestamp_ms > 1_600_000_000_000


def test_an_append_that_fails_leaves_nothing(log: Log, topic: str) -> None:
    good = messages(topic, 5)
    too_large = Message(topic, b"k", bytes(2 * MAX_RECORD_BYTES))
    with pytest.raises(RecordTooLargeError):
        log.append([*good, too_large])
    log.append(messages(topic, 1, start=100))
    assert values(everything(log, topic, 1)) == [100]


def test_large_records_pass(log: Log, topic: str) -> None:
    value = os.urandom(MAX_RECORD_BYTES)
    log.append([Message(topic, b"k", value)])
    (record,) = everything(log, topic, 1)
    assert record.value == value


def test_a_missing_topic_is_an_error_that_says_so(log: Log) -> None:
    with pytest.raises(LogError, match="topic"):
        log.append([Message(f"missing-{uuid.uuid4().hex}", b"k", b"v")])


def test_a_position_is_published_once(
    open_it: Callable[[], Log], log: Log, topic: str, group: str
) -> None:
    source = f"s-{group}"
    assert log.position(source) is None
    assert log.append(messages(topic, 3), source=source, position=3)
    other = open_it()
    assert other.position(source) == 3
    assert not other.append(messages(topic, 3), source=source, position=3)
    assert not log.append(messages(topic, 2), source=source, position=2)
    assert other.append(messages(topic, 2, start=3), source=source, position=5)
    assert log.append(messages(topic, 1, start=5), source=source, position=6)
    assert sorted(values(everything(log, topic, 6))) == [0, 1, 2, 3, 4, 5]


def test_a_reader_starts_where_it_is_told(log: Log, topic: str) -> None:
    log.append(messages(topic, 40))
    everything(log, topic, 40)
    at_end = log.reader([topic], "end")
    middle = log.reader([topic], "beginning")
    first = take(middle, 15)
    resumed = log.reader([topic], middle.positions())
    rest = take(resumed, 25)
    assert sorted(values(first) + values(rest)) == list(range(40))
    assert at_end.poll(10, 0.0) == []
    log.append(messages(topic, 2, start=40))
    assert sorted(values(take(at_end, 2))) == [40, 41]
    for reader in (at_end, middle, resumed):
        reader.close()
        reader.close()


def test_offsets_at_a_time_lead_to_the_records_since(log: Log, topic: str) -> None:
    log.append(messages(topic, 40))
    first = everything(log, topic, 40)
    middle_ms = max(record.timestamp_ms for record in first) + 1
    count, deadline = 40, Deadline(30.0)
    # The clock must have moved on before the next record.
    while max(r.timestamp_ms for r in everything(log, topic, count)) < middle_ms:
        assert not deadline.passed
        log.append(messages(topic, 40, start=40))
        count += 40
    # Kafka may name the marker of a transaction before the record; read from there.
    start = log.offsets_at([topic], middle_ms)
    records = everything(log, topic, count)
    since = [(r.topic_partition, r.offset) for r in records if r.timestamp_ms >= middle_ms]
    from_start = [
        (r.topic_partition, r.offset) for r in records if r.offset >= start[r.topic_partition]
    ]
    assert since == from_start != []
    assert set(log.offsets_at([topic], 0).values()) == {0}
    assert log.offsets_at([topic], 4_000_000_000_000) == log.ends([topic])


def test_a_group_can_be_told_where_to_begin_once(log: Log, topic: str, group: str) -> None:
    log.append(messages(topic, 40))
    everything(log, topic, 40)
    ends = log.ends([topic])
    start = {partition: end // 2 for partition, end in ends.items()}
    assert log.start_group(group, start)
    expected = {
        (r.topic_partition, r.offset)
        for r in everything(log, topic, 40)
        if r.offset >= start[r.topic_partition]
    }
    consumer = log.consumer(group, [topic])
    records = take(consumer, len(expected))
    assert {(r.topic_partition, r.offset) for r in records} == expected
    consumer.commit([], after(records))
    consumer.close()
    # It has begun; nothing takes it back.
    assert not log.start_group(group, dict.fromkeys(ends, 0))


def test_a_member_that_only_keeps_alive_gets_nothing_and_loses_nothing(
    open_it: Callable[[], Log], log: Log, topic: str, group: str
) -> None:
    log.append(messages(topic, 40, keys=40))
    slow = log.consumer(group, [topic])
    in_hand = take(slow, 10)
    log.append(messages(topic, 40, keys=40, start=40))
    for _ in range(20):
        slow.keep_alive()
    # Another member joins while the first one has its hands full, and gets its share.
    quick = open_it().consumer(group, [topic])
    deadline = Deadline(60.0)
    theirs: list[Record] = []
    while not theirs:
        assert not deadline.passed
        with ThreadPoolExecutor(1) as pool:
            alive = pool.submit(slow.keep_alive)
            theirs = quick.poll(100, 0.2)
            alive.result()
    done = list(theirs)
    quick.commit([], after(theirs))
    try:
        slow.commit([], after(in_hand))
        done += in_hand
    except FencedError:
        slow.rewind()
    # Both go on until everything is done, each record once.
    while len(done) < 80:
        assert not deadline.passed
        for member, records in zip((slow, quick), poll_both(slow, quick), strict=True):
            if records:
                member.commit([], after(records))
                done += records
    assert sorted(values(done)) == list(range(80))
    slow.close()
    quick.close()


def test_a_reader_can_be_limited_to_some_partitions(log: Log, topic: str) -> None:
    log.append(messages(topic, 40))
    everything(log, topic, 40)
    ends = log.ends([topic])
    only = max(ends, key=lambda partition: ends[partition])
    expected = [r for r in everything(log, topic, 40) if r.topic_partition == only]
    reader = log.reader([topic], "beginning")
    deadline = Deadline(30.0)
    some: list[Record] = []
    while len(some) < len(expected) and not deadline.passed:
        some += reader.poll(100, 0.1, only={only})
    assert values(some) == values(expected)
    assert len(take(reader, 40 - len(some))) == 40 - len(expected)
    reader.close()


def test_outputs_and_offsets_are_committed_together(log: Log, topic: str, group: str) -> None:
    output = f"t-{uuid.uuid4().hex}"
    log.create_topics({output: 1})
    log.append(messages(topic, 20))
    consumer = log.consumer(group, [topic])
    records = take(consumer, 20)
    bad = Message(output, b"k", bytes(2 * MAX_RECORD_BYTES))
    with pytest.raises(RecordTooLargeError):
        consumer.commit([*messages(output, 20), bad], after(records))
    assert standing(log, group, topic) == {}
    consumer.rewind()
    records = take(consumer, 20)
    consumer.commit(messages(output, 20), after(records))
    settle(log, group, topic, after(records))
    assert values(everything(log, output, 20)) == list(range(20))
    consumer.close()


def test_rewind_gives_what_was_not_committed_again(log: Log, topic: str, group: str) -> None:
    log.append(messages(topic, 30))
    consumer = log.consumer(group, [topic])
    first = take(consumer, 10)
    consumer.commit([], after(first))
    second = take(consumer, 20)
    consumer.rewind()
    assert sorted(values(take(consumer, 20))) == sorted(values(second))
    consumer.close()
    consumer.close()
    resumed = log.consumer(group, [topic])
    assert sorted(values(take(resumed, 20))) == sorted(values(second))
    resumed.close()


def test_several_polls_may_be_outstanding(log: Log, topic: str, group: str) -> None:
    log.append(messages(topic, 30, keys=1))
    consumer = log.consumer(group, [topic])
    first, second = take(consumer, 10), take(consumer, 10)
    consumer.commit([], after(first))
    settle(log, group, topic, after(first))
    consumer.commit([], after(second))
    settle(log, group, topic, after(second))
    consumer.close()


def test_members_share_the_partitions(
    open_it: Callable[[], Log], log: Log, topic: str, group: str
) -> None:
    one, two = log.consumer(group, [topic]), open_it().consumer(group, [topic])
    deadline = Deadline(60.0)
    seen: dict[str, set[TopicPartition]] = {"one": set(), "two": set()}
    done: list[int] = []
    number = 0
    # Keep writing while the group settles; every record must be committed once, by somebody.
    while not (seen["one"] and seen["two"] and len(done) == number):
        assert not deadline.passed
        if not (seen["one"] and seen["two"]):
            log.append(messages(topic, 20, keys=40, start=number))
            number += 20
        polled = poll_both(one, two)
        for name, consumer, records in zip(("one", "two"), (one, two), polled, strict=True):
            if not records:
                continue
            try:
                consumer.commit([], after(records))
            except FencedError:
                consumer.rewind()
                continue
            done += values(records)
            seen[name] |= set(after(records))
    assert sorted(done) == list(range(number))
    one.close()
    two.close()


def test_a_member_that_lost_its_partitions_is_fenced(
    open_it: Callable[[], Log], log: Log, topic: str, group: str
) -> None:
    log.append(messages(topic, 40, keys=40))
    slow = log.consumer(group, [topic])
    in_hand = take(slow, 40)
    quick = open_it().consumer(group, [topic])
    deadline = Deadline(60.0)
    theirs: list[Record] = []
    while not theirs and not deadline.passed:
        theirs, _ = poll_both(quick, slow)
    quick.commit([], after(theirs))
    with pytest.raises(FencedError):
        slow.commit(messages(topic, 1, start=999), after(in_hand))
    slow.rewind()
    quick.close()
    # All of it comes back, but for what the other one has committed.
    rest = take(slow, 40 - len(theirs), 60.0)
    slow.commit([], after(rest))
    assert sorted(values(rest) + values(theirs)) == list(range(40))
    assert 999 not in values(everything(log, topic, 40))
    slow.close()


def test_what_was_polled_before_a_partition_went_and_came_back_is_fenced(
    open_it: Callable[[], Log], log: Log, topic: str, group: str
) -> None:
    log.append(messages(topic, 40, keys=40))
    slow = log.consumer(group, [topic])
    in_hand = take(slow, 40)
    quick = open_it().consumer(group, [topic])
    deadline = Deadline(60.0)
    theirs: list[Record] = []
    while not theirs and not deadline.passed:
        theirs, _ = poll_both(quick, slow)
    quick.commit([], after(theirs))
    quick.close()
    # The partitions come back before the slow one commits what it has had all along.
    log.append(messages(topic, 40, keys=40, start=100))
    while slow.poll(100, 0.5):
        assert not deadline.passed
    with pytest.raises(FencedError):
        slow.commit([], after(in_hand))
    slow.close()


def test_a_killed_member_is_replaced(url: str, log: Log, topic: str, group: str) -> None:
    log.append(messages(topic, 40, keys=40))
    with subprocess.Popen(
        [sys.executable, str(HELPER), "hold", url, topic, group],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
    consumer = log.consumer(group, [topic])
    records = take(consumer, 40, 60.0)
    consumer.commit([], after(records))
    assert sorted(values(records)) == list(range(40))
    consumer.close()


def test_several_processes_append_at_once(url: str, log: Log, topic: str) -> None:
    # A cluster outlives the test and remembers positions: the sources need new names.
    names = [f"{letter}-{topic}" for letter in "abc"]
    writers = [
        subprocess.Popen(
            [sys.executable, str(HELPER), "append", url, topic, name, "90"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for name in names
    ]
    # A reader beside them sees whole appends only once they are committed, in order.
    reader = log.reader([topic], "beginning")
    records = take(reader, 270, 60.0)
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    for name in names:
        own = [record.value.decode() for record in records if record.key == name.encode()]
        assert own == [f"{name}:{number}" for number in range(90)]
    reader.close()


def test_lag_counts_what_is_not_committed(url: str, log: Log, topic: str, group: str) -> None:
    log.append(messages(topic, 12))
    consumer = log.consumer(group, [topic])
    records = take(consumer, 12)
    # On Kafka the marker of each transaction counts as well.
    assert 12 <= consumer.lag() <= 12 + (0 if url.startswith("embedded") else 4)
    consumer.commit([], after(records))
    assert consumer.lag() <= (0 if url.startswith("embedded") else 4)
    consumer.close()


def test_uncommitted_records_are_not_seen(tmp_path: Path) -> None:
    """The embedded log only: it is looked at in the midst of an append."""
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"t": 1})
    seen: list[list[Record]] = []

    class Peeking:
        """A message during whose writing another connection reads."""

        topic, key, headers = "t", b"k", ()

        @property
        def value(self) -> bytes:
            other = EmbeddedLog(tmp_path / "log.db")
            seen.append(other.reader(["t"], "beginning").poll(10, 0.0))
            other.close()
            return b"9"

    log.append([*messages("t", 3), Peeking(), *messages("t", 1)])  # type: ignore[list-item]
    assert len(seen) >= 2
    assert not any(seen)
    assert values(log.reader(["t"], "beginning").poll(10, 0.0)) == [0, 1, 2, 9, 0]
    log.close()
