"""What can be said of the Kafka log without a broker; the contract suite says the rest."""

import threading

import kafka.errors
import pytest

from contracts.errors import (
    FencedError,
    LogAccessError,
    LogError,
    LogUnavailableError,
    RecordTooLargeError,
    ReplacedError,
)
from contracts.records import Record, TopicPartition
from streaming.in_flight import InFlight
from streaming.kafka.failures import bounded, kafka_failures


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (kafka.errors.ProducerFencedError, FencedError),
        (kafka.errors.CommitFailedError, FencedError),
        (kafka.errors.IllegalGenerationError, FencedError),
        (kafka.errors.MessageSizeTooLargeError, RecordTooLargeError),
        (kafka.errors.KafkaTimeoutError, LogUnavailableError),
        (kafka.errors.UnknownTopicOrPartitionError, LogError),
        (kafka.errors.TopicAuthorizationFailedError, LogAccessError),
        (kafka.errors.SaslAuthenticationFailedError, LogAccessError),
        (kafka.errors.FencedInstanceIdError, ReplacedError),
    ],
)
def test_kafkas_errors_become_ours(theirs: type[Exception], ours: type[Exception]) -> None:
    with pytest.raises(ours) as caught, kafka_failures("broker:9092"):
        raise theirs("why")
    assert type(caught.value) is ours
    assert "broker:9092" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (kafka.errors.KafkaError("in an error state: [Error 90] ProducerFencedError"), FencedError),
        (
            kafka.errors.KafkaError("failed", kafka.errors.TopicAuthorizationFailedError({"t"})),
            LogAccessError,
        ),
        (kafka.errors.KafkaTimeoutError("{'t': 'TopicAuthorizationFailedError'}"), LogAccessError),
        (kafka.errors.KafkaTimeoutError("{'t': 'UnknownTopicError'}"), LogUnavailableError),
        (kafka.errors.KafkaError("KafkaError: something else"), LogError),
    ],
)
def test_an_error_within_anothers_text_is_found(error: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours) as caught, kafka_failures("broker:9092"):
        raise error
    assert type(caught.value) is ours


def test_a_call_that_hangs_is_given_up() -> None:
    release = threading.Event()
    with pytest.raises(LogUnavailableError, match="commit within"):
        bounded(release.wait, 0.05, "commit")
    release.set()


def test_a_call_in_time_gives_its_result_or_its_error() -> None:
    assert bounded(lambda: 7, 5.0, "count") == 7
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, 5.0, "count")


def test_what_was_revoked_in_flight_is_stale_until_a_rewind() -> None:
    mine, idle = TopicPartition("t", 0), TopicPartition("t", 1)
    flight = InFlight()
    flight.revoked([mine, idle])
    assert not flight
    flight.polled([Record("t", 0, 4, 0, b"k", b"v")])
    flight.revoked([mine, idle])
    assert flight.stale == {mine}
    flight.check({idle: 1})
    with pytest.raises(FencedError, match=r"t\[0\]"):
        flight.check({mine: 5})
    flight.forget()
    flight.check({mine: 5})
    assert not flight
