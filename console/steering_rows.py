"""Rows of what the controller says besides alerts and actions, and of the switch over it."""

import json
import math

from console.snapshots import Rows, timeline_row
from contracts.errors import DataError
from contracts.events import (
    ActionEffect,
    AutomationSwitch,
    ChartPoint,
    Event,
    Risk,
    RunToRun,
    TraceJudgement,
    VirtualMetrology,
)

__all__ = [
    "chart_rows",
    "effect_rows",
    "judgement_rows",
    "risk_rows",
    "run_to_run_rows",
    "switch_rows",
    "virtual_rows",
]


def _check_finite(event: Event, *values: float) -> None:
    # Neither database keeps NaN beside numbers, and no chart can draw it.
    if not all(map(math.isfinite, values)):
        raise DataError(f"{event.ce_type} {event.event_id} has a value that is no number")


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def risk_rows(event: Risk) -> Rows:
    """The risk after one step, and the wafer's latest.

    Raises:
        DataError: a value is no number, or there are not as many probabilities as patterns.
    """
    _check_finite(event, event.any_pattern, event.expected_loss, *event.probabilities)
    if len(event.patterns) != len(event.probabilities):
        raise DataError(
            f"risk {event.event_id} has {len(event.patterns)} patterns and"
            f" {len(event.probabilities)} probabilities; it must have one for each"
        )
    ranked = sorted(
        zip(event.patterns, event.probabilities, strict=True), key=lambda one: (-one[1], one[0])
    )
    row = {
        "site": event.site,
        "substrate_id": event.substrate_id,
        "sequence": event.sequence,
        "event_id": event.event_id,
        "lot_id": event.lot_id,
        "slot": event.slot,
        "time_ms": event.time_ms,
        "step": event.step,
        "any_pattern": event.any_pattern,
        "expected_loss": event.expected_loss,
        "pattern": ranked[0][0] if ranked else "",
        "probabilities": json.dumps(dict(ranked)),
        "suspects": json.dumps(event.suspects),
    }
    return [("risks", row), ("wafer_risks", dict(row))]


def chart_rows(event: ChartPoint) -> Rows:
    """A point, and its chart as it stands after it.

    Raises:
        DataError: a value is no number.
    """
    parts = (one.value for one in event.contributions)
    _check_finite(event, event.value, event.center, event.sigma, *parts)
    shared = {
        "site": event.site,
        "chart_id": event.chart_id,
        "event_id": event.event_id,
        "time_ms": event.time_ms,
        "value": event.value,
        "center": event.center,
        "lower": _known(event.lower),
        "upper": _known(event.upper),
        "sigma": event.sigma,
        "rules": json.dumps(event.rules),
        "phase": event.phase,
        "points": event.points,
        "contributions": json.dumps([[one.variable, one.value] for one in event.contributions]),
    }
    return [
        (
            "charts",
            shared
            | {
                "chart": event.chart,
                "module": event.key,
                "step": event.step,
                "recipe_id": event.recipe_id,
                "parameter": event.parameter,
                "enabled": json.dumps(event.enabled),
                "arl0": _known(event.arl0),
                "arl1": _known(event.arl1),
                "cp": _known(event.cp),
                "cpk": _known(event.cpk),
                "cpk_low": _known(event.cpk_low),
                "cpk_high": _known(event.cpk_high),
                "out_ms": event.time_ms if event.rules else 0,
            },
        ),
        (
            "chart_points",
            shared | {"lot_id": event.lot_id, "substrates": json.dumps(event.substrates)},
        ),
    ]


def virtual_rows(event: VirtualMetrology) -> Rows:
    """A measurement foretold.

    Raises:
        DataError: a value is no number.
    """
    _check_finite(event, event.predicted, event.low, event.high, event.coverage)
    return [
        (
            "virtual_metrology",
            {
                "event_id": event.event_id,
                "site": event.site,
                "module": event.key,
                "recipe_id": event.recipe_id,
                "step": event.step,
                "parameter": event.parameter,
                "lot_id": event.lot_id,
                "substrate_id": event.substrate_id,
                "time_ms": event.time_ms,
                "predicted": event.predicted,
                "low": event.low,
                "high": event.high,
                "coverage": event.coverage,
                "unlike": int(event.unlike),
                "learned": event.learned,
                "model": event.model_name,
            },
        )
    ]


def judgement_rows(event: TraceJudgement) -> Rows:
    """What a registered model said of a trace."""
    return [
        (
            "judgements",
            {
                "event_id": event.event_id,
                "site": event.site,
                "module": event.key,
                "recipe_id": event.recipe_id,
                "step": event.step,
                "lot_id": event.lot_id,
                "substrate_id": event.substrate_id,
                "time_ms": event.time_ms,
                "task": event.task,
                "score": event.score,
                "reason": event.reason,
                "contributions": json.dumps(
                    [[one.variable, one.value] for one in event.contributions]
                ),
                "troubles": json.dumps(event.troubles),
                "model": event.model_name,
                "model_version": event.model_version,
            },
        )
    ]


def run_to_run_rows(event: RunToRun) -> Rows:
    """One run of a thread, and the thread as it stands after it.

    Raises:
        DataError: a value is no number.
    """
    _check_finite(
        event,
        event.target,
        event.measured,
        event.disturbance,
        event.drift,
        event.set_point,
        event.recommended,
        event.gain,
        event.weight,
    )
    run = {
        "site": event.site,
        "thread": event.thread,
        "event_id": event.event_id,
        "time_ms": event.time_ms,
        "target": event.target,
        "measured": event.measured,
        "virtual": int(event.virtual),
        "disturbance": event.disturbance,
        "drift": event.drift,
        "set_point": event.set_point,
        "recommended": event.recommended,
        "gain": event.gain,
        "gain_ratio": _known(event.gain_ratio),
        "weight": event.weight,
        "runs": event.runs,
        "status": event.status,
        "reason": event.reason,
    }
    thread = run | {
        "product": event.product,
        "module": event.key,
        "recipe_id": event.recipe_id,
        "step": event.step,
        "output": event.output,
        "parameter": event.parameter,
    }
    return [("r2r_threads", thread), ("r2r_runs", run)]


def effect_rows(event: ActionEffect, received_ms: int) -> Rows:
    """Whether an action helped, and a line of its alert's timeline.

    Raises:
        DataError: a value is no number.
    """
    _check_finite(event, event.before, event.after)
    return [
        (
            "effects",
            {
                "action_id": event.action_id,
                "event_id": event.event_id,
                "time_ms": event.time_ms,
                "verdict": event.verdict,
                "measure": event.measure,
                "before": event.before,
                "after": event.after,
                "wafers": event.wafers,
                "consequence": event.consequence,
                "evidence": json.dumps(event.evidence),
            },
        ),
        timeline_row(
            event,
            received_ms,
            f"effect.{event.verdict}",
            event.alert_id,
            action_id=event.action_id,
            detail={"consequence": event.consequence},
        ),
    ]


def switch_rows(event: AutomationSwitch, received_ms: int) -> Rows:
    """Where the switch stands, and a line of the history of it."""
    return [
        (
            "automation",
            {
                "site": event.site,
                "automatic": int(event.automatic),
                "by": event.by,
                "reason": event.reason,
                "time_ms": event.time_ms,
                "event_id": event.event_id,
            },
        ),
        timeline_row(
            event,
            received_ms,
            "automation.on" if event.automatic else "automation.off",
            "",
            by=event.by,
            comment=event.reason,
        ),
    ]
