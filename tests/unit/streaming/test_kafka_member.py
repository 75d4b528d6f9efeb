"""A group member whose client changes under it, between one of its questions and the next."""

from collections.abc import Sequence
from typing import Any

import pytest
from kafka import TopicPartition as KafkaPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from contracts.errors import FencedError
from contracts.records import Message, TopicPartition
from streaming.deadline import Deadline
from streaming.kafka import Cluster
from streaming.kafka.consumer import KafkaMember

PLACE = KafkaPartition("t", 0)


class Client:
    """Stands for kafka-python's consumer: one partition, one record, and a place in the group."""

    def __init__(self) -> None:
        self.generation = 1
        self.states: list[MemberState] = []
        self.at = 0
        self.committed_at: list[int] = []
        self.rejoins = 0
        self._coordinator = self

    def request_rejoin(self) -> None:
        self.rejoins += 1
        self.states = []

    def group_metadata(self) -> ConsumerGroupMetadata:
        state = self.states.pop(0) if self.states else MemberState.STABLE
        return ConsumerGroupMetadata("g", self.generation, "m", None, state)

    def poll(self, **_how: object) -> dict[Any, list[ConsumerRecord]]:
        if self.at:
            return {}
        self.at = 1
        return {PLACE: [ConsumerRecord("t", 0, 0, 0, 0, 0, b"k", b"v", [], None, 1, 1, -1)]}

    def assignment(self) -> set[KafkaPartition]:
        return {PLACE}

    def position(self, _partition: object, **_limit: object) -> int:
        return self.at

    def committed(self, _partition: object, **_limit: object) -> None:
        return None

    def seek_to_beginning(self, _partition: object) -> None:
        self.at = 0

    def commit(self, offsets: dict[Any, OffsetAndMetadata], **_limit: object) -> None:
        self.committed_at += [offset.offset for offset in offsets.values()]


class Publisher:
    """Stands for the producer."""

    def __init__(self) -> None:
        self.published = 0

    def publish(self, _outputs: Sequence[Message], _offsets: object, _place: object) -> None:
        self.published += 1


def member() -> tuple[KafkaMember, Client, Publisher]:
    one = KafkaMember(Cluster("127.0.0.1:1"), "g", ["t"], lambda _topics: None)
    client, publisher = Client(), Publisher()
    one._consumer, one._producer = client, publisher  # type: ignore[assignment]
    return one, client, publisher


def test_a_member_that_lost_its_place_commits_nothing() -> None:
    one, client, publisher = member()
    (record,) = one.poll(1, 0.0)
    # The client hears of it with a heartbeat, just after it was asked whether all is well.
    client.generation = -1
    with pytest.raises(FencedError, match="not in group g"):
        one.commit([], {record.topic_partition: 1})
    assert publisher.published == 0


def test_what_is_to_be_read_again_is_never_passed_over() -> None:
    one, client, _ = member()
    assert len(one.poll(1, 0.0)) == 1
    one.rewind()
    # A rebalance that ends just after we could not go back for it.
    client.states = [MemberState.STABLE, MemberState.REBALANCING]
    assert one.poll(1, 0.0) == []
    assert client.committed_at == []
    one.poll(1, 0.0)
    assert [r.offset for r in one.poll(1, 0.0)] == [0]
    one.commit([], {TopicPartition("t", 0): 1})


def test_a_rebalance_that_the_client_has_forgotten_is_begun_again() -> None:
    one, client, _ = member()
    one.poll(1, 0.0)
    one.rewind()
    client.states = [MemberState.REBALANCING] * 1000
    deadline = Deadline(30.0)
    records = []
    while not records and not deadline.passed:
        records = one.poll(1, 0.0)
    assert [record.offset for record in records] == [0]
    assert client.rejoins == 1
