"""Batches on their way from poll to commit, for as long as one consumer lives.

Records are handed to the workers as soon as one is free, or a whole batch has come together; so few
records are handled at once when there are few, and many when there are many. What is handled is
committed in the order it was polled, all that is done in one transaction, with a pause of
`_COMMIT_EVERY_S` between them: a transaction costs as much for one record as for a hundred.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import takewhile
from typing import NamedTuple

import msgspec

from contracts.codec import decode, encode
from contracts.errors import CodecError, FencedError, ReplacedError
from contracts.events import Event
from contracts.records import Message, Record, TopicPartition
from streaming.dead_letters import dead_letter_message
from streaming.log import Consumer

__all__ = ["Answers", "Handled", "Pipeline", "Settled"]

Answers = Callable[[Sequence[Event]], list[Sequence[Event] | Exception]]
"""For each event the events it leads to, or the error that refuses it."""

# How long one wait may last, so that a stop is seen within half a second.
_WAIT_S = 0.25
# How long to wait for more while there is work in hand. A batch that is done waits as long.
_SHORT_WAIT_S = 0.01
# Between the end of one commit and the next. A transaction on Kafka takes 7 to 20 ms, 5 of them of
# processor time, however small it is: without a pause, small ones would take a core for themselves
# when there are few records. On average this adds half of itself to a wafer's latency.
_COMMIT_EVERY_S = 0.01


class Settled(msgspec.Struct, frozen=True):
    """What one commit settled.

    Attributes:
        consumed: records read.
        produced: events published.
        dead_letters: records that could not be processed.
        ages_s: of the records, from when the log took them to when this was committed, in wall
            time; the clocks are the log's and this machine's.
    """

    consumed: int
    produced: int
    dead_letters: int
    ages_s: tuple[float, ...] = ()


class Handled(NamedTuple):
    """What became of one record, and when: nanoseconds since the epoch, by this machine's clock.

    Attributes:
        event: what is in the record; None where it cannot be decoded.
        answer: the events that followed, or why it is a dead letter.
        taken_ns: it was handed to a worker, decoded.
        began_ns: its batch began to be handled; `ended_ns` it was.
        committed_ns: the transaction with the answer was committed.
    """

    record: Record
    event: Event | None
    answer: Sequence[Event] | Exception
    taken_ns: int
    began_ns: int
    ended_ns: int
    committed_ns: int = 0


class _Batch(msgspec.Struct):
    """Records on their way, with what became of each: an event, then an answer or an error.

    The times are as in `Handled`.
    """

    records: list[Record]
    decoded: list[Event | CodecError]
    answers: Future[list[Sequence[Event] | Exception]]
    taken_ns: int
    began_ns: int = 0
    ended_ns: int = 0


class Pipeline:
    """One consumer's life. Used by one thread.

    Args:
        consumer: gives records and takes commits; not closed here.
        pool: handles batches.
        answers: what to do with one.
        batch: records to handle at a time, at most.
        workers: batches to handle at once.
        stage: what dead letters call this loop.
        on_settled: called after every commit.
        on_handled: called after every commit with what became of each of its records.
    """

    def __init__(
        self,
        consumer: Consumer,
        pool: ThreadPoolExecutor,
        answers: Answers,
        *,
        batch: int,
        workers: int,
        stage: str,
        on_settled: Callable[[Settled], None],
        on_handled: Callable[[Sequence[Handled]], None] | None = None,
    ) -> None:
        self._consumer = consumer
        self._pool = pool
        self._answers = answers
        self._batch = batch
        self._workers = workers
        self._stage = stage
        self._on_settled = on_settled
        self._on_handled = on_handled
        # Polled and not handed to a worker; handed over and not committed, in the order of polls.
        self._waiting: list[Record] = []
        self._pending: deque[_Batch] = deque()
        self._committed_at = 0.0
        self.idle = False

    def step(self, stop: threading.Event) -> bool:
        """Poll, hand over and commit what there is to; whether anything is in hand afterwards.

        `idle` says whether there was nothing to poll.

        Args:
            stop: once set, nothing more is polled, and what is in hand is waited for.
        """
        try:
            stopping = stop.is_set()
            if not stopping:
                self._poll()
            self._hand_over(stopping)
            self._settle(stopping)
        except ReplacedError:
            raise
        except FencedError:
            # Part of what is in hand went to another member. Nothing of it was written: give all of
            # it up and go on with what is assigned now.
            self.cancel()
            self._consumer.rewind()
        return self.in_hand

    @property
    def in_hand(self) -> bool:
        """Whether anything was polled and is not committed."""
        return bool(self._waiting or self._pending)

    @property
    def records_in_hand(self) -> int:
        """How many records were polled and are not committed."""
        return len(self._waiting) + sum(len(batch.records) for batch in self._pending)

    def cancel(self) -> None:
        """Give up what is in hand. A batch with a worker is waited for, its result unused."""
        for batch in self._pending:
            batch.answers.cancel()
        wait([batch.answers for batch in self._pending])
        self._pending.clear()
        self._waiting.clear()

    @property
    def _room(self) -> int:
        """Records that may be polled: one batch for each worker, one waiting, one to be committed.

        This bounds memory.
        """
        room = (self._workers + 2) * self._batch - self.records_in_hand
        return min(self._batch - len(self._waiting), room)

    def _poll(self) -> None:
        self.idle = False
        if (room := self._room) > 0:
            records = self._consumer.poll(room, _SHORT_WAIT_S if self.in_hand else _WAIT_S)
            self._waiting += records
            self.idle = not records

    def _hand_over(self, stopping: bool) -> None:
        """Decode what waits and give it to a worker, if one is free or it is a whole batch."""
        if not self._waiting:
            return
        busy = sum(not batch.answers.done() for batch in self._pending)
        full = len(self._waiting) >= self._batch
        # One whole batch may queue behind the busy workers, so that none waits for this thread.
        if busy < self._workers or (full and busy == self._workers) or stopping:
            records, self._waiting = self._waiting, []
            taken_ns = time.time_ns()
            decoded = list(_decoded(records))
            events = [event for event in decoded if isinstance(event, Event)]
            batch = _Batch(records, decoded, Future(), taken_ns)
            batch.answers = self._pool.submit(self._work, batch, events)
            self._pending.append(batch)

    def _work(self, batch: _Batch, events: Sequence[Event]) -> list[Sequence[Event] | Exception]:
        """Handle one batch, in a worker."""
        batch.began_ns = time.time_ns()
        answers = self._answers(events)
        batch.ended_ns = time.time_ns()
        return answers

    def _settle(self, stopping: bool) -> None:
        """Commit what is done; wait for it where there is nothing else to do."""
        if not self._pending:
            return
        first = self._pending[0].answers
        stuck = stopping or self._room <= 0
        if stuck and not first.done():
            wait([first], timeout=_WAIT_S)
            if not first.done():
                # We do not poll now; the group must know that we are alive all the same.
                self._consumer.keep_alive()
        due = time.monotonic() - self._committed_at >= _COMMIT_EVERY_S
        done = list(takewhile(lambda batch: batch.answers.done(), self._pending))
        if done and (due or stuck):
            self._commit(done)
            for _ in done:
                self._pending.popleft()
            self._committed_at = time.monotonic()

    def _commit(self, batches: Sequence[_Batch]) -> None:
        """Outputs, dead letters and offsets of batches, in one transaction."""
        outputs: list[Message] = []
        offsets: dict[TopicPartition, int] = {}
        dead_letters = 0
        became: list[Handled] = []
        for batch in batches:
            answers = iter(batch.answers.result())
            for record, event in zip(batch.records, batch.decoded, strict=True):
                offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
                answer = event if isinstance(event, CodecError) else next(answers)
                try:
                    if isinstance(answer, Exception):
                        raise answer
                    # An output that cannot be encoded is the fault of the record it comes from.
                    outputs += [encode(output) for output in answer]
                except Exception as error:
                    outputs.append(dead_letter_message(record, error, self._stage))
                    dead_letters += 1
                    answer = error
                if self._on_handled is not None:
                    known = event if isinstance(event, Event) else None
                    times = batch.taken_ns, batch.began_ns, batch.ended_ns
                    became.append(Handled(record, known, answer, *times))
        self._consumer.commit(outputs, offsets)
        now = time.time()
        if self._on_handled is not None:
            committed_ns = time.time_ns()
            self._on_handled([one._replace(committed_ns=committed_ns) for one in became])
        ages = tuple(
            now - record.timestamp_ms / 1000 for batch in batches for record in batch.records
        )
        self._on_settled(Settled(len(ages), len(outputs) - dead_letters, dead_letters, ages))


def _decoded(records: Sequence[Record]) -> Iterator[Event | CodecError]:
    for record in records:
        try:
            yield decode(record.headers, record.value)
        except CodecError as error:
            yield error
