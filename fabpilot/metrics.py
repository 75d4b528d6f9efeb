"""What each kind of process shows to Prometheus; docs/deploy.md lists the names."""

import time
from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts.errors import DataError
from contracts.events import (
    NOVELTY_LIMIT,
    Action,
    Alert,
    ChartPoint,
    Event,
    Prediction,
    TraceJudgement,
    VirtualMetrology,
)
from contracts.ids import trace_id
from contracts.records import TopicPartition
from fabpilot.monitor import Monitor
from streaming.database import read_only
from streaming.log import Log
from streaming.offsets import load_offsets
from streaming.outbox import waiting
from streaming.pipeline import Settled

__all__ = ["ControllerMetrics", "FabMetrics", "ProcessorMetrics"]

_log = structlog.get_logger(__name__)

# From a commit that finds its record waiting (10 ms) to an outage of ten minutes.
_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
# One map through a small network on the CPU, to a whole batch through a large one.
_SCORING_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# A batch takes seconds at the very most; what is in hand longer hangs.
_HANGS_AFTER_S = 120.0

Scored = Sequence[Sequence[Event] | DataError]


class _LoopMetrics:
    """What every loop over the log shows, whatever it makes of the records."""

    def __init__(self, registry: CollectorRegistry, site: str, group: str) -> None:
        names, self._place = ("site", "group"), (site, group)
        self._consumed = Counter(
            "fabpilot_records_consumed",
            "Records read and settled, dead letters included.",
            names,
            registry=registry,
        ).labels(*self._place)
        self._produced = Counter(
            "fabpilot_events_produced", "Events published.", names, registry=registry
        ).labels(*self._place)
        self._dead = Counter(
            "fabpilot_dead_letters",
            "Records that could not be processed.",
            names,
            registry=registry,
        ).labels(*self._place)
        self._lag = Gauge(
            "fabpilot_group_lag_records",
            "Records that the whole group has not settled yet; on Kafka an upper bound, for it"
            " counts the markers of transactions.",
            (*names, "topic", "partition"),
            registry=registry,
        )
        self._latency = Histogram(
            "fabpilot_record_latency_seconds",
            "From when the log took a record to when what follows from it was committed.",
            names,
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        ).labels(*self._place)
        self._queue = Gauge(
            "fabpilot_queue_records",
            "What is in hand: polled and not committed, or in the outbox and not published.",
            names,
            registry=registry,
        ).labels(*self._place)

    def _settled(self, consumed: int, produced: int, dead: int, ages_s: Iterable[float]) -> None:
        self._consumed.inc(consumed)
        self._produced.inc(produced)
        self._dead.inc(dead)
        for age in ages_s:
            # Two clocks that disagree must not make a negative latency of a small one.
            self._latency.observe(max(0.0, age))

    def _show_lag(self, done: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> None:
        for place, end in ends.items():
            labels = (*self._place, place.topic, str(place.partition))
            self._lag.labels(*labels).set(max(0, end - done.get(place, 0)))


class ProcessorMetrics(_LoopMetrics):
    """A processor: throughput, latency, lag of its group, what the model said.

    Args:
        monitor: shows it.
        group: the consumer group.
        site: the fab.
    """

    def __init__(self, monitor: Monitor, group: str, site: str) -> None:
        super().__init__(monitor.registry, site, group)
        registry = monitor.registry
        self._monitor = monitor
        self._since: float | None = None
        self._scoring = Histogram(
            "fabpilot_scoring_seconds",
            "How long the model took for a batch.",
            ("site",),
            buckets=_SCORING_BUCKETS,
            registry=registry,
        ).labels(site)
        self._batch = Histogram(
            "fabpilot_scoring_batch_records",
            "Records of a batch.",
            ("site",),
            buckets=_BATCH_BUCKETS,
            registry=registry,
        ).labels(site)
        self._site = site
        self._predictions = Counter(
            "fabpilot_predictions",
            "Wafers by the pattern that the model saw; one with several counts for each.",
            ("site", "pattern"),
            registry=registry,
        )
        self._novel = Counter(
            "fabpilot_novel_wafers",
            "Wafers unlike what the model learned; one known wafer in a hundred is.",
            ("site",),
            registry=registry,
        ).labels(site)
        self._judgements = Counter(
            "fabpilot_judgements",
            "Traces that a served model judged: 'beyond' are scores of faults over the model's"
            " limit, 'unjudged' those about which it could say nothing.",
            ("site", "task", "model", "version", "verdict"),
            registry=registry,
        )
        self._judged_at = Gauge(
            "fabpilot_last_judgement_timestamp_seconds",
            "When a served model of traces last judged one.",
            ("site", "task"),
            registry=registry,
        )
        monitor.check(self._hanging)

    def settled(self, settled: Settled) -> None:
        """Take in what a commit settled."""
        self._since = None
        self._settled(settled.consumed, settled.produced, settled.dead_letters, settled.ages_s)

    def turned(self, in_hand: int) -> None:
        """The loop turned, with so many records in hand."""
        if not in_hand:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        self._queue.set(in_hand)
        self._monitor.beat()

    def _hanging(self) -> str:
        since = self._since
        if since is None or time.monotonic() - since < _HANGS_AFTER_S:
            return ""
        return f"records have been in hand for {time.monotonic() - since:.0f} s without a commit"

    def look(self, log: Log, group: str, topics: Sequence[str]) -> None:
        """Take in how far the group is behind."""
        self._show_lag(dict(log.committed(group, topics)), log.ends(topics))

    def watched(
        self, handle: Callable[[Sequence[Event]], Scored]
    ) -> Callable[[Sequence[Event]], Scored]:
        """`handle`, with what it does counted and suspicious wafers said in the log."""

        def watching(events: Sequence[Event]) -> Scored:
            began = time.perf_counter()
            answers = handle(events)
            self._scoring.observe(time.perf_counter() - began)
            self._batch.observe(len(events))
            for answer in answers:
                if not isinstance(answer, DataError):
                    self._said(answer)
            return answers

        return watching

    def _said(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, TraceJudgement | VirtualMetrology):
                self._judged(event)
            if not isinstance(event, Prediction):
                continue
            for pattern in event.predicted:
                self._predictions.labels(self._site, pattern).inc()
            novel = event.novelty is not None and event.novelty >= NOVELTY_LIMIT
            if novel:
                self._novel.inc()
            if novel or event.predicted != ("None",):
                # A line a wafer only where there is something to follow up.
                _log.info(
                    "wafer suspicious",
                    trace_id=trace_id(event.trace_root),
                    substrate=event.substrate_id,
                    patterns=event.predicted,
                    novel=novel,
                    model=event.model_version,
                )

    def _judged(self, event: TraceJudgement | VirtualMetrology) -> None:
        task = event.task if isinstance(event, TraceJudgement) else "metrology"
        if isinstance(event, VirtualMetrology):
            verdict = "unlike" if event.unlike else "judged"
        elif event.score is None:
            verdict = "unjudged"
        else:
            verdict = "beyond" if task == "fault" and event.score > 1.0 else "judged"
        names = (self._site, task, event.model_name, event.model_version, verdict)
        self._judgements.labels(*names).inc()
        self._judged_at.labels(self._site, task).set(time.time())


class ControllerMetrics(_LoopMetrics):
    """A controller: throughput, latency, lag, alerts, actions, who leads.

    Args:
        monitor: shows it.
        name: of its loop: of its offsets and its outbox.
        site: the fab.
    """

    def __init__(self, monitor: Monitor, name: str, site: str) -> None:
        super().__init__(monitor.registry, site, name)
        self._monitor = monitor
        self._site, self._name = site, name
        registry = monitor.registry
        self._alerts = Counter(
            "fabpilot_alerts",
            "Alerts raised.",
            ("site", "kind", "severity"),
            registry=registry,
        )
        self._actions = Counter(
            "fabpilot_actions",
            "Actions by the stage they came to.",
            ("site", "kind", "status"),
            registry=registry,
        )
        self._charted = Counter(
            "fabpilot_judgements_charted",
            "Judgements of served fault models that the controller charted: 'out' where the chart"
            " says that too many runs are beyond the limit.",
            ("site", "model", "state"),
            registry=registry,
        )
        self._charted_at = Gauge(
            "fabpilot_last_charted_timestamp_seconds",
            "When the controller last charted a judgement.",
            ("site",),
            registry=registry,
        )
        self._leads = Gauge(
            "fabpilot_leader",
            "1 if this process holds the site's lease, 0 if it stands by.",
            ("site",),
            registry=registry,
        ).labels(site)

    def turned(self, holding: bool) -> None:
        """The loop turned."""
        self._leads.set(holding)
        self._monitor.beat()

    def settled(self, ages_s: Sequence[float], dead: int, events: Sequence[Event]) -> None:
        """Take in what a transaction settled: ages of its records and the events that followed."""
        self._settled(len(ages_s) + dead, len(events), dead, ages_s)
        for event in events:
            if isinstance(event, Alert) and event.revision == 1:
                self._alerts.labels(self._site, event.kind, event.severity).inc()
                _log.info(
                    "alert raised",
                    trace_id=trace_id(event.trace_root),
                    alert=event.alert_id,
                    kind=event.kind,
                    pattern=event.pattern,
                    module=event.suspect_module,
                    # The wafers it stands on, as the fab and the processor named them.
                    trace_ids=[trace_id(wafer) for wafer in event.affected],
                )
            elif isinstance(event, ChartPoint) and event.chart == "score":
                state = "out" if event.rules else "in"
                self._charted.labels(self._site, event.parameter, state).inc()
                self._charted_at.labels(self._site).set(time.time())
            elif isinstance(event, Action):
                self._actions.labels(self._site, event.kind, event.status).inc()
                _log.info(
                    "action",
                    trace_id=trace_id(event.trace_root),
                    action=event.action_id,
                    alert=event.alert_id,
                    kind=event.kind,
                    status=event.status,
                    by=event.by,
                )

    def look(self, log: Log, engine: sa.Engine, topics: Sequence[str]) -> None:
        """Take in how far the loop is behind and what waits to be published."""
        with read_only(engine).begin() as connection:
            done = load_offsets(connection, self._name)
            self._queue.set(waiting(connection, self._name))
        self._show_lag(dict(done), log.ends(topics))


class FabMetrics:
    """The synthetic fab: how many wafers it has made. Call `made` with each count.

    Args:
        monitor: shows it.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._wafers = Gauge(
            "fabpilot_fab_wafers",
            "Wafers tested since the fab was new.",
            ("site",),
            registry=monitor.registry,
        )

    def made(self, site: str, wafers: int) -> None:
        """The fab of a site has published what it did, `wafers` tested in all."""
        self._wafers.labels(site).set(wafers)
        self._monitor.beat()
