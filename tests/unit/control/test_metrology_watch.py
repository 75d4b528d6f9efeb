"""Metrology charts in the engine: points, limits, evidence, repairs, and what may not count."""

import math

import msgspec
import numpy as np
import pytest

from contracts.events import Alert, Event
from control.engine import Engine
from control.metrology_watch import MAX_CHARTS
from control.policy import Policy, load_policy
from control.spc import RuleSet, average_run_length
from tests.control_streams import MINUTE_MS, SITE, process, state
from tests.metrology_streams import (
    MODULES,
    PARAMETER,
    feed,
    lot_at,
    lot_events,
    metrology,
    points,
    quiet_lots,
)


def policy(**changes: object) -> Policy:
    base = load_policy()
    return msgspec.structs.replace(
        base, metrology=msgspec.structs.replace(base.metrology, **changes)
    )


def alerts(told: list[Event]) -> list[Alert]:
    return [event for event in told if isinstance(event, Alert)]


def test_a_point_is_the_mean_of_a_lots_wafers_on_a_module() -> None:
    engine = Engine(load_policy(), SITE)
    told = feed(engine, [*lot_events(0, "E-1/A", [99.0, 100.0, 104.0]), *quiet_lots(range(1, 4))])
    first = points(told)[0]
    assert (first.key, first.step, first.lot_id) == ("E-1/A", "S0", "L0000")
    assert first.value == pytest.approx(101.0)
    assert len(first.substrates) == 3
    assert first.phase == 1
    assert first.lower is None
    assert first.time_ms == lot_at(0) + 2 * MINUTE_MS
    assert len({point.chart_id for point in points(told)}) == 4


def test_limits_come_from_the_modules_own_first_points_whatever_its_offset() -> None:
    engine = Engine(load_policy(), SITE)
    told = feed(engine, quiet_lots(range(60), steps=("S0", "S1"), offsets=(-3.0, 0.0, 0.0, 3.0)))
    last = {(point.key, point.step): point for point in points(told) if point.phase == 2}
    assert len(last) == 8
    for (module, step), point in last.items():
        offset = {"E-1/A": -3.0, "E-2/B": 3.0}.get(module, 0.0)
        assert point.center == pytest.approx(100.0 + 50.0 * (step == "S1") + offset, abs=0.6)
        assert point.sigma == pytest.approx(1.0 / math.sqrt(3.0), rel=0.25)
        assert point.lower == pytest.approx(point.center - 4.5 * point.sigma)
        assert not point.rules
    assert not alerts(told)


def test_the_arl_of_the_enabled_rules_stands_beside_every_point() -> None:
    rules = RuleSet(limit=3.0, run_rules=("western-electric-2",))
    told = feed(Engine(policy(rules=rules), SITE), quiet_lots(range(4)))
    for point in points(told):
        assert point.enabled == ("limit", "western-electric-2")
        assert point.arl0 == average_run_length(rules).points
        assert point.arl1 == average_run_length(rules, 1.0).points


def test_a_shift_is_told_once_with_the_module_and_withdrawn_when_it_is_over() -> None:
    engine = Engine(load_policy(), SITE)
    assert not alerts(feed(engine, quiet_lots(range(20))))
    shifted = []
    for lot in range(20, 26):
        shifted += lot_events(lot, "E-1/B", [105.0, 104.5, 105.5])
        for module in ("E-1/A", "E-2/A", "E-2/B"):
            shifted += lot_events(lot, module, [100.2, 99.9, 100.0])
    found = alerts(feed(engine, shifted))
    assert len({alert.alert_id for alert in found}) == 1
    assert found[0].suspect_module == "E-1/B"
    assert found[0].kind == "fault"
    (shift,) = found[0].shifts
    assert (shift.variable, shift.recipe_id) == (PARAMETER, "")
    assert shift.mean == pytest.approx(105.0)
    assert shift.normal == pytest.approx(100.0, abs=0.6)
    assert lot_at(18) <= found[0].since_ms < lot_at(20) + 60 * MINUTE_MS
    assert found[0].time_ms < lot_at(24)


def test_what_all_modules_do_is_nobodys_fault() -> None:
    engine = Engine(load_policy(), SITE)
    feed(engine, quiet_lots(range(20)))
    shifted = [
        event
        for lot in range(20, 26)
        for module in MODULES
        for event in lot_events(lot, module, [104.0, 104.5, 103.5])
    ]
    told = feed(engine, shifted)
    assert any(point.rules for point in points(told))
    assert not alerts(told)


def test_wafers_from_before_a_repair_count_no_more() -> None:
    engine = Engine(load_policy(), SITE)
    feed(engine, quiet_lots(range(20)))
    late = lot_events(20, "E-1/B", [108.0] * 3, delay_min=600)
    down = lot_at(22)
    told = feed(
        engine,
        [
            *late,
            state("E-1/B", "etch", down, state="scheduled_down"),
            state("E-1/B", "etch", down + 60 * MINUTE_MS),
            *quiet_lots(range(24, 34), seed=5),
        ],
    )
    assert engine.ignored["measurement from before a repair"] == 3
    assert not alerts(told)
    mine = [point for point in points(told) if point.key == "E-1/B" and point.lot_id >= "L0024"]
    assert [point.points for point in mine[:3]] == [1, 2, 3]


def test_capability_against_the_specification_of_the_policy() -> None:
    limits = [{"parameter": PARAMETER, "lower": 95.0, "upper": 105.0}]
    raw = msgspec.to_builtins(load_policy())
    raw["metrology"]["specifications"] = limits
    told = feed(Engine(msgspec.convert(raw, Policy), SITE), quiet_lots(range(60)))
    last = points(told)[-1]
    assert last.cp == pytest.approx(10.0 / 6.0, rel=0.2)
    assert last.cpk is not None
    assert last.cpk_low is not None
    assert last.cpk_high is not None
    assert last.cpk_low < last.cpk < last.cpk_high
    assert points(feed(Engine(load_policy(), SITE), quiet_lots(range(30))))[-1].cpk is None


def test_defect_density_is_charted_by_its_logarithm() -> None:
    engine, random = Engine(load_policy(), SITE), np.random.default_rng(0)
    events: list[Event] = []
    for lot in range(40):
        for module in MODULES:
            means = np.exp(-3.0 + 0.4 * random.normal(size=3))
            events += lot_events(lot, module, means.tolist(), parameter="defect_density_cm2")
    told = feed(engine, events)
    assert not any(point.rules for point in points(told))
    last = points(told)[-1]
    assert last.center == pytest.approx(math.exp(-3.0), rel=0.3)
    assert last.lower is not None
    assert last.upper is not None
    assert last.lower * last.upper == pytest.approx(last.center**2)


def test_a_saved_engine_goes_on_as_if_nothing_had_happened() -> None:
    events = sorted(quiet_lots(range(25)), key=lambda event: event.time_ms)
    going, saved = Engine(load_policy(), SITE), Engine(load_policy(), SITE)
    for number, event in enumerate(events):
        if number % 37 == 0:
            saved = Engine(load_policy(), SITE, saved.snapshot())
        assert saved.handle(event) == going.handle(event)


@pytest.mark.parametrize(
    ("values", "reason"),
    [((), "measurement without a number"), ((math.nan, math.inf, 1e20), "measurement without")],
)
def test_numbers_that_are_none(values: tuple[float, ...], reason: str) -> None:
    engine = Engine(load_policy(), SITE)
    engine.handle(process("completed", "W", "L", "E-1/A", "S0", 0, lot_at(0)))
    assert engine.handle(metrology("W", "L", "S0", lot_at(1), values)) == []
    assert any(name.startswith(reason) for name in engine.ignored)


def test_measurements_that_may_not_count() -> None:
    engine = Engine(load_policy(), SITE)
    engine.handle(process("completed", "W", "L", "E-1/A", "S0", 0, lot_at(2)))
    for event in (
        metrology("unknown", "L", "S0", lot_at(3), (1.0,)),
        metrology("W", "L", "another step", lot_at(3), (1.0,)),
        metrology("W", "L", "S0", lot_at(1), (1.0,)),  # measured before it was treated
        metrology("W", "L", "S0", lot_at(3), (1.0,)),
        metrology("W", "L", "S0", lot_at(3) + 1, (2.0,)),  # a replay under another name
        metrology("W", "L", "S0", lot_at(3), (1.0,), parameter="x" * 65),
        metrology("W", "L", "S0", lot_at(10**6), (1.0,)),  # the far future
    ):
        assert engine.handle(event) == []
    assert engine.ignored == {
        "measurement of a wafer that is not known": 3,
        "measurement seen before": 1,
        "a name is missing or too long": 1,
        "implausible time": 1,
    }


def test_the_state_is_bounded_however_many_names_are_invented() -> None:
    engine = Engine(load_policy(), SITE)
    for number in range(MAX_CHARTS + 60):
        wafer, at = f"W{number}", lot_at(0) + number * 1000
        engine.handle(process("completed", wafer, "L", f"E-{number % 40}/A", "S0", 0, at))
        for kind in range(3):
            event = metrology(wafer, "L", "S0", at + 1, (1.0,), parameter=f"p{number}-{kind}")
            engine.handle(event)
    assert len(engine._state.charts) <= MAX_CHARTS
    assert len(engine._state.chart_steps) <= MAX_CHARTS
    assert len(engine.snapshot()) < 1_000_000
