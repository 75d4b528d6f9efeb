"""The stateless loop: records in, events out, each exactly once.

1. Poll records.
2. Decode them; what cannot be decoded is set aside for the dead letters.
3. Handle them, in workers: an input gives events, or the error that refuses it.
4. Encode the outputs and the dead letters.
5. Commit outputs and offsets in one transaction of the log.

Handling runs in worker threads while this thread commits what was before and polls and decodes what
comes after (ONNX Runtime lets go of the GIL while it computes); streaming.pipeline says in what
portions. Records are committed in the order they were polled. A crash before step 5 leaves nothing
behind; a crash after it leaves everything.

What is in hand is bounded, and so is memory. While something slow is waited for, nothing is polled,
but the group is kept informed that this member lives. A log that does not answer is waited for
(streaming.patience); what was in hand then is given up and done again, for nobody knows whether its
commit arrived.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec

from contracts.errors import DataError, LogError, LogUnavailableError, ModelError
from contracts.events import Event
from streaming.dead_letters import check_topics, dead_letter_topics
from streaming.log import Log
from streaming.patience import Patience
from streaming.pipeline import Handled, Pipeline, Settled

__all__ = ["Handle", "Processor", "ProcessorReport"]

Answer = Sequence[Event] | DataError
Handle = Callable[[Sequence[Event]], Sequence[Answer]]


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
        on_settled: Callable[[Settled], None] | None = None,
        on_turn: Callable[[int], None] | None = None,
        on_handled: Callable[[Sequence[Handled]], None] | None = None,
    ) -> ProcessorReport:
        """Process until `stop` is set, or with `until_idle` until everything is processed.

        Args:
            stop: ends the run; batches in hand are finished first.
            until_idle: end when the group has consumed all its topics to their ends.
            on_progress: called after every commit.
            on_settled: called after every commit with what that one settled.
            on_turn: called after every turn of the loop, several times a second, with the number
                of records in hand; not while the log is away.
            on_handled: called after every commit with what became of each of its records.

        Raises:
            ConfigError: `topics` names a topic that no loop may read.
            ReplacedError: another process of this one's name has taken its place.
            LogAccessError: the log does not let us in.
            ModelError, LogError: what `handle` or the log raised. Nothing uncommitted is lost.
        """
        began = time.monotonic()
        report = ProcessorReport()
        patience = Patience("the log", stop)

        def settle(settled: Settled) -> None:
            nonlocal report
            patience.over()
            report = ProcessorReport(
                consumed=report.consumed + settled.consumed,
                produced=report.produced + settled.produced,
                dead_letters=report.dead_letters + settled.dead_letters,
                seconds=time.monotonic() - began,
            )
            if on_settled is not None:
                on_settled(settled)
            if on_progress is not None:
                on_progress(report)

        with ThreadPoolExecutor(self._workers, thread_name_prefix="handle") as pool:
            done = False
            while not done:
                try:
                    done = self._with_consumer(
                        pool, stop, until_idle, patience, settle, on_turn, on_handled
                    )
                except LogUnavailableError as error:
                    done = not patience.wait(error)
        return msgspec.structs.replace(report, seconds=time.monotonic() - began)

    def _with_consumer(
        self,
        pool: ThreadPoolExecutor,
        stop: threading.Event,
        until_idle: bool,
        patience: Patience,
        on_settled: Callable[[Settled], None],
        on_turn: Callable[[int], None] | None,
        on_handled: Callable[[Sequence[Handled]], None] | None,
    ) -> bool:
        """Process until the run is over (True) or other topics are to be read (False)."""
        topics = self._prepare()
        consumer = self._log.consumer(self._group, topics)
        pipeline = Pipeline(
            consumer,
            pool,
            self._answers,
            batch=self._batch,
            workers=self._workers,
            stage=self._stage,
            on_settled=on_settled,
            on_handled=on_handled,
        )
        try:
            while pipeline.step(stop) or not stop.is_set():
                if on_turn is not None:
                    on_turn(pipeline.records_in_hand)
                if pipeline.idle and not pipeline.in_hand:
                    if self._prepare() != topics:
                        return False
                    patience.over()
                    if until_idle and self._idle(topics):
                        return True
            return True
        finally:
            pipeline.cancel()
            # A log that is away cannot be told that we leave; it will find out.
            with suppress(LogUnavailableError):
                consumer.close()

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
