"""Risk before the test: it rises where a module goes off, and learns what that is worth."""

import random

import msgspec
import numpy as np
import pytest

from contracts.events import Event, Metrology, Prediction, Risk, Trace
from contracts.ids import derived_id
from control.engine import Engine
from control.foresight_state import Episode, RiskRecord
from control.policy import load_policy
from control.risk_rates import LEVELS, Rates
from tests.control_streams import LEVELS as SENSOR_LEVELS
from tests.control_streams import (
    MINUTE_MS,
    SITE,
    SPREADS,
    START_MS,
    Sick,
    make,
    process,
    state,
    trace,
)
from tests.unit.control.test_control_engine import everything

POLICY = load_policy()
SICK = Sick("ETCH-01/A", "Donut", 15, 200, rate=0.9, shift=8.0)


def last_risks(told: list[Event]) -> dict[str, Risk]:
    """The last risk of each wafer."""
    return {event.substrate_id: event for event in told if isinstance(event, Risk)}


def test_every_wafer_has_a_risk_before_its_test_and_bad_ones_a_high_one() -> None:
    stream = make(21, (SICK,), lots=18, wafers=14, traces=True)
    engine, before = Engine(POLICY, SITE), dict[str, Risk]()
    rows = []
    for event in stream.events:
        if isinstance(event, Prediction):
            bad = event.predicted == ("Donut",)
            rows.append((before.get(event.substrate_id), bad, event.substrate_id))
        before.update(last_risks(engine.handle(event)))
    later = rows[int(0.65 * len(rows)) :]
    assert all(risk is not None for risk, _, _ in later)
    high = [bad for risk, bad, _ in later if risk is not None and risk.any_pattern >= 0.5]
    caught = sum(high)
    assert caught >= 0.8 * sum(bad for _, bad, _ in later)
    assert caught >= 0.6 * len(high)
    worst = max((risk for risk, _, _ in later if risk is not None), key=lambda r: r.any_pattern)
    assert worst.suspects[0] == "ETCH-01/A"
    assert worst.patterns[int(np.argmax(worst.probabilities))] == "Donut"
    assert worst.expected_loss == pytest.approx(
        worst.any_pattern * POLICY.economics.kill_ratio["Donut"], rel=0.3
    )


def test_a_quiet_wafer_is_told_once_in_the_end() -> None:
    told = everything(Engine(POLICY, SITE), make(22, lots=14, wafers=8, traces=True).events)
    counts: dict[str, int] = {}
    for event in told:
        if isinstance(event, Risk):
            counts[event.substrate_id] = counts.get(event.substrate_id, 0) + 1
            assert event.any_pattern < 0.2
    assert set(counts.values()) == {1}


def test_the_future_changes_nothing_that_was_said_before() -> None:
    events = make(23, (SICK,), lots=12, wafers=10, traces=True).events
    half = len(events) // 2
    first = everything(Engine(POLICY, SITE), events[:half])
    later = events[half:]
    random.Random(1).shuffle(later)
    engine = Engine(POLICY, SITE)
    told = [engine.handle(event) for event in [*events[:half], *later]]
    assert [event for answers in told[:half] for event in answers] == first
    assert any(isinstance(event, Risk) for event in first)


def test_a_lone_odd_trace_raises_the_risk_at_once() -> None:
    engine, rng = Engine(POLICY, SITE), np.random.default_rng(3)

    def step(number: int, shift: float) -> list[Event]:
        name, when = f"L{number // 25}.{number % 25:02d}", START_MS + number * MINUTE_MS
        levels = SENSOR_LEVELS + SPREADS * (rng.normal(size=4) + shift * np.eye(4)[0])
        values = levels + 0.3 * SPREADS * rng.normal(size=(30, 4))
        events = [
            process("completed", name, name[:2], "ETCH-01/A", "etch", 0, when),
            trace(name, name[:2], "ETCH-01/A", "etch", 0, when, values),
        ]
        return everything(engine, events)

    for number in range(60):
        assert step(number, 0.0) == []
    (risk,) = last_risks(step(60, 12.0)).values()
    assert 0.1 < risk.any_pattern < 0.5
    assert risk.suspects == ("ETCH-01/A",)


def test_what_never_hurt_anybody_is_no_risk_in_the_end() -> None:
    record = RiskRecord()
    rates = Rates(record, ["Donut", "Loc"])
    sign = rates.sign("etch rf_power_w+")
    episode = Episode("ETCH-01/A", 0)
    level = 7
    before = rates.source(level, sign, episode, "ETCH-01/A", foreseen={}).probability
    assert before == pytest.approx(LEVELS[level].prior)
    for _ in range(40):
        rates.learn([rates.source(level, sign, episode, "ETCH-01/A", foreseen={})], [])
    assert rates.source(level, sign, episode, "ETCH-01/A", foreseen={}).probability < 0.05


def test_rates_come_to_what_really_happens_and_name_the_pattern() -> None:
    rates, rng = Rates(RiskRecord(), ["Donut", "Loc"]), random.Random(4)
    sign = rates.sign("etch rf_power_w+")
    for number in range(600):
        sources = [rates.source(4, sign, None, "E/A", foreseen={})] if number % 3 == 0 else []
        bad = rng.random() < (0.7 if sources else 0.03)
        rates.learn(sources, [0] if bad and sources else [1] if bad else [])
    source = rates.source(4, sign, None, "E/A", foreseen={})
    assert source.probability == pytest.approx(0.7, abs=0.1)
    assert source.patterns[0] > 0.85
    assert rates.base()[0] == pytest.approx(0.03, abs=0.02)


def test_slots_that_the_failure_mode_spares_keep_a_low_risk() -> None:
    engine, rng = Engine(POLICY, SITE), np.random.default_rng(5)
    names = ("boat_position_mm", "zone_bottom_power_pct", "profile_temp_c", "line_voltage_v")
    engine.handle(state("FURN-01/A", "diffusion", START_MS))
    told: dict[str, Risk] = {}
    for lot in range(42):
        when = START_MS + lot * 60 * MINUTE_MS
        wafers = [f"L{lot}.{slot:02d}" for slot in (3, 20)]
        slots = dict(zip(wafers, (3, 20), strict=True))
        shift = np.array([-9.0, -6.0, 4.0, 0.0]) if lot >= 32 else np.zeros(4)
        values = 100.0 + rng.normal(size=4) + shift + 0.3 * rng.normal(size=(30, 4))
        events: list[Event] = []
        for phase in ("started", "completed"):
            for name in wafers:
                at = when + (MINUTE_MS if phase == "completed" else 0)
                event = process(phase, name, f"L{lot}", "FURN-01/A", "oxide", 0, at)
                events.append(msgspec.structs.replace(event, slot=slots[name]))
        events.append(
            trace(wafers[0], f"L{lot}", "FURN-01/A", "oxide", 0, when + MINUTE_MS, values, names)
        )
        told.update(last_risks(everything(engine, events)))
    assert told["L41.03"].any_pattern > 0.3
    assert "L41.20" not in told or told["L41.20"].any_pattern < 0.15


def test_an_odd_measurement_raises_the_risk_of_its_wafer_and_of_lot_mates() -> None:
    engine, rng = Engine(POLICY, SITE), np.random.default_rng(6)
    raised: dict[str, Risk] = {}
    for number in range(80):
        lot, when = f"L{number // 4}", START_MS + number * MINUTE_MS
        name = f"{lot}.{number % 4:02d}"
        values = SENSOR_LEVELS + SPREADS * rng.normal(size=4)
        noise = SPREADS * rng.normal(size=(9, 4))
        events: list[Event] = [
            process("completed", name, lot, "ETCH-01/A", "etch", 0, when),
            trace(name, lot, "ETCH-01/A", "etch", 0, when, values + noise),
            Metrology(
                event_id=derived_id("m", name),
                site=SITE,
                time_ms=when,
                lot_id=lot,
                substrate_id=name,
                slot=1,
                equipment_id="MET-01",
                step="etch",
                parameter="etch_depth_nm",
                x_mm=(0.0,),
                y_mm=(0.0,),
                values=(320.0 + rng.normal() + (25.0 if number == 79 else 0.0),),
            ),
        ]
        raised = last_risks(everything(engine, events))
    assert set(raised) >= {"L19.03"}
    assert raised["L19.03"].any_pattern > 0.15


def test_the_traces_of_other_wafers_do_not_matter_to_the_order_of_the_saved_state() -> None:
    events = make(24, (SICK,), lots=6, wafers=10, traces=True).events
    one, two = Engine(POLICY, SITE), Engine(POLICY, SITE)
    for event in events:
        one.handle(event)
        two.handle(event)
        if isinstance(event, Trace) and event.sequence == 3:
            two = Engine(POLICY, SITE, two.snapshot())
    assert one.snapshot() == two.snapshot()
