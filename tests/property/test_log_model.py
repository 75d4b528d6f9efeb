"""The embedded log against a model of it that fits on a page."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contracts.errors import FencedError, RecordTooLargeError
from contracts.records import Message, Record, TopicPartition
from contracts.topics import MAX_RECORD_BYTES
from streaming.assignment import share_out
from streaming.embedded import EmbeddedLog
from streaming.partitioner import partition_of

PARTITIONS = 3
KEYS = st.sampled_from([f"k{i}".encode() for i in range(6)])
PARTS = [TopicPartition("t", i) for i in range(PARTITIONS)]
Stored = tuple[bytes, bytes]


class LogMachine(RuleBasedStateMachine):
    """Appends, commits, rewinds and restarts in any order, on the log and on lists."""

    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "log.db"
        self.log = EmbeddedLog(self.path)
        self.log.create_topics({"t": PARTITIONS})
        self.consumer = self.log.consumer("g", ["t"])
        self.stored: dict[TopicPartition, list[Stored]] = {p: [] for p in PARTS}
        self.settled = dict.fromkeys(PARTS, 0)
        self.polled = dict.fromkeys(PARTS, 0)
        self.position: int | None = None
        self.number = 0

    def store(self, message: Message) -> None:
        where = TopicPartition("t", partition_of(message.key, PARTITIONS))
        self.stored[where].append((message.key, message.value))

    def new(self, keys: list[bytes]) -> list[Message]:
        self.number += len(keys)
        return [Message("t", key, f"{self.number}.{i}".encode()) for i, key in enumerate(keys)]

    @rule(keys=st.lists(KEYS, max_size=8))
    def append(self, keys: list[bytes]) -> None:
        messages = self.new(keys)
        assert self.log.append(messages)
        for message in messages:
            self.store(message)

    @rule(keys=st.lists(KEYS, max_size=4), position=st.integers(0, 12))
    def append_numbered(self, keys: list[bytes], position: int) -> None:
        messages = self.new(keys)
        fresh = self.position is None or position > self.position
        assert self.log.append(messages, source="s", position=position) is fresh
        if fresh:
            self.position = position
            for message in messages:
                self.store(message)

    @rule(keys=st.lists(KEYS, max_size=3))
    def append_too_much(self, keys: list[bytes]) -> None:
        huge = Message("t", b"k0", bytes(2 * MAX_RECORD_BYTES))
        with pytest.raises(RecordTooLargeError):
            self.log.append([*self.new(keys), huge], source="s", position=1000)

    @rule(count=st.integers(1, 9), commit=st.booleans(), keys=st.lists(KEYS, max_size=2))
    def consume(self, count: int, commit: bool, keys: list[bytes]) -> None:
        for record in self.consumer.poll(count, 0.0):
            where = record.topic_partition
            assert record.offset == self.polled[where]
            assert self.stored[where][record.offset] == (record.key, record.value)
            self.polled[where] += 1
        if commit:
            outputs = self.new(keys)
            self.consumer.commit(outputs, dict(self.polled))
            self.settled = dict(self.polled)
            for message in outputs:
                self.store(message)

    @rule()
    def rewind(self) -> None:
        self.consumer.rewind()
        self.polled = dict(self.settled)

    @rule()
    def restart(self) -> None:
        # What was polled and not committed is forgotten; the old member leaves.
        self.consumer.close()
        self.log.close()
        self.log = EmbeddedLog(self.path)
        self.consumer = self.log.consumer("g", ["t"])
        self.polled = dict(self.settled)

    @rule()
    def another_member_comes_and_goes(self) -> None:
        other = self.log.consumer("g", ["t"])
        taken: list[Record] = other.poll(100, 0.0)
        if any(self.polled[r.topic_partition] > self.settled[r.topic_partition] for r in taken):
            with pytest.raises(FencedError):
                self.consumer.commit(self.new([b"k0"]), dict(self.polled))
        other.close()
        self.consumer.rewind()
        self.polled = dict(self.settled)

    @invariant()
    def the_log_is_what_the_model_says(self) -> None:
        found: dict[TopicPartition, list[Stored]] = {p: [] for p in PARTS}
        for record in self.log.reader(["t"], "beginning").poll(10_000, 0.0):
            found[record.topic_partition].append((record.key, record.value))
        assert found == self.stored
        assert self.log.ends(["t"]) == {p: len(records) for p, records in self.stored.items()}
        committed = self.log.committed("g", ["t"])
        assert {p: committed.get(p, 0) for p in PARTS} == self.settled
        assert self.log.position("s") == self.position

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.log.close()
            self.folder.cleanup()


LogMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestLogModel = LogMachine.TestCase


@st.composite
def groups(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[TopicPartition, str]]:
    topics = ["a", "b", "c"]
    members = draw(
        st.dictionaries(st.sampled_from("vwxyz"), st.lists(st.sampled_from(topics), unique=True))
    )
    current = draw(st.dictionaries(st.sampled_from(list(partitions())), st.sampled_from("vwxyz")))
    return members, current


def partitions() -> Iterator[TopicPartition]:
    for topic, count in (("a", 4), ("b", 2), ("c", 1)):
        for number in range(count):
            yield TopicPartition(topic, number)


@given(groups())
def test_partitions_are_shared_out_to_subscribers_evenly_and_stay_put(
    drawn: tuple[dict[str, list[str]], dict[TopicPartition, str]],
) -> None:
    members, current = drawn
    given_out = share_out(list(partitions()), members, current)
    wanted = {p for p in partitions() if any(p.topic in topics for topics in members.values())}
    assert set(given_out) == wanted
    load = {member: 0 for member in members}
    for partition, member in given_out.items():
        assert partition.topic in members[member]
        load[member] += 1
    # No single move makes it more even.
    for partition, member in given_out.items():
        for other, topics in members.items():
            if partition.topic in topics:
                assert load[member] - load[other] <= 1
    # What is even already stays as it is.
    assert share_out(list(partitions()), members, given_out) == given_out
