"""One event of every type, and other values tests need."""

import msgspec
import numpy as np

from contracts.arrays import Array
from contracts.events import (
    Action,
    ActionEffect,
    Alert,
    AlertDecision,
    AutomationSwitch,
    Cause,
    ChartPoint,
    Commonality,
    Contribution,
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
    VariableShift,
    VirtualMetrology,
    WaferMap,
)

NOON_MS = 1_767_268_800_000  # 2026-01-01 12:00 UTC


def wafer_grid(
    rows: int = 20, columns: int = 20, fail_rate: float = 0.05, seed: int = 0
) -> np.ndarray:
    """A round die grid (rows, columns) uint8 with randomly failing dies."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    on = np.hypot((x + 0.5) / columns - 0.5, (y + 0.5) / rows - 0.5) <= 0.5
    grid = np.where(rng.random((rows, columns)) < fail_rate, 2, 1)
    return np.where(on, grid, 0).astype(np.uint8)


def wafer_map(index: int = 0, *, site: str = "kr1", grid: np.ndarray | None = None) -> WaferMap:
    """A wafer map event; `index` makes it another wafer."""
    return WaferMap(
        event_id=f"map-{index}",
        site=site,
        time_ms=NOON_MS + index,
        product="P1",
        lot_id=f"L{index // 25:04d}",
        substrate_id=f"L{index // 25:04d}.{index % 25 + 1:02d}",
        slot=index % 25 + 1,
        grid=Array.of(wafer_grid(seed=index) if grid is None else grid),
        source="test",
    )


def trace_with_times() -> Trace:
    """The trace of `sample_events`, with the times its rows were really read at."""
    trace = sample_events()[Trace.ce_type]
    assert isinstance(trace, Trace)
    times_ms = np.array([12.5, 500.0, 1021.25], dtype=np.float32)
    return msgspec.structs.replace(trace, times_ms=Array.of(times_ms))


def trace_with_recipe_steps() -> Trace:
    """The trace of `trace_with_times`, with the recipe step of each row."""
    steps = np.array([1, 1, 2], dtype=np.uint8)
    return msgspec.structs.replace(trace_with_times(), recipe_steps=Array.of(steps))


def novel_prediction() -> Prediction:
    """The prediction of `sample_events`, beyond the limit of what the model knows."""
    prediction = sample_events()[Prediction.ce_type]
    assert isinstance(prediction, Prediction)
    return msgspec.structs.replace(prediction, novelty=1.25)


def registered_virtual_metrology() -> VirtualMetrology:
    """The virtual metrology of `sample_events`, said by a registered model."""
    event = sample_events()[VirtualMetrology.ce_type]
    assert isinstance(event, VirtualMetrology)
    return msgspec.structs.replace(
        event,
        input_id="trace-1",
        model_name="trace-metrology",
        model_version="3",
        model_sha256="ab" * 32,
        provider="CPUExecutionProvider",
    )


def alert_with_causes() -> Alert:
    """The alert of `sample_events`, with what may be behind it."""
    alert = sample_events()[Alert.ce_type]
    assert isinstance(alert, Alert)
    cause = Cause(
        module="ETCH-01/B", mode="rf_match_drift", probability=0.75, evidence=("rf_reflected_w +8",)
    )
    return msgspec.structs.replace(alert, causes=(cause,))


def sample_events() -> dict[str, Event]:
    """One fixed event of every type, by CloudEvents type."""
    head = {"site": "kr1", "time_ms": NOON_MS}
    place = {"equipment_id": "ETCH-01", "module_id": "B"}
    wafer = {"lot_id": "L0001", "substrate_id": "L0001.07", "slot": 7}
    events: list[Event] = [
        ProcessEvent(
            event_id="process-1", phase="completed", product="P1", carrier_id="FOUP-9",
            process_job_id="PJ-12", recipe_id="ETCH-MAIN", step="etch", sequence=2,
            **head, **place, **wafer,
        ),
        EquipmentState(
            event_id="state-1", kind="etch", state="standby", inhibited=True, reason="action a1",
            **head, **place,
        ),
        Trace(
            event_id="trace-1", process_job_id="PJ-12", recipe_id="ETCH-MAIN", step="etch",
            sequence=2, variables=("rf_power_w", "pressure_pa"), sample_period_ms=500.0,
            values=Array.of(np.arange(6, dtype=np.float32).reshape(3, 2)),
            **head, **place, **wafer,
        ),
        Metrology(
            event_id="metrology-1", equipment_id="CDSEM-01", step="etch", parameter="cd_nm",
            x_mm=(0.0, 50.5), y_mm=(0.0, -50.5), values=(32.1, 32.4), **head, **wafer,
        ),
        WaferMap(
            event_id="map-1", product="P1", source="sim",
            grid=Array.of(np.array([[0, 1, 0], [1, 2, 1], [1, 1, 1]], dtype=np.uint8)),
            **head, **wafer,
        ),
        ReviewImage(
            event_id="image-1", step="etch", x_mm=1.5, y_mm=-2.5, pixel_size_nm=2.0,
            png=b"\x89PNG\r\n\x1a\n", **head, **wafer,
        ),
        Prediction(
            event_id="prediction-1", input_id="map-1", input_type=WaferMap.ce_type,
            labels=("None", "Scratch"), probabilities=(0.25, 0.75), predicted=("Scratch",),
            heatmap=Array.of(np.array([[0, 255], [7, 8]], dtype=np.uint8)),
            embedding=Array.of(np.array([0.5, -1.5], dtype=np.float32)),
            model_name="wafer-map", model_version="3", model_sha256="ab" * 32,
            provider="CPUExecutionProvider", **head, **wafer,
        ),
        Alert(
            event_id="alert-1", alert_id="a1", revision=2, status="open", kind="pattern",
            severity="high", pattern="Edge-Ring", suspect_module="ETCH-01/B",
            suspect_equipment="ETCH-01", suspect_recipe="ETCH-MAIN", suspect_step="etch",
            since_ms=NOON_MS - 60_000, affected=("L0001.07",), unaffected=("L0001.08",),
            affected_count=11, examined_count=14, baseline_rate=0.003, confidence=0.82,
            commonalities=(
                Commonality(
                    factor="module", value="ETCH-01/B", bad_through=11, bad_total=12,
                    good_through=3, good_total=200, odds_ratio=250.5, p_value=1e-9,
                ),
            ),
            shifts=(
                VariableShift(
                    variable="rf_reflected_w", recipe_id="ETCH-MAIN", mean=22.0, normal=10.0,
                    spread=1.5, z=8.0,
                ),
            ),
            at_risk=("L0002",), **head,
        ),
        AlertDecision(
            event_id="decision-1", alert_id="a1", decision="shelved", by="Kim", comment="known",
            until_ms=NOON_MS + 3_600_000, **head,
        ),
        Action(
            event_id="action-1", action_id="x1", alert_id="a1", kind="adjust_recipe",
            status="approved", by="Kim", comment="go", recipe_id="ETCH-MAIN",
            parameter="rf_power_w", value=850.0, expected_good_dies=420.0, cost_good_dies=12.5,
            confidence=0.82, check="Edge-Ring below 1 % of the next 25 wafers", **head, **place,
        ),
        Label(
            event_id="label-1", lot_id="L0001", substrate_id="L0001.07", patterns=("Scratch",),
            by="Lee", **head,
        ),
        DeadLetter(
            event_id="dead-1", source_topic="fab.kr1.wafer_maps", source_partition=1,
            source_offset=42, source_key=b"L0001", source_headers=(("ce_type", b"nonsense"),),
            value=b"\x00\xff", value_bytes=2, error="UnknownTypeError", reason="unknown event type",
            stage="process", **head,
        ),
        Risk(
            event_id="risk-1", step="etch", sequence=2, patterns=("Edge-Ring", "Scratch"),
            probabilities=(0.75, 0.03125), any_pattern=0.75, expected_loss=0.1875,
            suspects=("ETCH-01/B",), **head, **wafer,
        ),
        ChartPoint(
            event_id="point-1", chart_id="c1", chart="xbar", step="etch", recipe_id="ETCH-MAIN",
            parameter="etch_depth_nm", lot_id="L0001", substrates=("L0001.07", "L0001.08"),
            value=325.5, center=320.0, lower=314.0, upper=326.0, sigma=2.0,
            rules=("western-electric-2",), enabled=("limit", "western-electric-2"), arl0=225.5,
            arl1=16.25, phase=2, points=41, cp=1.5, cpk=1.25, cpk_low=1.0, cpk_high=1.5,
            contributions=(Contribution(variable="rf_power_w", value=7.5),), **head, **place,
        ),
        VirtualMetrology(
            event_id="virtual-1", recipe_id="ETCH-MAIN", step="etch", parameter="etch_depth_nm",
            predicted=321.5, low=318.0, high=325.0, coverage=0.9, unlike=False, learned=120,
            **head, **place, **wafer,
        ),
        TraceJudgement(
            event_id="judgement-1", task="fault", input_id="trace-1", recipe_id="ETCH-MAIN",
            step="etch", score=1.5,
            contributions=(Contribution(variable="rf_power_w", value=0.75),),
            troubles=("stuck: pressure_pa",), model_name="trace-fault", model_version="3",
            model_sha256="c" * 64, provider="CPUExecutionProvider", **head, **place, **wafer,
        ),
        RunToRun(
            event_id="r2r-1", thread="P1 | etch | ETCH-01/B", product="P1", recipe_id="ETCH-MAIN",
            step="etch", output="etch_depth_nm", parameter="rf_power_w", target=320.0,
            measured=323.5, virtual=True, disturbance=2.5, drift=0.125, set_point=900.0,
            recommended=888.0, gain=0.25, gain_ratio=1.125, weight=0.3, runs=17, status="limited",
            reason="largest step", **head, **place,
        ),
        ActionEffect(
            event_id="effect-1", action_id="x1", alert_id="a1", verdict="absent",
            measure="share of wafers with Edge-Ring", before=0.75, after=0.5, wafers=25,
            consequence="escalated", evidence=("13 of 25 wafers since",), **head,
        ),
        AutomationSwitch(
            event_id="switch-1", automatic=False, by="Kim", reason="audit", **head,
        ),
    ]  # fmt: skip
    return {event.ce_type: event for event in events}
