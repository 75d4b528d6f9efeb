"""The stateless loop: records in, events out, each exactly once.

1. Poll a batch.
2. Decode it; what cannot be decoded is set aside for the dead letters.
3. Handle it, in a worker: an input gives events, or the error that refuses it.
4. Encode the outputs and the dead letters.
5. Commit outputs and offsets in one transaction of the log.

Handling runs in worker threads, a batch each, while this thread commits the batches before and
polls and decodes the batches after (ONNX Runtime lets go of the GIL while it computes). Batches are
committed in the order they were polled, each with its own offsets. A crash before step 5 leaves
nothing behind; a crash after it leaves everything.

At most one batch more than there are workers is in hand, so memory is bounded. While a slow one is
waited for, nothing is polled, but the group is kept informed that this member lives. A log that
does not answer is waited for (streaming.patience); what was in hand then is given up and done
again, for nobody knows whether its commit arrived.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

import msgspec

from contracts.codec import decode, encode
from contracts.errors import (
    CodecError,
    DataError,
    FencedError,
    LogError,
    LogUnavailableError,
    ModelError,
    ReplacedError,
)
from contracts.events import Event
from contracts.records import Message, Record, TopicPartition
from streaming.dead_letters import check_topics, dead_letter_message, dead_letter_topics
from streaming.log import Consumer, Log
from streaming.patience import Patience

__all__ = ["Handle", "Processor", "ProcessorReport"]

Answer = Sequence[Event] | DataError
Handle = Callable[[Sequence[Event]], Sequence[Answer]]

# How long one wait may last, so that a stop is seen within half a second.
_WAIT_S = 0.25


class ProcessorReport(msgspec.Struct, frozen=True):
    """What a run has done so far.

    Attributes:
        consumed: records read and settled, dead letters included.
        produced: events published, dead letters not included.
        dead_letters: records that could not be processed.
        seconds: since the run began.
    """

    consumed: int = 0
    produced: int = 0
    dead_letters: int = 0
    seconds: float = 0.0


class _Batch(msgspec.Struct):
    """Records on their way, with what became of each: an event, then an answer or an error."""

    records: list[Record]
    decoded: list[Event | CodecError]
    answers: Future[list[Sequence[Event] | Exception]]


class Processor:
    """Reads topics as a member of a group and publishes what `handle` makes of the events.

    Args:
        log: where records come from and go to.
        group: the consumer group; its members share the partitions.
        topics: what to read; asked again whenever there is nothing to do.
        handle: gives for every event the events it leads to, or the `DataError` that refuses it.
            If it raises, it is called again with one event at a time, and the events it still
            raises for become dead letters. `ModelError` and `LogError` stop the loop instead: they
            are not the record's fault.
        batch: records to handle at a time, at most.
        workers: batches to handle at once, each in a thread of its own; `handle` must bear that.
        stage: what dead letters call this loop.
    """

    def __init__(
        self,
        log: Log,
        *,
        group: str,
        topics: Callable[[], Sequence[str]],
        handle: Handle,
        batch: int = 256,
        workers: int = 1,
        stage: str = "process",
    ) -> None:
        self._log = log
        self._group = group
        self._topics = topics
        self._handle = handle
        self._batch = batch
        self._workers = workers
        self._stage = stage

    def run(
        self,
        stop: threading.Event,
        *,
        until_idle: bool = False,
        on_progress: Callable[[ProcessorReport], None] | None = None,
    ) -> ProcessorReport:
        """Process until `stop` is set, or with `until_idle` until everything is processed.

        Args:
            stop: ends the run; batches in hand are finished first.
            until_idle: end when the group has consumed all its topics to their ends.
            on_progress: called after every commit.

        Raises:
            ConfigError: `topics` names a topic that no loop may read.
            ReplacedError: another process of this one's name has taken its place.
            LogAccessError: the log does not let us in.
            ModelError, LogError: what `handle` or the log raised. Nothing uncommitted is lost.
        """
        began = time.monotonic()
        report = ProcessorReport()
        patience = Patience("the log", stop)
        with ThreadPoolExecutor(self._workers, thread_name_prefix="handle") as workers:
            while True:
                run: _Run | None = None
                try:
                    topics = self._prepare()
                    consumer = self._log.consumer(self._group, topics)
                    run = _Run(self, consumer, workers, report, began, on_progress, patience)
                    with run:
                        done = run.until_topics_change(topics, stop, until_idle)
                except LogUnavailableError as error:
                    done = not patience.wait(error)
                if run is not None:
                    report = run.report
                if done:
                    return msgspec.structs.replace(report, seconds=time.monotonic() - began)

    def _prepare(self) -> tuple[str, ...]:
        topics = check_topics(self._topics())
        self._log.create_topics(dead_letter_topics(topics))
        return topics

    def _idle(self, topics: Sequence[str]) -> bool:
        """Whether the group has consumed `topics` to where they end now."""
        ends = self._log.ends(topics)
        committed = self._log.committed(self._group, topics)
        return all(committed.get(partition, 0) >= end for partition, end in ends.items())

    def _answers(self, events: Sequence[Event]) -> list[Sequence[Event] | Exception]:
        """What `handle` says to each event, or the exception it raises for that one alone."""
        if not events:
            return []
        try:
            return self._checked(events)
        except (LogError, ModelError):
            raise
        except Exception as error:
            if len(events) == 1:
                return [error]
        answers: list[Sequence[Event] | Exception] = []
        for event in events:
            answers += self._answers([event])
        return answers

    def _checked(self, events: Sequence[Event]) -> list[Sequence[Event] | Exception]:
        answers = self._handle(events)
        if len(answers) != len(events):
            raise ValueError(f"{len(answers)} answers to {len(events)} events")
        return list(answers)


class _Run:
    """One consumer's life: the pipeline from poll to commit."""

    def __init__(
        self,
        processor: Processor,
        consumer: Consumer,
        workers: ThreadPoolExecutor,
        report: ProcessorReport,
        began: float,
        on_progress: Callable[[ProcessorReport], None] | None,
        patience: Patience,
    ) -> None:
        self._processor = processor
        self._consumer = consumer
        self._workers = workers
        # One that waits beside those being handled, so that no worker ever waits for a poll.
        self._depth = processor._workers + 1
        self._began = began
        self._on_progress = on_progress
        self._patience = patience
        self._pending: deque[_Batch] = deque()
        self._nothing_left = False
        self.report = report

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, *_error: object) -> None:
        self.cancel()
        # A log that is away cannot be told that we leave; it will find out.
        with suppress(LogUnavailableError):
            self._consumer.close()

    def until_topics_change(
        self, topics: tuple[str, ...], stop: threading.Event, until_idle: bool
    ) -> bool:
        """Process until the run is over (True) or other topics are to be read (False)."""
        while True:
            try:
                if len(self._pending) < self._depth and not stop.is_set():
                    self._take()
                self._settle(all_of_it=stop.is_set())
            except ReplacedError:
                raise
            except FencedError:
                # Part of what is in hand went to another member. Nothing of it was written: give
                # all of it up and go on with what is assigned now.
                self.cancel()
                self._consumer.rewind()
            if self._pending:
                continue
            if stop.is_set():
                return True
            if self._nothing_left:
                if self._processor._prepare() != topics:
                    return False
                self._patience.over()
                if until_idle and self._processor._idle(topics):
                    return True

    def cancel(self) -> None:
        """Give up what is in hand. A batch with the worker is waited for, its result unused."""
        for batch in self._pending:
            batch.answers.cancel()
        wait([batch.answers for batch in self._pending])
        self._pending.clear()

    def _take(self) -> None:
        """Steps 1 to 3: poll and decode a batch and hand it to the worker."""
        # While there is work in hand, do not wait for more.
        records = self._consumer.poll(self._processor._batch, 0.0 if self._pending else _WAIT_S)
        self._nothing_left = not records
        if not records:
            return
        decoded: list[Event | CodecError] = []
        for record in records:
            try:
                decoded.append(decode(record.headers, record.value))
            except CodecError as error:
                decoded.append(error)
        events = [event for event in decoded if isinstance(event, Event)]
        answers = self._workers.submit(self._processor._answers, events)
        self._pending.append(_Batch(records, decoded, answers))

    def _settle(self, *, all_of_it: bool) -> None:
        """Steps 4 and 5 for batches that are handled; waits if there is nothing else to do."""
        while self._pending:
            batch = self._pending[0]
            if len(self._pending) == self._depth or self._nothing_left or all_of_it:
                wait([batch.answers], timeout=_WAIT_S)
                if not batch.answers.done():
                    self._consumer.keep_alive()
            if not batch.answers.done():
                return
            self._commit(batch)
            self._pending.popleft()

    def _commit(self, batch: _Batch) -> None:
        answers = iter(batch.answers.result())
        outputs: list[Message] = []
        offsets: dict[TopicPartition, int] = {}
        dead_letters = 0
        for record, event in zip(batch.records, batch.decoded, strict=True):
            offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
            answer = event if isinstance(event, CodecError) else next(answers)
            try:
                if isinstance(answer, Exception):
                    raise answer
                # An output that cannot be encoded is the fault of the record it comes from.
                outputs += [encode(output) for output in answer]
            except Exception as error:
                outputs.append(dead_letter_message(record, error, self._processor._stage))
                dead_letters += 1
        self._consumer.commit(outputs, offsets)
        self._patience.over()
        self.report = ProcessorReport(
            consumed=self.report.consumed + len(batch.records),
            produced=self.report.produced + len(outputs) - dead_letters,
            dead_letters=self.report.dead_letters + dead_letters,
            seconds=time.monotonic() - self._began,
        )
        if self._on_progress is not None:
            self._on_progress(self.report)
