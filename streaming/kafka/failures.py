"""Kafka's errors as ours, and a limit on calls that Kafka's client would wait for without one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import kafka.errors as kafka_errors

from contracts.errors import FencedError, LogError, LogUnavailableError, RecordTooLargeError

__all__ = ["FENCED", "bounded", "kafka_failures"]

T = TypeVar("T")

# Somebody else has this producer's transactional id, or this member's partitions.
FENCED = (
    kafka_errors.CommitFailedError,
    kafka_errors.FencedInstanceIdError,
    kafka_errors.FencedMemberEpochError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.ProducerFencedError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.StaleMemberEpochError,
    kafka_errors.TransactionCoordinatorFencedError,
    kafka_errors.UnknownMemberIdError,
)
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)


@contextmanager
def kafka_failures(brokers: str) -> Iterator[None]:
    """Raise Kafka's errors as ours.

    Raises:
        FencedError: another producer or group member has taken over.
        RecordTooLargeError: the broker refuses a record for its size.
        LogUnavailableError: the cluster does not answer, or is busy with itself.
        LogError: anything else.
    """
    try:
        yield
    except FENCED as error:
        raise FencedError(f"Kafka at {brokers}: another member took over ({error})") from error
    except _TOO_LARGE as error:
        raise RecordTooLargeError(
            f"Kafka at {brokers} refused a record for its size ({error}); raise max.message.bytes"
            " of the topic"
        ) from error
    except kafka_errors.UnknownTopicOrPartitionError as error:
        raise LogError(f"Kafka at {brokers}: no such topic; create it first ({error})") from error
    except kafka_errors.RetriableError as error:
        raise LogUnavailableError(
            f"Kafka at {brokers} does not answer ({type(error).__name__}: {error}); check that it"
            " runs and can be reached, then try again"
        ) from error
    except kafka_errors.KafkaError as error:
        raise LogError(f"Kafka at {brokers}: {type(error).__name__}: {error}") from error


def bounded(call: Callable[[], T], limit_s: float, what: str) -> T:
    """The result of `call`, which may take `limit_s` seconds.

    It runs in a thread of its own. One that does not return is left behind (a daemon), and the
    client it belongs to must not be used again: nobody knows how far it got.

    Raises:
        LogUnavailableError: the time is up.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:  # handed to the caller below, whatever it is
            failure.append(error)

    thread = threading.Thread(target=run, name=f"kafka {what}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise LogUnavailableError(
            f"Kafka did not finish to {what} within {limit_s:g} s; check the brokers. What was"
            " not committed will be done again"
        )
    if failure:
        raise failure[0]
    return result[0]
