"""A small fab's worth of events for the console: two etchers, one of which goes wrong."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Engine, select

from console import tables
from contracts.arrays import Array
from contracts.events import (
    Action,
    Alert,
    Commonality,
    DeadLetter,
    EquipmentState,
    Event,
    Prediction,
    ProcessEvent,
    Trace,
    VariableShift,
    WaferMap,
)
from contracts.ids import derived_id
from contracts.records import Record
from contracts.topics import topic_name
from contracts.wafer_map import PATTERNS
from tests.console_steering import explained, steering_events
from tests.factories import NOON_MS, wafer_grid

SITE = "kr1"
ALERT_ID = derived_id("alert", "edge-ring")
ACTION_ID = derived_id("action", "inhibit")
MINUTE_MS = 60_000
SHA = "5f" * 32


@dataclass(frozen=True)
class Delivered:
    """An event as a loop hands it over."""

    record: Record
    event: Event


def delivered(events: list[Event], *, wall_ms: int = NOON_MS) -> list[Delivered]:
    """Events with records around them, each at its own offset."""
    return [
        Delivered(Record(topic_name(event.site, event.stream), 0, offset, wall_ms, b"", b""), event)
        for offset, event in enumerate(events)
    ]


def ring_grid(seed: int) -> np.ndarray:
    """A die grid (26, 26) uint8 with a failing edge ring."""
    grid = wafer_grid(26, 26, 0.03, seed)
    y, x = np.mgrid[:26, :26]
    rim = np.hypot((x + 0.5) / 26 - 0.5, (y + 0.5) / 26 - 0.5) > 0.43
    hit = np.random.default_rng(seed).random(grid.shape) < 0.8
    return np.where(rim & hit & (grid > 0), 2, grid).astype(np.uint8)


def ring_heatmap() -> np.ndarray:
    """(16, 16) uint8, hot at the edge."""
    y, x = np.mgrid[:16, :16]
    radius = np.hypot((x + 0.5) / 16 - 0.5, (y + 0.5) / 16 - 0.5)
    return (255 * np.clip(radius * 2, 0, 1) ** 4).astype(np.uint8)


def substrate(index: int) -> str:
    return f"L{index // 25 + 1:04d}.{index % 25 + 1:02d}"


def wafer_events(index: int, *, bad: bool, module: str) -> list[Event]:
    """One wafer: processed, traced, tested and judged."""
    time_ms = NOON_MS + index * 4 * MINUTE_MS
    lot, wafer = f"L{index // 25 + 1:04d}", substrate(index)
    place = {"site": SITE, "lot_id": lot, "substrate_id": wafer, "slot": index % 25 + 1}
    events: list[Event] = []
    for sequence, (step, equipment, chamber, recipe) in enumerate(
        (
            ("deposition", "CVD-02", "A", "OX-200"),
            ("etch", "ETCH-04", module, "ETCH-MAIN"),
            ("clean", "WET-01", "A", "SC1"),
        )
    ):
        for phase, shift in (("started", 0), ("completed", 90_000)):
            events.append(
                ProcessEvent(
                    event_id=f"{wafer}-{sequence}-{phase}",
                    time_ms=time_ms + sequence * 20_000 * 6 + shift,
                    phase=phase,
                    product="DRAM-1b",
                    carrier_id="FOUP-7",
                    equipment_id=equipment,
                    module_id=chamber,
                    process_job_id=f"PJ-{lot}",
                    recipe_id=recipe,
                    step=step,
                    sequence=sequence,
                    **place,
                )
            )
    rng = np.random.default_rng(index)
    ramp = np.clip(np.linspace(0, 6, 120), 0, 1)[:, None]
    noise = rng.normal(0, [[4, 0.05, 0.3, 0.8]], (120, 4))
    values = ramp * np.array([[800.0, 4.0, 60.0, 12.0]]) + noise
    if bad:
        values[40:, 3] += 14 + rng.normal(0, 1)
    events.append(
        Trace(
            event_id=f"trace-{wafer}",
            time_ms=time_ms + 60_000,
            equipment_id="ETCH-04",
            module_id=module,
            process_job_id=f"PJ-{lot}",
            recipe_id="ETCH-MAIN",
            step="etch",
            sequence=1,
            variables=("rf_power_w", "pressure_pa", "wall_temp_c", "rf_reflected_w"),
            sample_period_ms=500.0,
            values=Array.of(values.astype(np.float32)),
            recipe_steps=Array.of(np.repeat([1, 2, 3], [20, 80, 20]).astype(np.uint8)),
            **place,
        )
    )
    grid = ring_grid(index) if bad else wafer_grid(26, 26, 0.03, index)
    wafer_map = WaferMap(
        event_id=f"map-{wafer}",
        time_ms=time_ms + 30 * MINUTE_MS,
        product="DRAM-1b",
        grid=Array.of(grid),
        source="test",
        **place,
    )
    probabilities = [0.02 / 8] * len(PATTERNS)
    probabilities[PATTERNS.index("Edge-Ring" if bad else "None")] = 0.98
    embedding = rng.normal(0, 0.2, 32).astype(np.float32)
    embedding[0] = 3.0 if bad else -3.0
    events += [
        wafer_map,
        Prediction(
            event_id=Prediction.id_for(wafer_map.event_id, "wafer-map", "3"),
            time_ms=wafer_map.time_ms,
            input_id=wafer_map.event_id,
            input_type=WaferMap.ce_type,
            labels=PATTERNS,
            probabilities=tuple(probabilities),
            predicted=("Edge-Ring" if bad else "None",),
            heatmap=Array.of(ring_heatmap() if bad else np.zeros((16, 16), np.uint8)),
            embedding=Array.of(embedding),
            model_name="wafer-map",
            model_version="3",
            model_sha256=SHA,
            provider="CPUExecutionProvider",
            **place,
        ),
    ]
    return events


def module_states() -> list[Event]:
    """The first state of every module, and one that came and went."""
    modules = (
        ("CVD-02", "A", "deposition"),
        ("CVD-02", "B", "deposition"),
        ("ETCH-04", "A", "etch"),
        ("ETCH-04", "B", "etch"),
        ("ETCH-04", "C", "etch"),
        ("WET-01", "A", "clean"),
    )
    states: list[Event] = [
        EquipmentState(
            event_id=f"state-{equipment}-{module}",
            site=SITE,
            time_ms=NOON_MS - 60 * MINUTE_MS,
            equipment_id=equipment,
            module_id=module,
            kind=kind,
            state="productive",
        )
        for equipment, module, kind in modules
    ]
    for minutes, state, reason in ((-30, "scheduled_down", "PM"), (20, "standby", "")):
        states.append(
            EquipmentState(
                event_id=f"state-cvd-b-{minutes}",
                site=SITE,
                time_ms=NOON_MS + minutes * MINUTE_MS,
                equipment_id="CVD-02",
                module_id="B",
                kind="deposition",
                state=state,
                reason=reason,
            )
        )
    return states


def edge_ring_alert(wafers: int, *, revision: int = 2, **changed: object) -> Alert:
    """The alert about ETCH-04/B over the first `wafers` wafers of `fab_events`."""
    bad = tuple(substrate(index) for index in range(wafers) if index % 3 == 1)
    good = tuple(substrate(index) for index in range(wafers) if index % 3 != 1)
    fields: dict[str, object] = {
        "event_id": derived_id("alert", ALERT_ID, revision),
        "site": SITE,
        "time_ms": NOON_MS + wafers * 4 * MINUTE_MS,
        "alert_id": ALERT_ID,
        "revision": revision,
        "status": "open",
        "kind": "pattern",
        "severity": "high",
        "pattern": "Edge-Ring",
        "suspect_module": "ETCH-04/B",
        "suspect_equipment": "ETCH-04",
        "suspect_recipe": "ETCH-MAIN",
        "suspect_step": "etch",
        "since_ms": NOON_MS + 20 * MINUTE_MS,
        "affected": bad,
        "unaffected": good,
        "affected_count": len(bad),
        "examined_count": len(bad) + 3,
        "baseline_rate": 0.003,
        "confidence": 0.82,
        "commonalities": (
            Commonality(factor="module", value="ETCH-04/B", bad_through=len(bad),
                        bad_total=len(bad), good_through=3, good_total=len(good),
                        odds_ratio=161.2, p_value=2.1e-8),
            Commonality(factor="equipment", value="CVD-02", bad_through=len(bad),
                        bad_total=len(bad), good_through=len(good), good_total=len(good),
                        odds_ratio=1.0, p_value=1.0),
        ),
        "shifts": (
            VariableShift(variable="rf_reflected_w", recipe_id="ETCH-MAIN", mean=24.1,
                          normal=11.9, spread=1.1, z=11.1),
            VariableShift(variable="pressure_pa", recipe_id="ETCH-MAIN", mean=4.01, normal=4.0,
                          spread=0.02, z=0.5),
        ),
        "at_risk": ("L0003", "L0004"),
        **changed,
    }  # fmt: skip
    return Alert(**fields)  # type: ignore[arg-type]


def inhibit_action(**changed: object) -> Action:
    """The proposal to inhibit ETCH-04/B."""
    fields: dict[str, object] = {
        "event_id": Action.event_id_for(ACTION_ID, "proposed"),
        "site": SITE,
        "time_ms": NOON_MS + 200 * MINUTE_MS + 1000,
        "action_id": ACTION_ID,
        "alert_id": ALERT_ID,
        "kind": "inhibit_module",
        "status": "proposed",
        "by": "controller",
        "equipment_id": "ETCH-04",
        "module_id": "B",
        "expected_good_dies": 1840.0,
        "cost_good_dies": 210.0,
        "confidence": 0.82,
        "check": "Edge-Ring below 1 % on the next two lots through ETCH-04",
        **changed,
    }
    return Action(**fields)  # type: ignore[arg-type]


def a_dead_letter(index: int = 0) -> DeadLetter:
    """A wafer map that was cut short."""
    return DeadLetter(
        event_id=f"dead-{index}",
        site=SITE,
        time_ms=NOON_MS + index,
        source_topic=topic_name(SITE, WaferMap.stream),
        source_partition=2,
        source_offset=1041 + index,
        source_key=b"L0002",
        source_headers=(),
        value=b"\x81",
        value_bytes=1,
        error="CodecError",
        reason="the bytes are not a fabpilot.wafer_map.v1: input data was truncated",
        stage="process",
    )


def fab_events(wafers: int = 50) -> list[Event]:
    """States, wafers (every third one bad through ETCH-04/B), alert, action, what steers it."""
    events = module_states()
    for index in range(wafers):
        bad = index % 3 == 1
        events += wafer_events(index, bad=bad, module="B" if bad else "AC"[index % 2])
    events += [
        edge_ring_alert(wafers, revision=1, severity="medium", time_ms=NOON_MS + 100 * MINUTE_MS),
        explained(edge_ring_alert(wafers)),
        inhibit_action(evidence=("ETCH-04/B named with 0.82", "41 wafers at risk in 2 lots")),
        a_dead_letter(),
        *steering_events(),
    ]
    return events


def dump(engine: Engine) -> dict[str, list[str]]:
    """Everything projected, in an order that says nothing about arrival."""
    found = {}
    with engine.begin() as connection:
        for name, table in tables.metadata.tables.items():
            if name in ("console_counters", "console_changes"):
                continue
            columns = [column for column in table.c if column.name != "seen"]
            found[name] = sorted(map(repr, connection.execute(select(*columns)).all()))
    return found
