"""What a run of the whole loop achieved, from the log and the fab's hidden truth alone."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from contracts.events import Action, Alert, Prediction, WaferMap
from contracts.topics import Stream
from fab_sim import TrueExcursion
from fabpilot.reading import read_events
from streaming.log import Log

__all__ = ["DemoReport", "Latency", "judge_alerts", "judge_run"]


class Latency(msgspec.Struct, frozen=True):
    """From a map on the log to its prediction on the log, in milliseconds."""

    p50: float
    p99: float


class DemoReport(msgspec.Struct, frozen=True):
    """What a headless run achieved.

    Attributes:
        wafers: tested ones, each with its map on the log.
        predictions: on the log.
        unpredicted: wafers without a prediction; `doubled` those with more than one.
        alerts: distinct ones; an alert has revisions.
        actions: distinct ones proposed.
        wafers_per_s: from the first map to the last prediction, by the log's clock.
        true_excursions: those that began and of which at least one tested wafer shows the effect.
        detected_excursions: those whose module an alert names, raised after the onset.
        false_alerts: alerts that name a module or pattern no excursion explains.
    """

    site: str
    seed: int
    wafers: int
    predictions: int
    unpredicted: int
    doubled: int
    alerts: int
    actions: int
    dead_letters: int
    wafers_per_s: float
    latency_ms: Latency
    provider: str
    model_version: str
    true_excursions: int
    detected_excursions: int
    false_alerts: int
    seconds: float


def judge_run(
    log: Log, site: str, truth: Sequence[TrueExcursion], *, seed: int, seconds: float
) -> DemoReport:
    """Read a site's whole log and compare it with the truth.

    Args:
        log: with everything processed.
        site: whose topics to read.
        truth: what really went wrong.
        seed: of the fab, for the report.
        seconds: wall time of the run, for the report.
    """
    arrived: dict[str, int] = {}
    for record, event in read_events(log, site, Stream.WAFER_MAPS):
        if isinstance(event, WaferMap):
            arrived[event.event_id] = record.timestamp_ms
    waits: list[int] = []
    per_input: Counter[str] = Counter()
    last_ms, provider, version = 0, "", ""
    for record, event in read_events(log, site, Stream.PREDICTIONS):
        if isinstance(event, Prediction):
            per_input[event.input_id] += 1
            if event.input_id in arrived:
                waits.append(record.timestamp_ms - arrived[event.input_id])
            last_ms = max(last_ms, record.timestamp_ms)
            provider, version = event.provider, event.model_version
    alerts: dict[str, Alert] = {}
    for _, event in read_events(log, site, Stream.ALERTS):
        if isinstance(event, Alert):
            alerts[event.alert_id] = event
    actions = {
        event.action_id
        for _, event in read_events(log, site, Stream.ACTIONS)
        if isinstance(event, Action)
    }
    shown = [excursion for excursion in truth if excursion.affected]
    detected, false = judge_alerts(list(alerts.values()), shown)
    span_s = (last_ms - min(arrived.values(), default=last_ms)) / 1000
    return DemoReport(
        site=site,
        seed=seed,
        wafers=len(arrived),
        predictions=sum(per_input.values()),
        unpredicted=sum(per_input[input_id] == 0 for input_id in arrived),
        doubled=sum(count > 1 for count in per_input.values()),
        alerts=len(alerts),
        actions=len(actions),
        dead_letters=sum(1 for _ in read_events(log, site, Stream.DEAD_LETTERS)),
        wafers_per_s=len(arrived) / span_s if span_s > 0 else 0.0,
        latency_ms=Latency(*(_percentile(waits, share) for share in (50, 99))),
        provider=provider,
        model_version=version,
        true_excursions=len(shown),
        detected_excursions=detected,
        false_alerts=false,
        seconds=seconds,
    )


def judge_alerts(alerts: Sequence[Alert], truth: Sequence[TrueExcursion]) -> tuple[int, int]:
    """How many excursions were named, and how many alerts nothing explains.

    An alert names an excursion if it was raised after the onset and suspects its module. One that
    names no module is explained by an excursion of the same pattern, but names none. What the model
    stumbles over (unknown patterns, drift) names no excursion and is none of these.
    """
    named: set[str] = set()
    false = 0
    for alert in alerts:
        if alert.kind in ("unknown", "drift"):
            continue
        began = [e for e in truth if alert.time_ms >= e.onset_ms]
        hits = [e for e in began if e.module == alert.suspect_module]
        named.update(e.excursion_id for e in hits)
        same_pattern = any(e.pattern == alert.pattern for e in began)
        if not hits and not (alert.suspect_module == "" and same_pattern):
            false += 1
    return len(named), false


def _percentile(values: Sequence[int], share: float) -> float:
    return float(np.percentile(values, share)) if values else 0.0
