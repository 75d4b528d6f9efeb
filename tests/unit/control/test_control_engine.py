import random
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from contracts.errors import ConfigError, DataError, TraceError
from contracts.events import Action, Alert, AlertDecision, Event
from control.engine import Engine
from control.policy import Policy, load_policy
from tests.control_streams import (
    MINUTE_MS,
    SITE,
    START_MS,
    Sick,
    make,
    prediction,
    process,
    state,
    trace,
)

POLICY = load_policy()
CULPRIT = "ETCH-01/A"
SICK = (Sick(CULPRIT, "Edge-Ring", 30, rate=0.85),)


def everything(engine: Engine, events: Iterable[Event]) -> list[Event]:
    return [answer for event in events for answer in engine.handle(event)]


def feed(engine: Engine, events: Iterable[Event]) -> list[Event]:
    """What a person is asked to look at or to approve."""
    return [told for told in everything(engine, events) if isinstance(told, Alert | Action)]


def alerts(events: Iterable[Event]) -> list[Alert]:
    return [event for event in events if isinstance(event, Alert)]


def actions(events: Iterable[Event]) -> list[Action]:
    return [event for event in events if isinstance(event, Action)]


def until_alert(engine: Engine, events: Iterable[Event]) -> tuple[list[Event], list[Event]]:
    """Answers up to the first alert, and the events still to come."""
    rest = list(events)
    for index, event in enumerate(rest):
        answers = feed(engine, [event])
        if answers:
            return answers, rest[index + 1 :]
    pytest.fail("no alert was raised")


def stage(action: Action, status: str, by: str = "kim") -> Action:
    return msgspec.structs.replace(
        action,
        status=status,
        by=by,
        event_id=Action.event_id_for(action.action_id, status),  # type: ignore[arg-type]
    )


def decision(alert: Alert, what: str, until_ms: int = 0) -> AlertDecision:
    return AlertDecision(
        event_id=f"{alert.alert_id}-{what}",
        site=SITE,
        time_ms=5_000_000,
        alert_id=alert.alert_id,
        decision=what,  # type: ignore[arg-type]
        by="kim",
        until_ms=until_ms,
    )


def test_an_excursion_is_one_alert_with_its_evidence() -> None:
    stream = make(1, SICK)
    answers = feed(Engine(POLICY, SITE), stream.events)
    told = alerts(answers)
    assert {alert.suspect_module for alert in told} == {CULPRIT}
    assert len({alert.alert_id for alert in told}) == 1
    assert [alert.revision for alert in told] == list(range(1, len(told) + 1))
    last = told[-1]
    assert (last.kind, last.pattern, last.status) == ("pattern", "Edge-Ring", "open")
    assert (last.suspect_equipment, last.suspect_step) == ("ETCH-01", "etch")
    assert last.suspect_recipe == "R-etch"
    assert last.commonalities[0].value == CULPRIT
    assert last.commonalities[0].p_value < 1e-6
    assert last.confidence > 0.95
    assert last.baseline_rate < 0.1
    assert last.affected_count <= stream.spoilt[CULPRIT] + 5
    assert len(last.affected) == min(100, last.affected_count)
    assert not set(last.affected) & set(last.unaffected)
    assert told[0].affected_count <= 10
    assert told[0].at_risk
    assert len(told) <= 10


def test_the_proposed_action_inhibits_the_culprit_for_a_person_to_approve() -> None:
    proposed = actions(feed(Engine(POLICY, SITE), make(1, SICK).events))
    first = proposed[0]
    assert (first.kind, first.status, first.by) == ("inhibit_module", "proposed", "advisor")
    assert f"{first.equipment_id}/{first.module_id}" == CULPRIT
    assert first.expected_good_dies > first.cost_good_dies > 0
    assert first.check
    assert "Edge-Ring" in first.comment
    assert len(proposed) == 1


def test_a_quiet_fab_raises_nothing() -> None:
    for seed in range(3):
        assert feed(Engine(POLICY, SITE), make(seed + 500).events) == []


def test_a_trace_fault_comes_first_and_the_pattern_joins_it() -> None:
    sick = (Sick(CULPRIT, "Edge-Ring", 25, rate=0.85, shift=8.0),)
    stream = make(3, sick, lots=12, traces=True)
    told = alerts(feed(Engine(POLICY, SITE), stream.events))
    assert len({alert.alert_id for alert in told}) == 1
    first, last = told[0], told[-1]
    assert (first.kind, first.pattern, first.suspect_module) == ("fault", "", CULPRIT)
    assert first.shifts[0].variable == "power_w"
    assert (last.kind, last.pattern) == ("pattern", "Edge-Ring")
    first_map = next(e.time_ms for e in stream.events if type(e).__name__ == "Prediction")
    assert first.time_ms < first_map + 12 * 60 * MINUTE_MS


@pytest.mark.parametrize("traces", [False, True])
def test_restarts_and_batches_change_nothing(traces: bool) -> None:
    events = make(4, (Sick(CULPRIT, "Donut", 15, shift=6.0),), lots=10, traces=traces).events
    whole = Engine(POLICY, SITE)
    expected = everything(whole, events)
    rng = random.Random(9)
    engine, got, at = Engine(POLICY, SITE), [], 0
    while at < len(events):
        size = rng.randint(1, 400)
        got += everything(engine, events[at : at + size])
        engine = Engine(POLICY, SITE, engine.snapshot())
        at += size
    assert got == expected
    assert expected
    assert engine.snapshot() == whole.snapshot()


def test_events_that_come_twice_change_nothing() -> None:
    events = make(5, SICK, lots=12).events
    once, twice = Engine(POLICY, SITE), Engine(POLICY, SITE)
    doubled = [event for event in events for _ in range(2)]
    assert everything(once, events) == everything(twice, doubled)
    assert everything(twice, events) == []


def test_predictions_before_or_long_after_their_wafers_still_count() -> None:
    events = make(6, SICK).events
    early = sorted(events, key=lambda e: type(e).__name__ != "Prediction")
    rng = random.Random(2)
    jitter = sorted(events, key=lambda e: e.time_ms + rng.randint(0, 3 * 60 * MINUTE_MS))
    for order in (early, jitter):
        told = alerts(feed(Engine(POLICY, SITE), order))
        assert {alert.suspect_module for alert in told} <= {CULPRIT}
    assert told


def test_after_an_inhibit_the_wafers_in_the_pipeline_raise_nothing_new() -> None:
    engine = Engine(POLICY, SITE)
    answers, rest = until_alert(engine, make(7, (Sick(CULPRIT, "Scratch", 30, 70),)).events)
    first = alerts(answers)[0]
    now = max(e.time_ms for e in answers)
    engine.handle(stage(actions(answers)[0], "approved"))
    engine.handle(stage(actions(answers)[0], "applied", "fab"))
    engine.handle(state(CULPRIT, "etch", now, inhibited=True))
    engine.handle(decision(first, "resolved"))
    later = [e for e in rest if getattr(e, "equipment_id", "") != "ETCH-01" or e.time_ms <= now]
    assert alerts(feed(engine, later)) == []


def test_what_recurs_after_it_was_resolved_is_a_new_alert() -> None:
    engine = Engine(POLICY, SITE)
    answers, rest = until_alert(engine, make(8, SICK, lots=40).events)
    first = alerts(answers)[0]
    withdrawn = engine.handle(decision(first, "resolved"))
    assert [(a.status, a.by) for a in actions(withdrawn)] == [("rejected", "advisor")]
    again = alerts(feed(engine, rest))
    assert again
    assert again[0].alert_id != first.alert_id
    assert again[0].suspect_module == CULPRIT
    assert again[0].since_ms >= first.time_ms


def test_an_excursion_that_ends_returns_to_normal() -> None:
    told = alerts(feed(Engine(POLICY, SITE), make(9, (Sick(CULPRIT, "Loc", 25, 60),)).events))
    assert [alert.status for alert in told].count("normal") == 1
    assert told[-1].status == "normal"
    assert len({alert.alert_id for alert in told}) == 1


def test_a_rejected_action_is_not_proposed_again() -> None:
    engine = Engine(POLICY, SITE)
    answers, rest = until_alert(engine, make(10, SICK).events)
    rejected = actions(answers)[0]
    engine.handle(stage(rejected, "rejected"))
    later = actions(feed(engine, rest))
    assert all(action.kind != rejected.kind for action in later)


def test_a_shelved_alert_is_silent_until_it_comes_back() -> None:
    engine = Engine(POLICY, SITE)
    answers, rest = until_alert(engine, make(11, SICK).events)
    engine.handle(decision(alerts(answers)[0], "shelved", until_ms=5_000_000 + 10**10))
    assert feed(engine, rest[: len(rest) // 2]) == []
    engine.handle(decision(alerts(answers)[0], "reopened"))
    assert alerts(feed(engine, rest[len(rest) // 2 :]))


def test_an_automatic_policy_approves_in_its_own_name() -> None:
    policy = msgspec.structs.replace(
        POLICY, name="night", approvals={**POLICY.approvals, "inhibit_module": "automatic"}
    )
    done = actions(feed(Engine(policy, SITE), make(12, SICK).events))
    assert [(a.kind, a.status, a.by) for a in done] == [
        ("inhibit_module", "approved", "policy:night")
    ]


def test_the_last_module_of_a_step_is_not_inhibited() -> None:
    engine = Engine(POLICY, SITE)
    events = make(13, SICK).events
    down = [
        state(module, "etch", START_MS + 1, state="unscheduled_down")
        for module in ("ETCH-01/B", "ETCH-02/A", "ETCH-02/B")
    ]
    done = actions(feed(engine, [*events[:24], *down, *events[24:]]))
    assert done
    assert all(action.kind != "inhibit_module" for action in done)


def test_recipe_corrections_stay_within_their_limits() -> None:
    limits = {"variable": "power_w", "gain": 1.0, "min": 850, "max": 903, "max_step": 10}
    policy = _with_parameter(POLICY, limits)
    sick = (Sick(CULPRIT, "Donut", 60, rate=0.0, shift=-8.0),)
    done = actions(feed(Engine(policy, SITE), make(14, sick, lots=10, traces=True).events))
    assert all(850 <= a.value <= 903 for a in done if a.kind == "adjust_recipe")
    up = (Sick(CULPRIT, "Donut", 60, rate=0.0, shift=8.0),)
    done = actions(feed(Engine(policy, SITE), make(14, up, lots=10, traces=True).events))
    change = next(a for a in done if a.kind == "adjust_recipe")
    assert (change.recipe_id, change.parameter) == ("R-etch", "power_w")
    assert 880 <= change.value < 900


def _with_parameter(policy: Policy, limits: dict[str, object]) -> Policy:
    raw = msgspec.to_builtins(policy)
    raw["recipe_parameters"] = {"power_w": limits}
    raw["economics"]["success"]["adjust_recipe"] = 0.95
    return msgspec.convert(raw, Policy)


def test_snapshots_that_are_not_ours_are_refused() -> None:
    engine = Engine(POLICY, SITE)
    feed(engine, make(15, lots=2, traces=True).events)
    saved = engine.snapshot()
    foreign = (b"", b"\x00" * 50, saved[:-20], b"not a state", msgspec.msgpack.encode({"a": 1}))
    for data in foreign:
        with pytest.raises(DataError, match="damaged"):
            Engine(POLICY, SITE, data)
    with pytest.raises(DataError, match="'kr1'"):
        Engine(POLICY, "de2", saved)
    raw = msgspec.msgpack.decode(saved)
    with pytest.raises(DataError, match="version 99"):
        Engine(POLICY, SITE, msgspec.msgpack.encode({**raw, "version": 99}))
    with pytest.raises(DataError, match="contradicts"):
        Engine(POLICY, SITE, msgspec.msgpack.encode({**raw, "tested": ["ghost"], "wafers": {}}))
    with pytest.raises(ConfigError):
        Engine(POLICY, "No Site")


def test_a_trace_that_does_not_fit_its_variables_changes_nothing() -> None:
    engine = Engine(POLICY, SITE)
    before = engine.snapshot()
    bad = trace("W", "L", CULPRIT, "etch", 0, START_MS, np.zeros((10, 3)))
    with pytest.raises(TraceError, match="3 columns for 4 variables"):
        engine.handle(bad)
    assert engine.snapshot() == before


def test_other_sites_and_implausible_times_are_ignored_and_counted() -> None:
    engine = Engine(POLICY, SITE)
    engine.handle(process("started", "W1", "L", CULPRIT, "etch", 0, START_MS))
    engine.handle(process("started", "W2", "L", CULPRIT, "etch", 0, START_MS + 10**12))
    engine.handle(process("started", "W3", "L", CULPRIT, "etch", 0, 5))
    engine.handle(msgspec.structs.replace(prediction("W4", (), START_MS), site="de2"))
    assert engine.ignored == {"implausible time": 2, "another site": 1}
    # A clock that was wrong at first is found out.
    poisoned = Engine(POLICY, SITE)
    poisoned.handle(process("started", "W0", "L", CULPRIT, "etch", 0, START_MS + 10**12))
    events = make(16, SICK).events
    assert alerts(feed(poisoned, events))


def test_the_state_stays_small() -> None:
    engine = Engine(POLICY, SITE)
    feed(engine, make(17, SICK, lots=40).events)
    assert len(engine.snapshot()) < 1_000_000
