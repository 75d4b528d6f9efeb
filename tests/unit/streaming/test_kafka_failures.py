"""What can be said of the Kafka log without a broker; the contract suite says the rest."""

import threading
from collections.abc import Callable

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
from streaming.kafka import Cluster, KafkaLog
from streaming.kafka.failures import bounded, kafka_failures, retried


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
        bounded(release.wait, 0.05, "commit", threading.Event())
    release.set()


def test_a_call_gets_little_time_once_the_process_is_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.kafka.failures._LAST_S", 0.05)
    release, stop = threading.Event(), threading.Event()
    stop.set()
    with pytest.raises(LogUnavailableError, match="commit within"):
        bounded(release.wait, 3600.0, "commit", stop)
    release.set()


def test_a_call_that_can_never_return_is_given_up_at_once() -> None:
    release = threading.Event()
    with pytest.raises(ZeroDivisionError, match="refused"):
        bounded(
            release.wait,
            3600.0,
            "commit",
            threading.Event(),
            lambda: ZeroDivisionError("refused"),
        )
    release.set()


def test_a_cluster_that_is_busy_is_asked_again_until_the_process_is_to_end() -> None:
    answers = iter([kafka.errors.NotCoordinatorError(), 5])

    def ask() -> object:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    assert retried(ask, 60.0, threading.Event()) == 5
    stop = threading.Event()
    stop.set()
    answers = iter([kafka.errors.NotCoordinatorError(), 5])
    with pytest.raises(kafka.errors.NotCoordinatorError):
        retried(ask, 60.0, stop)


def test_a_call_in_time_gives_its_result_or_its_error() -> None:
    assert bounded(lambda: 7, 5.0, "count", threading.Event()) == 7
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, 5.0, "count", threading.Event())


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


def test_a_cluster_that_cannot_be_reached_leaves_no_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.kafka.settings._BOOTSTRAP_MS", 50)
    before = set(threading.enumerate())
    log = KafkaLog(Cluster("127.0.0.1:1"))
    tries: list[Callable[[], object]] = [
        lambda: log.position("source"),
        lambda: log.reader(["t"], {}).poll(1, 0.0),
        lambda: log.consumer("group", ["t"]).poll(1, 0.0),
        log.topics,
    ]
    for attempt in tries:
        with pytest.raises(LogUnavailableError):
            attempt()
    log.close()
    assert set(threading.enumerate()) <= before
