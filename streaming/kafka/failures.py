"""Kafka's errors as ours, and limits on calls that Kafka's client would wait for without one."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import kafka.errors as kafka_errors

from contracts.errors import (
    DataError,
    FencedError,
    LogAccessError,
    LogError,
    LogUnavailableError,
    RecordTooLargeError,
    ReplacedError,
)
from streaming.deadline import Deadline

__all__ = ["PASSING", "bounded", "kafka_failures", "retried"]

T = TypeVar("T")

# Somebody else has the name this process goes by: of its producer, or in its group.
_REPLACED = (kafka_errors.FencedInstanceIdError,)
# Somebody else has this producer's transactional id, or this member's partitions.
_FENCED = (
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
# How often to look whether it is time to end, or whether a call waits in vain.
_LOOK_S = 0.1
# What a call gets that is under way when the process is told to end. A cluster that is well needs
# milliseconds; supervisors lose patience after some 10 s.
_LAST_S = 3.0
# Of these, what says nothing about for how long.
PASSING = tuple(kind for kind in _FENCED if kind not in _REPLACED)
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)


# The name of an error that the client has put into the text of another one.
_NAME = re.compile(r"\b[A-Z]\w+Error\b")
# What a right is missing on.
_RIGHTS = {
    kafka_errors.TopicAuthorizationFailedError: "topic",
    kafka_errors.GroupAuthorizationFailedError: "group",
    kafka_errors.TransactionalIdAuthorizationFailedError: "transactional id",
    kafka_errors.ClusterAuthorizationFailedError: "cluster",
}
# Beyond this it is no name but the whole request.
_LONGEST_DETAIL = 200


@contextmanager
def kafka_failures(brokers: str, about: str = "") -> Iterator[None]:
    """Raise Kafka's errors as ours.

    Args:
        brokers: whom we talk to.
        about: what is done, for the message if it is forbidden.

    Raises:
        ReplacedError: another process has taken this one's name.
        FencedError: another producer or group member has taken over.
        RecordTooLargeError: the broker refuses a record for its size.
        LogAccessError: the cluster does not let us in, or forbids what we ask.
        LogUnavailableError: the cluster does not answer, or is busy with itself.
        LogError: anything else.
    """
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise _ours(brokers, about, _unwrapped(error)) from error


def _unwrapped(error: kafka_errors.KafkaError) -> kafka_errors.KafkaError:
    """The error that the client put into the text of another one.

    It does so in transactions, and when time runs out while a right is missing.
    """
    looked_for: type[Exception]
    if type(error) is kafka_errors.KafkaError:
        looked_for = kafka_errors.BrokerResponseError
    elif type(error) is kafka_errors.KafkaTimeoutError:
        looked_for = kafka_errors.AuthorizationError
    else:
        return error
    for name in _NAME.findall(str(error)):
        kind = getattr(kafka_errors, name, None)
        if isinstance(kind, type) and issubclass(kind, looked_for):
            return kind(str(error))
    return error


def _ours(brokers: str, about: str, error: kafka_errors.KafkaError) -> LogError | DataError:
    """What `error` is here."""
    if isinstance(error, _REPLACED):
        return ReplacedError(
            f"Kafka at {brokers}: another process runs with the same FABPILOT_INSTANCE and has"
            " taken this one's place; give each process a name of its own"
        )
    if isinstance(error, _FENCED):
        return FencedError(f"Kafka at {brokers}: another member took over ({error})")
    if isinstance(error, _TOO_LARGE):
        return RecordTooLargeError(
            f"Kafka at {brokers} refused a record for its size ({error}); raise max.message.bytes"
            " of the topic"
        )
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        return LogAccessError(
            f"Kafka at {brokers} refused user and password ({error}); check FABPILOT_KAFKA_USER,"
            " and FABPILOT_KAFKA_PASSWORD_FILE or FABPILOT_KAFKA_PASSWORD"
        )
    if isinstance(error, kafka_errors.AuthorizationError):
        return _forbidden(brokers, about, error)
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return LogError(f"Kafka at {brokers}: no such topic; create it first ({error})")
    if isinstance(error, kafka_errors.RetriableError):
        return LogUnavailableError(
            f"Kafka at {brokers} does not answer ({type(error).__name__}: {error}); check that it"
            " runs and can be reached, then try again"
        )
    return LogError(f"Kafka at {brokers}: {type(error).__name__}: {error}")


def _forbidden(brokers: str, about: str, error: kafka_errors.AuthorizationError) -> LogAccessError:
    kind = _RIGHTS.get(type(error), "resource")
    said = str(error)
    detail = f" ({said})" if len(said) <= _LONGEST_DETAIL else ""
    return LogAccessError(
        f"Kafka at {brokers} forbids {about or 'this'}: a right on the {kind} is missing{detail};"
        " give the user what docs/streaming.md lists under 'Access'"
    )


def retried(call: Callable[[], T], limit_s: float, stop: threading.Event) -> T:
    """The result of `call`, tried again while the cluster is busy with itself, until `stop`.

    For what asks and changes nothing: a coordinator that is only just being made, or that moves
    to another broker, answers 'not now'.
    """
    deadline = Deadline(limit_s)
    pause_s = 0.05
    while True:
        try:
            return call()
        except kafka_errors.KafkaTimeoutError:
            raise  # the client has tried for long enough itself
        except kafka_errors.RetriableError:
            if deadline.passed or stop.wait(pause_s):
                raise
        pause_s = min(2 * pause_s, 0.5)


def _no_reason() -> Exception | None:
    return None


def bounded(
    call: Callable[[], T],
    limit_s: float,
    what: str,
    stop: threading.Event,
    hopeless: Callable[[], Exception | None] = _no_reason,
) -> T:
    """The result of `call`, which may take `limit_s` seconds.

    It runs in a thread of its own. One that does not return is left behind (a daemon), and the
    client it belongs to must not be used again: nobody knows how far it got.

    Args:
        call: what to do.
        limit_s: how long it may take.
        what: it is, for the message.
        stop: once set, it may take no more than a few seconds.
        hopeless: why it will never return, if that is known.

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
    deadline = Deadline(limit_s)
    hurried = False
    while thread.is_alive() and not deadline.passed:
        thread.join(min(_LOOK_S, deadline.left_s()))
        if thread.is_alive() and (reason := hopeless()) is not None:
            raise reason
        if stop.is_set() and not hurried:
            hurried, deadline = True, Deadline(min(_LAST_S, deadline.left_s()))
    if thread.is_alive():
        raise LogUnavailableError(
            f"Kafka did not finish to {what} within {limit_s:g} s; check the brokers. What was"
            " not committed will be done again"
        )
    if failure:
        raise failure[0]
    return result[0]
