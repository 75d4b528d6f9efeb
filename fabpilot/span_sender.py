"""Sends spans beside the work: bounded, never waited for, and lost rather than in the way."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from fabpilot.spans import Span

__all__ = ["Exporter", "SpanSender"]

_log = structlog.get_logger(__name__)

# Eleven megabytes (docs/tracing.md): a collector that is away shall cost no more than that.
_QUEUE = 8192
# As OpenTelemetry's own batch processor sends at a time.
_BATCH = 512
# How long a span waits for others, at most.
_EVERY_S = 1.0
# After what was refused; so a collector that is away is not asked all the time.
_PAUSE_S = 5.0
# On the way out: the rest of the queue to a collector that answers. What is left after it is lost.
_FLUSH_S = 2.0


class Exporter(Protocol):
    """Where spans go."""

    def export(self, spans: Sequence[Span]) -> bool:
        """Send them; whether they arrived. May take seconds."""
        ...

    def close(self) -> None:
        """Give up what is under way. Called from another thread, once."""
        ...


class SpanSender:
    """A bounded queue of spans and the thread that empties it.

    Args:
        exporter: where they go.
        registry: of the process; shows what was sent, what was lost and what waits.
        queue: spans that may wait; the newest are lost when it is full.
    """

    def __init__(
        self, exporter: Exporter, registry: CollectorRegistry, *, queue: int = _QUEUE
    ) -> None:
        self._exporter = exporter
        self._room = queue
        self._waiting: deque[Span] = deque()
        # Wakes the thread; guards the queue's length.
        self._changed = threading.Condition()
        self._closed = False
        self._failing = False
        self._sent = Counter(
            "fabpilot_spans_sent", "Spans that a collector took.", registry=registry
        )
        self._lost = Counter(
            "fabpilot_spans_lost",
            "Spans that no collector took: 'full' queue, 'refused' or unanswered, 'error' of ours.",
            ("reason",),
            registry=registry,
        )
        for reason in ("full", "refused", "error"):
            self._lost.labels(reason)
        Gauge(
            "fabpilot_spans_queued", "Spans that wait to be sent.", registry=registry
        ).set_function(lambda: len(self._waiting))
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def offer(self, make: Callable[[], Iterable[Span]]) -> None:
        """Queue the spans that `make` gives, at once or not at all; never raises, never waits.

        Args:
            make: is run here. What it raises is said and counted: no span is worth a wafer.
        """
        try:
            spans = list(make())
        except Exception as error:
            self._lost.labels("error").inc()
            _log.error("spans could not be made", error=f"{type(error).__name__}: {error}")
            return
        with self._changed:
            fit = 0 if self._closed else max(0, self._room - len(self._waiting))
            self._waiting.extend(spans[:fit])
            if len(self._waiting) >= _BATCH:
                self._changed.notify()
        if len(spans) > fit:
            self._lost.labels("full").inc(len(spans) - fit)

    def close(self) -> None:
        """Send what waits, for a moment, and end. May be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify()
        self._thread.join(_FLUSH_S)
        self._exporter.close()
        if left := len(self._waiting):
            self._lost.labels("refused").inc(left)
            _log.warning("spans were not sent", spans=left)

    def _run(self) -> None:
        while True:
            batch = self._next()
            if not batch:
                return
            try:
                arrived = self._exporter.export(batch)
            except Exception as error:
                # A thread that ended would fill the queue for ever.
                _log.error("spans could not be sent", error=f"{type(error).__name__}: {error}")
                arrived = False
            self._note(len(batch), arrived)
            if not arrived and not self._pause():
                return

    def _next(self) -> list[Span]:
        """The next batch; empty once closed and all is sent."""
        with self._changed:
            while not self._closed and len(self._waiting) < _BATCH:
                # Woken early, or after a while with whatever there is.
                self._changed.wait(_EVERY_S)
                if self._waiting:
                    break
            return [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]

    def _pause(self) -> bool:
        """Wait after a failure; False if it is time to end, for nobody will take the rest."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, _PAUSE_S)
            return not self._closed

    def _note(self, count: int, arrived: bool) -> None:
        if arrived:
            self._sent.inc(count)
        else:
            self._lost.labels("refused").inc(count)
        if arrived == self._failing:
            self._failing = not arrived
            if arrived:
                _log.info("the collector takes spans again")
            else:
                _log.warning("the collector takes no spans; they are lost until it does")
