"""One event in, rows out: what the read model keeps of each type. Pure, but for `received_ms`."""

import json
from collections.abc import Callable

import numpy as np

from console.snapshots import Rows, action_rows, alert_rows, decision_rows, label_rows
from console.steering_rows import (
    chart_rows,
    effect_rows,
    judgement_rows,
    risk_rows,
    run_to_run_rows,
    switch_rows,
    virtual_rows,
)
from console.storable import check_storable
from console.times import LATEST_MS
from console.upsert import Row
from contracts.errors import DataError, TraceError
from contracts.events import (
    Action,
    ActionEffect,
    Alert,
    AlertDecision,
    AutomationSwitch,
    ChartPoint,
    DeadLetter,
    EquipmentState,
    Event,
    Label,
    Metrology,
    Prediction,
    ProcessEvent,
    ReviewImage,
    Risk,
    RunToRun,
    Trace,
    TraceJudgement,
    VirtualMetrology,
    WaferMap,
)
from contracts.recipe_steps import recipe_steps_of
from contracts.records import Record
from contracts.wafer_map import FAIL, PASS, check_grid

__all__ = ["rows_of"]

# Beyond this a trace is not drawn but abused: 60 variables for 20 minutes at 10 Hz fit ten times.
_MAX_TRACE_VALUES = 8_000_000
# Recipes have a handful; a number that changes with every sample is no step.
_MOST_RECIPE_STEPS = 100


def rows_of(event: Event, record: Record) -> Rows:
    """What to store of one event.

    Raises:
        DataError: the event contradicts itself (an array that is no map, say), or has names,
            numbers or a time that nothing can show.
    """
    if not 0 <= event.time_ms <= LATEST_MS:
        raise DataError(f"{event.ce_type} {event.event_id} is of no time: {event.time_ms} ms")
    handler = _HANDLERS.get(type(event))
    rows = handler(event, record) if handler else []
    for table, row in rows:
        check_storable(table, row)
    return rows


def _wafer_row(
    event: ProcessEvent | WaferMap | Prediction | Metrology | ReviewImage | Risk,
    record: Record,
    product: str = "",
) -> tuple[str, Row]:
    return "wafers", {
        "site": event.site,
        "substrate_id": event.substrate_id,
        "lot_id": event.lot_id,
        "product": product,
        "slot": event.slot,
        "fab_ms": event.time_ms,
        "received_ms": record.timestamp_ms,
    }


def _process(event: ProcessEvent, record: Record) -> Rows:
    started = event.phase == "started"
    return [
        _wafer_row(event, record, event.product),
        (
            "steps",
            {
                "site": event.site,
                "substrate_id": event.substrate_id,
                "sequence": event.sequence,
                "step": event.step,
                "module": event.key,
                "recipe_id": event.recipe_id,
                "process_job_id": event.process_job_id,
                "started_ms": event.time_ms if started else None,
                "completed_ms": None if started else event.time_ms,
            },
        ),
    ]


def _wafer_map(event: WaferMap, record: Record) -> Rows:
    grid = check_grid(event.grid.numpy())
    return [
        _wafer_row(event, record, event.product),
        (
            "wafer_maps",
            {
                "site": event.site,
                "substrate_id": event.substrate_id,
                "event_id": event.event_id,
                "time_ms": event.time_ms,
                "received_ms": record.timestamp_ms,
                "rows": grid.shape[0],
                "columns": grid.shape[1],
                "grid": event.grid.data,
                "good": int(np.count_nonzero(grid == PASS)),
                "bad": int(np.count_nonzero(grid == FAIL)),
                "source": event.source[:200],
            },
        ),
    ]


def _prediction(event: Prediction, record: Record) -> Rows:
    if event.input_type != WaferMap.ce_type:
        return []
    probabilities = dict(zip(event.labels, event.probabilities, strict=False))
    # Without a class 'None' of its own, no pattern is as sure as the likeliest pattern is unlikely.
    none = probabilities.get("None", 1.0 - max(event.probabilities, default=0.0))
    heatmap = event.heatmap.numpy() if event.heatmap is not None else None
    if heatmap is not None and (heatmap.ndim != 2 or heatmap.dtype != np.uint8):
        heatmap = None
    embedding = event.embedding.numpy() if event.embedding is not None else None
    return [
        _wafer_row(event, record),
        (
            "predictions",
            {
                "site": event.site,
                "substrate_id": event.substrate_id,
                "event_id": event.event_id,
                "time_ms": event.time_ms,
                "version_rank": int(event.model_version) if event.model_version.isdigit() else 0,
                "pattern": " + ".join(event.predicted),
                "predicted": json.dumps(event.predicted),
                "probability": min(
                    (probabilities.get(label, none) for label in event.predicted), default=none
                ),
                "probabilities": json.dumps(probabilities),
                "heatmap_rows": heatmap.shape[0] if heatmap is not None else 0,
                "heatmap_columns": heatmap.shape[1] if heatmap is not None else 0,
                "heatmap": heatmap.tobytes() if heatmap is not None else None,
                # Half precision is plenty for "most similar", at half the disk.
                "embedding": None if embedding is None else embedding.astype("<f2").tobytes(),
                "novelty": event.novelty,
                "model": event.model_name,
                "model_version": event.model_version,
                "model_sha256": event.model_sha256,
                "provider": event.provider,
            },
        ),
    ]


def _metrology(event: Metrology, record: Record) -> Rows:
    values = np.asarray(event.values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return [_wafer_row(event, record)]
    return [
        _wafer_row(event, record),
        (
            "metrology",
            {
                "event_id": event.event_id,
                "site": event.site,
                "substrate_id": event.substrate_id,
                "time_ms": event.time_ms,
                "step": event.step,
                "equipment_id": event.equipment_id,
                "parameter": event.parameter,
                "sites": int(values.size),
                "mean": float(values.mean()),
                "low": float(values.min()),
                "high": float(values.max()),
            },
        ),
    ]


def _review_image(event: ReviewImage, record: Record) -> Rows:
    return [
        _wafer_row(event, record),
        (
            "review_images",
            {
                "event_id": event.event_id,
                "site": event.site,
                "substrate_id": event.substrate_id,
                "time_ms": event.time_ms,
                "step": event.step,
                "x_mm": event.x_mm,
                "y_mm": event.y_mm,
                "pixel_size_nm": event.pixel_size_nm,
                "png": event.png,
            },
        ),
    ]


def _trace(event: Trace, record: Record) -> Rows:
    values = event.values.numpy()
    if values.ndim != 2 or values.shape[1] != len(event.variables) or values.dtype != np.float32:
        raise TraceError(
            f"trace {event.event_id} is {values.shape} {values.dtype} with"
            f" {len(event.variables)} variables; it must be (samples, variables) float32"
        )
    if values.size > _MAX_TRACE_VALUES:
        raise TraceError(f"trace {event.event_id} has {values.size} values; at most 8 million")
    return [
        (
            "traces",
            {
                "event_id": event.event_id,
                "site": event.site,
                "module": event.key,
                "recipe_id": event.recipe_id,
                "step": event.step,
                "substrate_id": event.substrate_id,
                "time_ms": event.time_ms,
                "variables": json.dumps(event.variables),
                "sample_period_ms": event.sample_period_ms,
                "samples": values.shape[0],
                "data": event.values.data,
                "recipe_steps": _recipe_steps(event, values.shape[0]),
            },
        )
    ]


def _recipe_steps(event: Trace, samples: int) -> str | None:
    """Where each recipe step begins, as `console_traces.recipe_steps`."""
    steps = recipe_steps_of(event, samples)
    if steps is None:
        return None
    begins = np.flatnonzero(np.diff(steps.astype(np.int16), prepend=-1))[:_MOST_RECIPE_STEPS]
    return json.dumps([[int(row), int(steps[row])] for row in begins])


def _equipment_state(event: EquipmentState, record: Record) -> Rows:
    state = {
        "site": event.site,
        "module": event.key,
        "state": event.state,
        "inhibited": int(event.inhibited),
        "reason": event.reason,
        "time_ms": event.time_ms,
        "event_id": event.event_id,
    }
    return [("modules", state | {"kind": event.kind}), ("module_states", state)]


def _dead_letter(event: DeadLetter, record: Record) -> Rows:
    return [
        (
            "dead_letters",
            {
                "event_id": event.event_id,
                "site": event.site,
                "time_ms": event.time_ms,
                "source_topic": event.source_topic[:200],
                "source_partition": event.source_partition,
                "source_offset": event.source_offset,
                "size_bytes": event.value_bytes,
                "error": event.error[:100],
                "reason": event.reason,
                "stage": event.stage[:64],
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "replayed_by": "",
            },
        )
    ]


_HANDLERS: dict[type[Event], Callable[..., Rows]] = {
    Action: lambda event, record: action_rows(event, record.timestamp_ms),
    ActionEffect: lambda event, record: effect_rows(event, record.timestamp_ms),
    Alert: lambda event, record: alert_rows(event, record.timestamp_ms),
    AlertDecision: lambda event, record: decision_rows(event, record.timestamp_ms),
    AutomationSwitch: lambda event, record: switch_rows(event, record.timestamp_ms),
    ChartPoint: lambda event, record: chart_rows(event),
    DeadLetter: _dead_letter,
    EquipmentState: _equipment_state,
    Label: lambda event, record: label_rows(event),
    Metrology: _metrology,
    Prediction: _prediction,
    ProcessEvent: _process,
    ReviewImage: _review_image,
    Risk: lambda event, record: [_wafer_row(event, record), *risk_rows(event)],
    RunToRun: lambda event, record: run_to_run_rows(event),
    Trace: _trace,
    TraceJudgement: lambda event, record: judgement_rows(event),
    VirtualMetrology: lambda event, record: virtual_rows(event),
    WaferMap: _wafer_map,
}
