"""The synthetic fab on the log: publishes what happens, obeys what is approved, survives a kill.

The fab is deterministic, so its place is one number, the tick, that the log remembers together with
the events of that tick. After a crash the fab is simulated again to that tick without drawing its
events, with the actions it had obeyed, and goes on as if nothing had been.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from contracts.clock import Clock, SystemClock
from contracts.codec import decode, encode
from contracts.errors import ConfigError, DataError, GuardRailError
from contracts.events import Action, Event, WaferMap
from contracts.ids import trace_id
from contracts.records import Message
from contracts.topics import Stream, topic_name
from fab_sim import Fab, Scenario, TrueExcursion
from fabpilot.appending import Appended, SourceAppender
from streaming.log import Log, Reader

__all__ = ["FabReport", "FabRunner", "Identity"]

_log = structlog.get_logger(__name__)

# Events are appended together up to this many, or when this much time has passed, whichever first:
# few commits at full speed, no visible delay at demo speed.
_APPEND_EVENTS, _APPEND_S = 500, 0.1
# How often approved actions are looked for.
_ACTIONS_EVERY_S = 0.1
_HISTORY_BATCH = 500


class Identity(msgspec.Struct, frozen=True):
    """What decides everything a fab does. Kept beside the log, so that the next start continues it.

    Attributes:
        scenario: its content, as JSON.
        start_ms: the fab's clock at its first tick.
    """

    site: str
    scenario: str
    seed: int
    start_ms: int


class FabReport(msgspec.Struct, frozen=True):
    """What a fab has done since it was new.

    Attributes:
        wafers: tested ones, each with its map on the log.
        events: published by this run.
        tick: steps made.
        now_ms: the fab's clock.
        seconds: wall time of this run; `wafers_per_s` is this run's alone.
    """

    wafers: int
    events: int
    tick: int
    now_ms: int
    seconds: float
    wafers_per_s: float


class FabRunner:
    """Runs one site's fab.

    Args:
        scenario: what the fab has and what goes wrong.
        log: with the site's topics.
        site: its name.
        seed: instead of the scenario's own.
        folder: where the fab's identity is kept.
        start_ms: a new fab's clock at the start; None for now.
        clock: tells what time it is now.
        on_sent: called after every append with its events, each with when it was made, and with
            when they were on the log: nanoseconds since the epoch, by this machine's clock.
    """

    def __init__(
        self,
        scenario: Scenario,
        log: Log,
        *,
        site: str,
        seed: int | None,
        folder: Path,
        start_ms: int | None = None,
        clock: Clock | None = None,
        on_sent: Callable[[Sequence[tuple[Event, int]], int], None] | None = None,
    ) -> None:
        self._on_sent = on_sent
        self._made: list[tuple[Event, int]] = []
        self._scenario = scenario
        self._log = log
        self._site = site
        self._seed = scenario.seed if seed is None else seed
        self._folder = folder
        self._start_ms = start_ms
        self._clock = clock or SystemClock()
        self._actions_topic = topic_name(site, Stream.ACTIONS)
        self._source = f"fab.{site}"
        self._appender = SourceAppender(log, self._source, threading.Event())
        self._pending: list[Message] = []
        self._gave_up = False
        self._events = 0
        self._fab: Fab | None = None

    def truth(self) -> tuple[TrueExcursion, ...]:
        """What really went wrong so far."""
        return self._fab.truth() if self._fab else ()

    def run(
        self,
        stop: threading.Event,
        *,
        wafers: int | None = None,
        speed: float | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> FabReport:
        """Run until `stop`, until `wafers` are tested, or until the scenario ends.

        Args:
            stop: ends the run; everything simulated by then is published, if the log is there.
            wafers: total to reach, counting those of earlier runs.
            speed: fab seconds per wall second; None goes as fast as it can.
            on_progress: called with the number of tested wafers after every append.

        Waits while the log is away.

        Raises:
            ConfigError: the log holds another fab's events for this site, or another process
                runs this one.
        """
        began = time.monotonic()
        self._appender = SourceAppender(self._log, self._source, stop)
        resumed = self._appender.patiently(self._resume)
        if resumed is None:
            return FabReport(0, 0, 0, 0, time.monotonic() - began, 0.0)
        fab, reader = resumed
        done_before = fab.wafers_done
        try:
            fab_began = fab.now_ms
            next_actions = 0.0
            last_append = began
            while not stop.is_set() and (wafers is None or fab.wafers_done < wafers):
                now = time.monotonic()
                if now >= next_actions:
                    self._hand_over(fab, reader)
                    next_actions = now + _ACTIONS_EVERY_S
                events = fab.step()
                if not events:
                    break
                self._pending += [encode(event) for event in events]
                if self._on_sent is not None:
                    made_ns = time.time_ns()
                    self._made += [(event, made_ns) for event in events]
                for event in events:
                    if isinstance(event, WaferMap):
                        # Where a wafer's way through the logs of the processes begins.
                        _log.info(
                            "wafer tested",
                            trace_id=trace_id(event.trace_root),
                            substrate=event.substrate_id,
                            lot=event.lot_id,
                        )
                if len(self._pending) >= _APPEND_EVENTS or now - last_append >= _APPEND_S:
                    self._append(fab, on_progress)
                    last_append = now
                if speed is not None:
                    due = began + (fab.now_ms - fab_began) / 1000 / speed
                    self._wait(stop, due, fab, reader, on_progress)
            self._append(fab, on_progress)
        finally:
            reader.close()
        seconds = time.monotonic() - began
        return FabReport(
            wafers=fab.wafers_done,
            events=self._events,
            tick=fab.tick,
            now_ms=fab.now_ms,
            seconds=seconds,
            wafers_per_s=(fab.wafers_done - done_before) / seconds if seconds else 0.0,
        )

    def _wait(
        self,
        stop: threading.Event,
        due: float,
        fab: Fab,
        reader: Reader,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        """Wait for the wall clock, keeping the log current and an ear open for actions."""
        while (left := due - time.monotonic()) > 0 and not stop.is_set():
            if left > _APPEND_S:
                self._append(fab, on_progress)
                self._hand_over(fab, reader)
            stop.wait(min(left, _ACTIONS_EVERY_S))

    def _append(self, fab: Fab, on_progress: Callable[[int], None] | None) -> None:
        if self._pending and not self._gave_up:
            done = self._appender.append(self._pending, fab.tick)
            if done is Appended.STOPPED:
                # The next run draws these events again, unless they have arrived after all.
                self._gave_up = True
                return
            if done is Appended.BEFORE:
                raise ConfigError(
                    f"another process runs the fab of site {self._site} on this log; stop it, or"
                    " give this one another --site"
                )
            self._events += len(self._pending)
            self._pending = []
            if self._on_sent is not None:
                self._on_sent(self._made, time.time_ns())
                self._made = []
        if on_progress is not None:
            on_progress(fab.wafers_done)

    def _hand_over(self, fab: Fab, reader: Reader) -> None:
        """Give the fab what was approved since the last look."""
        for record in self._appender.patiently(lambda: reader.poll(_HISTORY_BATCH, 0.0)) or ():
            try:
                action = decode(record.headers, record.value)
            except DataError as error:
                _log.warning("not an action", offset=record.offset, error=str(error))
                continue
            if isinstance(action, Action) and action.status == "approved":
                try:
                    fab.submit(action)
                except GuardRailError as error:
                    _log.warning("action refused", action=action.action_id, error=str(error))
                else:
                    _log.info("action taken over", action=action.action_id, by=action.by)

    def _resume(self) -> tuple[Fab, Reader]:
        """The fab as the log last saw it, and a reader of the actions it has not answered."""
        tick = self._log.position(self._source)
        identity = self._identity(new=tick is None)
        fab = Fab(self._scenario, site=self._site, seed=identity.seed, start_ms=identity.start_ms)
        self._fab = fab
        reader = self._log.reader([self._actions_topic], "beginning")
        if tick is None:
            return fab, reader
        ends = self._log.ends([self._actions_topic])
        answered: list[Action] = []
        approved: dict[str, Action] = {}
        while any(reader.positions().get(place, 0) < end for place, end in ends.items()):
            for record in reader.poll(_HISTORY_BATCH, 1.0):
                try:
                    action = decode(record.headers, record.value)
                except DataError:
                    continue
                if not isinstance(action, Action):
                    continue
                if action.status == "approved":
                    approved[action.action_id] = action
                elif action.status in ("applied", "failed"):
                    answered.append(action)
        _log.info("fab continues", site=self._site, tick=tick, actions=len(answered))
        fab.restore(tick, answered)
        for action_id in approved.keys() - {action.action_id for action in answered}:
            fab.submit(approved[action_id])
        return fab, reader

    def _identity(self, *, new: bool) -> Identity:
        """The identity on disk, or a new one; and a check that it is this fab's."""
        path = self._folder / f"fab.{self._site}.json"
        content = msgspec.json.encode(self._scenario).decode()
        if new:
            start_ms = self._clock.now_ms() if self._start_ms is None else self._start_ms
            identity = Identity(self._site, content, self._seed, start_ms)
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(msgspec.json.encode(identity))
            temporary.replace(path)
            return identity
        try:
            identity = msgspec.json.decode(path.read_bytes(), type=Identity)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(
                f"the log has events of site {self._site}, but {path} that says which fab made them"
                f" cannot be read ({error}); use another --site, or remove the log to start afresh"
            ) from error
        if (identity.scenario, identity.seed) != (content, self._seed):
            raise ConfigError(
                f"site {self._site} runs another scenario or seed already ({path});"
                " use another --site, or remove the log to start afresh"
            )
        return identity
