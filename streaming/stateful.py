"""The stateful loop: records change a state in the database, and events follow from it.

1. Take the next records, in an order that only the log decides (streaming.merge).
2. In one database transaction: renew the lease, let `apply` change the state, put the events it
   returns into the outbox, note the offsets read.
3. Relay the outbox to the log (streaming.outbox).

A crash before the end of 2 leaves the state as it was, and the records are taken again. A crash
after it leaves the events in the outbox, and the next start publishes them first. A record that
cannot be decoded or applied becomes a dead letter, through the outbox, and the loop goes on.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa
import structlog

from contracts.clock import Clock
from contracts.codec import encode
from contracts.errors import FencedError, LogError, LogUnavailableError, ModelError
from contracts.events import Event
from contracts.records import Message, TopicPartition
from streaming.database import read_only
from streaming.dead_letters import check_topics, dead_letter_message, dead_letter_topics
from streaming.lease import Lease
from streaming.log import Log, Reader
from streaming.merge import Arrived, Merge, Refused, Taken
from streaming.offsets import load_offsets, store_offsets
from streaming.outage import database_errors
from streaming.outbox import Relay, create_tables, enqueue_messages
from streaming.patience import Patience

__all__ = ["Apply", "Arrived", "OnTaken", "StatefulLoop", "StatefulReport"]

_log = structlog.get_logger(__name__)

Apply = Callable[[sa.Connection, Sequence[Arrived]], Sequence[Event]]
OnTaken = Callable[[Sequence[Taken], int, int], None]

# How long one wait may last, so that a stop is seen within half a second.
_WAIT_S = 0.25
_LEASE_MS = 15_000


class StatefulReport(msgspec.Struct, frozen=True):
    """What a run has done so far.

    Attributes:
        consumed: records read and settled, dead letters included.
        produced: events put into the outbox, dead letters not included.
        dead_letters: records that could not be decoded or applied.
        seconds: since the run began.
    """

    consumed: int = 0
    produced: int = 0
    dead_letters: int = 0
    seconds: float = 0.0


def _nothing() -> None:
    pass


class StatefulLoop:
    """Reads topics in order and applies their events to a state in the database.

    Args:
        name: of the loop: of its offsets, its lease, and its outbox (`streaming.outbox.enqueue`
            with this name publishes through it).
        log: where records come from and go to.
        engine: where the state is; see `streaming.database.open_engine`.
        topics: what to read; asked again whenever there is nothing to do.
        apply: changes the state through the connection and returns the events that follow. What
            it returns must depend on nothing but the state and the events, and not on how events
            are grouped into calls: then a run that was interrupted ends like one that was not.
        on_rollback: called after a transaction was rolled back: whatever `apply` keeps in memory
            must be read from the database again.
        on_taken: called after a transaction was committed, with its records and when it began and
            ended: nanoseconds since the epoch, by this machine's clock.
        batch: records to apply in one transaction, at most.
        stage: what dead letters call this loop.
        clock: judges the lease; None takes the database's (streaming.lease).
        lease_ms: how long a holder that hangs keeps standbys waiting.
    """

    def __init__(
        self,
        *,
        name: str,
        log: Log,
        engine: sa.Engine,
        topics: Callable[[], Sequence[str]],
        apply: Apply,
        on_rollback: Callable[[], None] = _nothing,
        on_taken: OnTaken | None = None,
        batch: int = 500,
        stage: str = "control",
        clock: Clock | None = None,
        lease_ms: int = _LEASE_MS,
    ) -> None:
        self._name = name
        self._log = log
        self._engine = engine
        self._topics = topics
        self._apply = apply
        self._on_rollback = on_rollback
        self._on_taken = on_taken
        self._settled: list[tuple[Sequence[Taken], int, int]] = []
        self._batch = batch
        self._stage = stage
        self._lease = Lease(name, clock, lease_ms)
        self._tables_made = False
        self._relay = Relay(log, engine, name)
        self._merge: Merge | None = None
        self._reader: Reader | None = None
        self._reading: tuple[str, ...] = ()
        # Whether the lease is ours and nothing has failed since; and whether it may be ours.
        self._ready = self._held = False
        self._renew_at = 0.0
        self._report = StatefulReport()

    def run(
        self,
        stop: threading.Event,
        *,
        until_idle: bool = False,
        on_progress: Callable[[StatefulReport], None] | None = None,
        on_turn: Callable[[bool], None] | None = None,
    ) -> StatefulReport:
        """Wait for the lease, then apply records until `stop` is set.

        Waits while the database or the log is away, and stands by again if another process took
        the lease meanwhile.

        Args:
            stop: ends the run after the batch in hand, and ends any wait at once.
            until_idle: end as well when all topics are applied to their ends.
            on_progress: called after every batch.
            on_turn: called after every turn of the loop, several times a second, with whether this
                process holds the lease; not while the database or the log is away.

        Raises:
            LogError: the log or the database failed, and waiting does not mend it.
            ModelError: `apply` raised it.
        """
        began = time.monotonic()
        self._report = StatefulReport()
        patience = Patience("the database or the log", stop)
        try:
            while not stop.is_set():
                try:
                    holding = self._ready or self._acquire()
                    taken = self.run_once(_WAIT_S) if holding else 0
                except LogUnavailableError as error:
                    patience.wait(error)
                    continue
                except FencedError as error:
                    _log.warning("standing by again", loop=self._name, reason=str(error))
                    continue
                patience.over()
                if on_turn is not None:
                    on_turn(holding)
                if not holding:
                    stop.wait(_WAIT_S)
                elif taken:
                    seconds = time.monotonic() - began
                    self._report = msgspec.structs.replace(self._report, seconds=seconds)
                    if on_progress is not None:
                        on_progress(self._report)
                elif until_idle:
                    break
        finally:
            self.close()
        return msgspec.structs.replace(self._report, seconds=time.monotonic() - began)

    def run_once(self, timeout_s: float = 0.0) -> int:
        """One batch, with its events published; how many records it had.

        Args:
            timeout_s: how long to wait for the first record.

        Raises:
            FencedError: another process has the lease. Nothing of this one's was lost or doubled.
            LogUnavailableError: the database or the log is away. The next call starts anew.
            LogError, ModelError: see `run`.
        """
        try:
            with database_errors(self._engine):
                if not self._ready and not self._acquire():
                    raise FencedError(f"the lease {self._name!r} is held by another process")
                # 1. Take.
                taken = self._next(timeout_s)
                if taken:
                    # 2. State, outbox and offsets.
                    self._settle(taken)
                    self._tell()
                else:
                    self._stay_leader()
                # 3. Relay; when idle as well, for what others put into this outbox.
                self._relay.publish_pending()
                return len(taken)
        except BaseException:
            # What was taken may be settled or not: it is read again from where the database stands,
            # and only once the lease says that nothing of ours is under way there any more.
            self._ready = False
            self._settled.clear()
            self._stop_reading()
            self._on_rollback()
            raise

    def close(self) -> None:
        """Give up the lease and the reader. May be called twice."""
        self._stop_reading()
        self._ready = False
        if self._held:
            self._held = False
            # A database that is away cannot be told; the lease expires by itself.
            with (
                suppress(LogUnavailableError),
                database_errors(self._engine),
                self._engine.begin() as connection,
            ):
                self._lease.release(connection)

    def _acquire(self) -> bool:
        """Get the lease, if nobody else has it."""
        with database_errors(self._engine):
            if not self._tables_made:
                create_tables(self._engine)
                self._tables_made = True
            with self._engine.begin() as connection:
                self._held = True
                self._ready = self._lease.acquire(connection)
            self._renewed()
        return self._ready

    def _renewed(self) -> None:
        self._renew_at = time.monotonic() + self._lease.duration_ms / 3000

    def _stay_leader(self) -> None:
        if time.monotonic() >= self._renew_at:
            with self._engine.begin() as connection:
                self._lease.renew(connection)
            self._renewed()

    def _next(self, timeout_s: float) -> list[Taken]:
        """The next records of the topics as they are now."""
        if self._merge is not None and (taken := self._merge.take(self._batch, timeout_s)):
            return taken
        topics = check_topics(self._topics())
        if self._merge is None or topics != self._reading:
            self._merge = self._start_reading(topics)
            return self._merge.take(self._batch, 0.0)
        return []

    def _start_reading(self, topics: tuple[str, ...]) -> Merge:
        self._stop_reading()
        self._log.create_topics(dead_letter_topics(topics))
        with read_only(self._engine).begin() as connection:
            start = load_offsets(connection, self._name)
        self._reader = self._log.reader(topics, start)
        self._reading = topics
        return Merge(self._reader, lambda: self._log.ends(topics))

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._merge = None

    def _settle(self, taken: Sequence[Taken]) -> None:
        """Step 2 for a batch; if it fails, for one record at a time, to find the culprit."""
        try:
            # Nested in run_once's, so that a database that failed is not taken for a bad record.
            with database_errors(self._engine):
                self._transaction(taken)
        except (LogError, ModelError):
            raise  # trying record by record would not help
        except Exception as error:
            self._on_rollback()
            if len(taken) == 1:
                self._transaction([Refused(taken[0].record, error)])
                return
            for one in taken:
                self._settle([one])

    def _tell(self) -> None:
        """Say what was settled, where an error can no longer be taken for a record's."""
        settled, self._settled = self._settled, []
        for one in settled:
            if self._on_taken is not None:
                self._on_taken(*one)

    def _transaction(self, taken: Sequence[Taken]) -> None:
        began_ns = time.time_ns()
        letters: list[Message] = []
        arrived: list[Arrived] = []
        offsets: dict[TopicPartition, int] = {}
        for one in taken:
            offsets[TopicPartition(one.record.topic, one.record.partition)] = one.record.offset + 1
            if isinstance(one, Arrived):
                arrived.append(one)
            else:
                letters.append(dead_letter_message(one.record, one.error, self._stage))
        with self._engine.begin() as connection:
            self._lease.renew(connection)
            events = self._apply(connection, arrived) if arrived else ()
            enqueue_messages(connection, self._name, [*map(encode, events), *letters])
            store_offsets(connection, self._name, offsets)
        self._renewed()
        if self._on_taken is not None:
            self._settled.append((taken, began_ns, time.time_ns()))
        self._report = StatefulReport(
            consumed=self._report.consumed + len(taken),
            produced=self._report.produced + len(events),
            dead_letters=self._report.dead_letters + len(letters),
            seconds=self._report.seconds,
        )
