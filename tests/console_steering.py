"""What a controller says beside alerts, for the fab of `tests.console_events`.

Module ETCH-04/B drifts away; CVD-02/B has a gain that its run-to-run model does not know.
"""

import msgspec
import numpy as np

from contracts.events import (
    Action,
    ActionEffect,
    Alert,
    AutomationSwitch,
    Cause,
    ChartPoint,
    Commonality,
    Contribution,
    Event,
    Metrology,
    Risk,
    RunToRun,
    VirtualMetrology,
)
from contracts.ids import derived_id
from tests.factories import NOON_MS

SITE = "kr1"
MINUTE_MS = 60_000
OLD_ALERT = derived_id("alert", "scratch")
RULES = ("limit", "western-electric-2", "western-electric-3", "western-electric-4")
PATTERNS = ("Edge-Ring", "Scratch", "Center")
THREAD = "DRAM-1b | deposition | CVD-02/A"
STOPPED = "DRAM-1b | deposition | CVD-02/B"


def chart_id(kind: str, module: str, parameter: str = "etch_depth_nm") -> str:
    return f"{kind}|{module}|ETCH-MAIN|{parameter}"


def risk(lot: str, slot: int, sequence: int, level: float, time_ms: int) -> Risk:
    """A wafer expected to show an edge ring at `level`, 0 to 1."""
    wafer = f"{lot}.{slot:02d}"
    return Risk(
        event_id=f"risk-{wafer}-{sequence}",
        site=SITE,
        time_ms=time_ms,
        lot_id=lot,
        substrate_id=wafer,
        slot=slot,
        step=("deposition", "etch", "clean", "litho")[sequence],
        sequence=sequence,
        patterns=PATTERNS,
        probabilities=(level, 0.02 + 0.03 * (slot % 5 == 0), 0.01),
        any_pattern=min(1.0, level + 0.04),
        expected_loss=0.22 * level,
        suspects=("ETCH-04/B",) if level > 0.3 else (),
    )


def risk_events() -> list[Event]:
    """Two lots that are tested, and three more that are not: one of them half through ETCH-04/B."""
    rng = np.random.default_rng(3)
    events: list[Event] = []
    for index in range(50):
        lot, slot = f"L{index // 25 + 1:04d}", index % 25 + 1
        time_ms = NOON_MS + index * 4 * MINUTE_MS
        for sequence in range(3):
            level = 0.02 if sequence == 0 or index % 3 != 1 else float(rng.uniform(0.6, 0.95))
            events.append(risk(lot, slot, sequence, level, time_ms + sequence * 2 * MINUTE_MS))
    for number, (lot, steps, share) in enumerate(
        (("L0003", 4, 2), ("L0004", 3, 5), ("L0005", 1, 0))
    ):
        for slot in range(1, 26):
            bad = share and slot % share == 0
            for sequence in range(steps):
                level = float(rng.uniform(0.55, 0.97)) if bad and sequence else 0.03
                if bad and sequence == 3:
                    level *= 0.9
                at = NOON_MS + (200 + 40 * number + slot + 30 * sequence) * MINUTE_MS
                events.append(risk(lot, slot, sequence, level, at))
    return events


def broken(z: list[float]) -> tuple[str, ...]:
    """Western Electric's rules at the last of some deviations, in sigmas."""
    found = []
    for name, points, hits, beyond in (
        ("limit", 1, 1, 3.0),
        ("western-electric-2", 3, 2, 2.0),
        ("western-electric-3", 5, 4, 1.0),
        ("western-electric-4", 8, 8, 0.0),
    ):
        last = z[-points:]
        for side in (1, -1):
            if side * last[-1] > beyond and sum(side * one > beyond for one in last) >= hits:
                found.append(name)
    return tuple(found)


def chart_points(
    kind: str,
    module: str,
    parameter: str,
    values: np.ndarray,
    center: float,
    sigma: float,
    *,
    one_sided: bool = False,
    contributions: tuple[str, ...] = (),
    specified: bool = False,
) -> list[Event]:
    """A chart of `values`, (n,): the first third is phase I."""  # fmt: skip
    equipment, _, chamber = module.partition("/")
    first = len(values) // 3
    z = [] if one_sided else [float((value - center) / sigma) for value in values]
    events: list[Event] = []
    for index, value in enumerate(values.tolist()):
        upper = center + (4 if one_sided else 3) * sigma
        rules: tuple[str, ...] = ()
        if index >= first:
            rules = (("limit",) if value > upper else ()) if one_sided else broken(z[: index + 1])
        # The first variable is the one that moved.
        parts = np.random.default_rng(index).uniform(0.5, 1.0, len(contributions))
        parts[:1] += 9.0
        parts *= value / max(float(parts.sum()), 1.0)
        events.append(
            ChartPoint(
                event_id=f"{chart_id(kind, module, parameter)}-{index}",
                site=SITE,
                time_ms=NOON_MS + index * 4 * MINUTE_MS,
                chart_id=chart_id(kind, module, parameter),
                chart=kind,  # type: ignore[arg-type]
                equipment_id=equipment,
                module_id=chamber,
                step="etch",
                recipe_id="ETCH-MAIN",
                parameter="" if kind in ("t2", "spe") else parameter,
                lot_id=f"L{index // 25 + 1:04d}",
                substrates=(f"L{index // 25 + 1:04d}.{index % 25 + 1:02d}",),
                value=value,
                center=center,
                lower=None if one_sided else center - 3 * sigma,
                upper=upper,
                sigma=sigma,
                rules=rules,
                enabled=("limit",) if one_sided else RULES,
                arl0=370.4 if one_sided else 91.75,
                arl1=43.9 if one_sided else 9.22,
                phase=1 if index < first else 2,
                points=index + 1 if index < first else index - first + 1,
                cp=1.42 if specified else None,
                cpk=1.18 if specified else None,
                cpk_low=0.97 if specified else None,
                cpk_high=1.39 if specified else None,
                contributions=tuple(
                    sorted(
                        (
                            Contribution(variable=name, value=round(part, 3))
                            for name, part in zip(contributions, parts.tolist(), strict=True)
                        ),
                        key=lambda one: -one.value,
                    )
                )
                if rules
                else (),
            )
        )
    return events


def chart_events() -> list[Event]:
    """Three etch chambers side by side; B leaves its limits after two thirds."""
    events: list[Event] = []
    drift = np.clip(np.arange(60) - 40, 0, None)
    for number, module in enumerate(("ETCH-04/A", "ETCH-04/B", "ETCH-04/C")):
        noise = np.random.default_rng(number).normal(0, 1, (3, 60))
        bad = drift if module.endswith("B") else 0 * drift
        events += chart_points(
            "xbar", module, "etch_depth_nm", 320 + number + 2 * noise[0] + 0.35 * bad,
            320.0 + number, 2.0, specified=True,
        )  # fmt: skip
        events += chart_points(
            "individuals", module, "rf_reflected_w", 12 + 0.8 * noise[1] + 0.4 * bad, 12.0, 0.8
        )
        events += chart_points(
            "t2", module, "all", 6 + 3 * np.abs(noise[2]) + 2.2 * bad, 6.0, 3.5, one_sided=True,
            contributions=("rf_reflected_w", "wall_temp_c:slope", "pressure_pa", "rf_power_w"),
        )  # fmt: skip
    return events


def metrology_events(wafers: int = 50) -> list[Event]:
    """Etch depth foretold for every wafer and measured on every third, two wafers later."""
    rng = np.random.default_rng(11)
    events: list[Event] = []
    for index in range(wafers):
        wafer = f"L{index // 25 + 1:04d}.{index % 25 + 1:02d}"
        bad = index % 3 == 1
        module = "B" if bad else "AC"[index % 2]
        true = 320 + 3 * np.sin(index / 9) + (0.12 * index if bad else 0)
        predicted = float(true + rng.normal(0, 1.0))
        here = {"site": SITE, "lot_id": wafer[:5], "substrate_id": wafer, "slot": index % 25 + 1}
        time_ms = NOON_MS + index * 4 * MINUTE_MS
        events.append(
            VirtualMetrology(
                event_id=f"virtual-{wafer}",
                time_ms=time_ms,
                equipment_id="ETCH-04",
                module_id=module,
                recipe_id="ETCH-MAIN",
                step="etch",
                parameter="etch_depth_nm",
                predicted=predicted,
                low=predicted - 2.2,
                high=predicted + 2.2,
                coverage=0.9,
                unlike=bad and index > 40,
                learned=120 + index // 3,
                **here,
            )
        )
        if index % 5 in (0, 2, 4):
            values = true + rng.normal(0, 0.6, 9)
            events.append(
                Metrology(
                    event_id=f"depth-{wafer}",
                    time_ms=time_ms + 8 * MINUTE_MS,
                    equipment_id="CDSEM-01",
                    step="etch",
                    parameter="etch_depth_nm",
                    x_mm=(0.0,) * 9,
                    y_mm=(0.0,) * 9,
                    values=tuple(values.tolist()),
                    **here,
                )
            )
    return events


def run_events() -> list[Event]:
    """One thread that holds its target, and one that was stopped by its gain."""
    events: list[Event] = []
    for thread, true_gain in ((THREAD, 1.1), (STOPPED, 6.0)):
        module = thread.rpartition("/")[2]
        rng = np.random.default_rng(ord(module))
        gain, weight, target = 0.25, 0.3, 200.0
        set_point, disturbance, stopped = 600.0, 50.0, False
        for run in range(30):
            measured = gain * true_gain * (set_point - 600) + 200 + 0.15 * run + rng.normal(0, 0.8)
            measured += 6 if true_gain < 2 and run == 0 else 0
            if not stopped:
                disturbance += weight * (measured - gain * set_point - disturbance)
            wanted = (target - disturbance) / gain
            limited = abs(wanted - set_point) > 25
            recommended = float(np.clip(wanted, set_point - 25, set_point + 25))
            stopped = stopped or (true_gain > 2 and run > 16)
            events.append(
                RunToRun(
                    event_id=f"run-{module}-{run}",
                    site=SITE,
                    time_ms=NOON_MS + run * 7 * MINUTE_MS,
                    thread=thread,
                    product="DRAM-1b",
                    equipment_id="CVD-02",
                    module_id=module,
                    recipe_id="OX-200",
                    step="deposition",
                    output="film_thickness_nm",
                    parameter="deposition_time_s",
                    target=target,
                    measured=float(measured),
                    virtual=run % 3 != 0,
                    disturbance=float(disturbance - 50),
                    drift=0.05,
                    set_point=float(set_point),
                    recommended=float(set_point) if stopped else recommended,
                    gain=gain,
                    gain_ratio=None if run < 5 else float(true_gain + rng.normal(0, 0.1)),
                    weight=weight,
                    runs=run + 1,
                    status="stopped" if stopped else "learning" if run < 5
                    else "limited" if limited else "active",
                    reason="the gain ratio left the stable range" if stopped
                    else "largest step" if limited else "",
                )
            )  # fmt: skip
            set_point = set_point if stopped else recommended
    return events


def steering_events() -> list[Event]:
    """Risk, charts, virtual metrology and run-to-run."""
    return [*risk_events(), *chart_events(), *metrology_events(), *run_events()]


CAUSES = (
    Cause(
        module="ETCH-04/B",
        mode="rf_match_drift",
        probability=0.71,
        evidence=(
            "16 of 17 Edge-Ring wafers went through ETCH-04/B, 3 of 33 others did (p 2e-08)",
            "rf_reflected_w 24.1 W, normal 11.9 W (z 11.1)",
            "T2 out since 14:44, rf_reflected_w contributes 81 %",
        ),
    ),
    Cause(
        module="ETCH-04/B",
        mode="edge_ring_wear",
        probability=0.17,
        evidence=("1140 wafers since the last maintenance; limit 1200",),
    ),
    Cause(module="WET-01/A", mode="", probability=0.05),
)
SHARED = (
    Commonality(factor="maintenance", value="ETCH-04/B beyond 1000 wafers", bad_through=15,
                bad_total=17, good_through=2, good_total=33, odds_ratio=84.0, p_value=3.1e-7),
    Commonality(factor="interaction", value="ETCH-04/B & ETCH-MAIN", bad_through=16, bad_total=17,
                good_through=3, good_total=33, odds_ratio=99.0, p_value=2.1e-6),
    Commonality(factor="order", value="ETCH-04/B places 1 to 3", bad_through=4, bad_total=17,
                good_through=6, good_total=33, odds_ratio=1.4, p_value=1.0),
    Commonality(factor="neighbour", value="ETCH-04/B", bad_through=6, bad_total=17,
                good_through=9, good_total=33, odds_ratio=1.5, p_value=1.0),
)  # fmt: skip


def stages(
    name: str, minutes: int, *, approver: str, last: str = "applied", **changed: object
) -> list[Action]:
    """An action from its proposal to `last`."""
    action_id = derived_id("action", name)
    fields: dict[str, object] = {
        "site": SITE,
        "action_id": action_id,
        "alert_id": OLD_ALERT,
        "kind": "inhibit_module",
        "equipment_id": "CVD-02",
        "module_id": "B",
        "expected_good_dies": 960.0,
        "cost_good_dies": 140.0,
        "confidence": 0.77,
        "check": "Scratch below 1 % on the next 25 wafers",
        "evidence": ("9 of 11 scratched wafers through CVD-02/B (p 4e-06)", "robot_torque_n +31 %"),
        **changed,
    }
    by = {"proposed": "advisor", "approved": approver, "applied": "fab", "failed": "fab"}
    comment = {"approved": "" if approver.startswith("policy") else "before the night shift"}
    return [
        Action(
            event_id=Action.event_id_for(action_id, status),  # type: ignore[arg-type]
            time_ms=NOON_MS + (minutes + 3 * place) * MINUTE_MS,
            status=status,
            by=by[status],
            comment=comment.get(status, ""),
            **fields,
        )
        for place, status in enumerate(("proposed", "approved", last))
    ]


def history_events() -> list[Event]:
    """An alert that is over, four actions with their effects, and the switch moved twice."""
    alert = Alert(
        event_id=derived_id("alert", OLD_ALERT, 1), site=SITE, time_ms=NOON_MS - 90 * MINUTE_MS,
        alert_id=OLD_ALERT, revision=1, status="normal", kind="pattern", severity="medium",
        pattern="Scratch", suspect_module="CVD-02/B", since_ms=NOON_MS - 300 * MINUTE_MS,
        affected=(), affected_count=9, examined_count=11, baseline_rate=0.01, confidence=0.77,
    )  # fmt: skip
    helped = stages("old-1", -200, approver="policy:night")
    failed = stages("old-2", -170, approver="Kim Minji", kind="adjust_recipe",
                    recipe_id="OX-200", parameter="robot_speed_rpm", value=42.0)  # fmt: skip
    unclear = stages("old-3", -150, approver="Lee", kind="schedule_pm")
    refused = stages("old-4", -120, approver="Lee", last="failed", kind="hold_lot",
                     lot_id="L0001")  # fmt: skip
    verdicts = (
        (helped, "came", 0.82, 0.0, "none", ("0 of 25 wafers since, 9 of 11 before",)),
        (failed, "absent", 0.82, 0.64, "escalated", ("16 of 25 wafers since",)),
        (unclear, "unclear", 0.3, 0.2, "none", ("5 wafers in 8 h are too few",)),
    )
    effects = [
        ActionEffect(
            event_id=derived_id("effect", found[0].action_id),
            site=SITE,
            time_ms=found[-1].time_ms + 60 * MINUTE_MS,
            action_id=found[0].action_id,
            alert_id=OLD_ALERT,
            verdict=verdict,  # type: ignore[arg-type]
            measure="share of wafers with Scratch",
            before=before,
            after=after,
            wafers=25,
            consequence=consequence,  # type: ignore[arg-type]
            evidence=evidence,
        )
        for found, verdict, before, after, consequence, evidence in verdicts
    ]
    switched = [
        switch(False, -240, by="Park", reason="audit of the policies"),
        switch(True, -210, by="Park", reason="audit done"),
    ]
    return [alert, *helped, *failed, *unclear, *refused, *effects, *switched]


def switch(automatic: bool, minutes: int, *, by: str = "Kim", reason: str = "") -> AutomationSwitch:
    """The switch over automatic actions, moved by somebody."""
    return AutomationSwitch(
        event_id=f"switch-{minutes}",
        site=SITE,
        time_ms=NOON_MS + minutes * MINUTE_MS,
        automatic=automatic,
        by=by,
        reason=reason,
    )


def explained(alert: Alert) -> Alert:
    """An alert with causes and with what the newer factors say."""
    return msgspec.structs.replace(
        alert, causes=CAUSES, commonalities=(*alert.commonalities, *SHARED)
    )
