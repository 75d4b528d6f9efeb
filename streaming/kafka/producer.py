"""Transactions on Kafka: messages and offsets together, or neither."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer, OffsetAndMetadata
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from contracts.codec import DEAD_LETTER_ENVELOPE
from contracts.errors import LogError, RecordTooLargeError
from contracts.records import Message
from contracts.topics import MAX_RECORD_BYTES
from streaming.kafka.access import check_access
from streaming.kafka.connecting import connected
from streaming.kafka.failures import bounded, kafka_failures
from streaming.kafka.settings import Cluster, producer_settings
from streaming.log import Offsets

__all__ = ["TransactionalProducer", "as_kafka"]

# How long to be polite to a cluster that has just failed us.
_CLOSE_S = 2.0
# An abort is worth more patience: what is not aborted holds up the group until the broker does it.
# The next producer of this id does it too, so there is no need to wait until all is well again.
_ABORT_S = 3.0
_MAX_VALUE_BYTES = MAX_RECORD_BYTES + DEAD_LETTER_ENVELOPE


def as_kafka(offsets: Offsets) -> Mapping[Any, Any]:
    """Offsets as Kafka's client takes them."""
    return {
        KafkaPartition(p.topic, p.partition): OffsetAndMetadata(offset, "", -1)
        for p, offset in offsets.items()
    }


def _no_message() -> Exception | None:
    return None


class TransactionalProducer:
    """One transactional id. Connects when first used. Threads take turns.

    Args:
        cluster: where to.
        transactional_id: whoever starts with it later fences whoever had it before.
    """

    def __init__(self, cluster: Cluster, transactional_id: str) -> None:
        self._cluster = cluster
        self._settings = producer_settings(cluster, transactional_id)
        self._about = f"publishing as transactional id {transactional_id}"
        self._producer: Any = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Have the id: finishes or aborts what an earlier holder left, and fences it."""
        with self._lock, kafka_failures(self._cluster.brokers, self._about):
            self._started()

    def publish(
        self,
        messages: Sequence[Message],
        offsets: Offsets | None = None,
        group: Any = None,
    ) -> None:
        """Publish messages and commit offsets of a group in one transaction.

        Args:
            messages: in this order.
            offsets: next offset by partition.
            group: the group's name, or its member's metadata, which lets the broker fence a member
                that lost its place (KIP-447).

        Raises:
            FencedError, RecordTooLargeError, LogError: nothing was published.
            LogUnavailableError: perhaps it was published and perhaps not, but never in part.
        """
        for message in messages:
            if len(message.value) > _MAX_VALUE_BYTES:
                raise RecordTooLargeError(
                    f"a record of {len(message.value)} bytes for {message.topic};"
                    f" the limit is {_MAX_VALUE_BYTES}"
                )
        with self._lock, kafka_failures(self._cluster.brokers, self._about):
            producer = self._started()
            try:
                # 1. Begin, only now that everything is ready: a transaction is never held open.
                producer.begin_transaction()
                # 2. Messages. The key is always given, so equal keys share a partition.
                sent = [
                    producer.send(m.topic, value=m.value, key=m.key, headers=list(m.headers))
                    for m in messages
                ]

                def refused() -> Exception | None:
                    # Up to kafka-python 3.0.12 what comes after a message that was refused or given
                    # up waits for ever.
                    return next((one.exception for one in sent if one.failed()), None)

                # 3. Offsets.
                if offsets:
                    self._bounded(
                        lambda: producer.send_offsets_to_transaction(as_kafka(offsets), group),
                        "commit offsets",
                        refused,
                    )
                # 4. Commit; it flushes first and fails if a message failed.
                if (reason := refused()) is not None:
                    raise reason
                self._bounded(producer.commit_transaction, "commit", refused)
            except BaseException:
                # At once if possible: until then, nobody may read the group's offsets. If not, the
                # next producer of this id aborts it, or the broker after the transaction timeout.
                with suppress(KafkaError, LogError):
                    bounded(producer.abort_transaction, _ABORT_S, "abort", self._cluster.stop)
                self._abandon()
                raise

    def close(self) -> None:
        """Let go of the connection. May be called twice."""
        with self._lock:
            self._abandon()

    def _started(self) -> Any:
        if self._producer is None:
            check_access(self._cluster)
            producer = connected(KafkaProducer, self._settings)
            try:
                self._bounded(producer.init_transactions, "begin with transactions", _no_message)
            except BaseException:
                producer.close(timeout=0)
                raise
            self._producer = producer
        return self._producer

    def _abandon(self) -> None:
        """Close the producer. The next one aborts what this one may have left open."""
        producer, self._producer = self._producer, None
        if producer is not None:
            # A cluster that does not answer must not keep us from closing.
            with suppress(KafkaError):
                producer.close(timeout=_CLOSE_S)

    def _bounded(self, call: Any, what: str, refused: Callable[[], Exception | None]) -> None:
        bounded(call, self._cluster.call_limit_s, what, self._cluster.stop, refused)
