"""What is done about a fault, by whom, and whether it helped: on traces of the synthetic fab."""

from functools import cache

import msgspec
import pytest

from contracts.events import Action, ActionEffect, Alert, AutomationSwitch, Event, Trace
from control.engine import Engine
from control.policy import Approval, ApprovalRule, Policy, load_policy
from fab_sim import Fab, load_scenario
from fab_sim.scenario import NEVER_DOWN, Excursion, Lots, Sampling, SensorFault, Step
from tests.control_streams import SITE, START_MS, state

POLICY = load_policy()
MODULE = "ETCH-01/A"
HOUR_MS = 3_600_000


def automatic(who: Approval | list[ApprovalRule]) -> Policy:
    return msgspec.structs.replace(POLICY, approvals={**POLICY.approvals, "schedule_pm": who})


@cache
def recorded(mode: str, **_: object) -> tuple[Event, ...]:
    """Events of a short line with one sick etcher, or a lying sensor; nobody acts."""
    base = load_scenario("demo")
    excursions: tuple[Excursion, ...] = ()
    faults: tuple[SensorFault, ...] = ()
    if mode.startswith("sensor:"):
        kind = mode.partition(":")[2]
        faults = (
            SensorFault(
                id="s",
                equipment="ETCH-01",
                module="A",
                variable="rf_power_w",
                kind=kind,  # type: ignore[arg-type]
                onset_h=6.0,
            ),
        )
    elif mode:
        excursions = (Excursion(id="x", mode=mode, equipment="ETCH-01", module="A", onset_h=6.0),)
    scenario = msgspec.structs.replace(
        base,
        route=(
            Step(name="ETCH-M1", kind="etch", recipe="ETC-M1", minutes=2.2),
            Step(name="TEST-EDS", kind="test", recipe="EDS-1", minutes=30.0),
        ),
        lots=Lots(every_h=0.8, total=16),
        sampling=Sampling(trace_rows=40),
        reliability=NEVER_DOWN,
        excursions=excursions,
        sensor_faults=faults,
    )
    fab = Fab(scenario, site=SITE, seed=2, start_ms=START_MS)
    events: list[Event] = []
    while not fab.finished:
        events += [e for e in fab.step() if type(e).__name__ not in ("WaferMap", "ReviewImage")]
    return tuple(events)


def run(policy: Policy, mode: str, also: tuple[Event, ...] = ()) -> tuple[Engine, list[Event]]:
    engine, told = Engine(policy, SITE), []
    for event in (*also, *recorded(mode)):
        told += engine.handle(event)
    return engine, told


def of(told: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in told if isinstance(event, kind)]


@pytest.mark.parametrize("mode", ["rf_match_drift", "helium_chuck_leak", "particle_burst"])
def test_a_fault_is_named_and_its_cure_proposed(mode: str) -> None:
    _, told = run(POLICY, mode)
    alerts, actions = of(told, Alert), of(told, Action)
    named = [a.causes[0].mode for a in alerts if a.causes and a.causes[0].probability > 0.5]
    assert set(named) == {mode}
    assert [(a.kind, a.status) for a in actions] == [("schedule_pm", "proposed")]
    action = actions[0]
    assert f"{action.equipment_id}/{action.module_id}" == MODULE
    assert mode in action.comment
    assert any("saves" in said for said in action.evidence)
    assert action.expected_good_dies > action.cost_good_dies > 0


@pytest.mark.parametrize("kind", ["stuck", "spike", "dropout", "quantised"])
def test_a_sensor_that_lies_stops_nothing(kind: str) -> None:
    _, told = run(automatic("automatic"), f"sensor:{kind}")
    assert of(told, Action) == []
    for alert in of(told, Alert):
        assert alert.severity == "low"


def test_who_approves_is_the_policys_word_by_severity_and_site() -> None:
    for who, expected in (
        ("automatic", ("approved", "policy:default")),
        ([ApprovalRule(who="automatic", sites=("de2",))], ("proposed", "advisor")),
        ([ApprovalRule(who="automatic", severities=("low",))], ("proposed", "advisor")),
        ([ApprovalRule(who="automatic", sites=(SITE,))], ("approved", "policy:default")),
    ):
        _, told = run(automatic(who), "rf_match_drift")  # type: ignore[arg-type]
        first = of(told, Action)[0]
        assert (first.status, first.by) == expected


def test_semi_automatic_waits_for_an_objection() -> None:
    _, told = run(automatic("semi_automatic"), "rf_match_drift")
    first, second = of(told, Action)[:2]
    assert (first.status, second.status) == ("proposed", "approved")
    assert first.action_id == second.action_id
    assert second.time_ms - first.time_ms >= POLICY.limits.veto_min * 60_000
    engine, done = Engine(automatic("semi_automatic"), SITE), []
    for event in recorded("rf_match_drift"):
        for answer in engine.handle(event):
            done += [answer] if isinstance(answer, Action) else []
            if isinstance(answer, Action) and answer.status == "proposed":
                engine.handle(
                    msgspec.structs.replace(answer, status="rejected", by="kim", event_id="no")
                )
    assert [action.status for action in done] == ["proposed"]


@pytest.mark.parametrize("who", ["automatic", "semi_automatic"])
def test_the_switch_ends_all_automatic_approvals_and_no_proposal(who: Approval) -> None:
    off = AutomationSwitch(
        event_id="off", site=SITE, time_ms=START_MS, automatic=False, by="kim", reason="test"
    )
    engine, told = run(automatic(who), "rf_match_drift", (off,))
    assert {action.status for action in of(told, Action)} == {"proposed"}
    # It is in the saved state.
    again = Engine(automatic(who), SITE, engine.snapshot())
    assert not again._state.automatic
    again.handle(msgspec.structs.replace(off, event_id="on", automatic=True))
    assert again._state.automatic


def acted_on(policy: Policy, *, cured: bool) -> list[Event]:
    """Maintenance as soon as it is proposed; the module is well afterwards, or still sick."""
    engine, told, until = Engine(policy, SITE), [], -1
    well = {e.event_id: e for e in recorded("")}
    for event in recorded("rf_match_drift"):
        after = until >= 0 and cured and getattr(event, "key", "") == MODULE
        if after and type(event).__name__ == "Trace" and event.event_id in well:
            event = well[event.event_id]
        answers = engine.handle(event)
        told += answers
        for action in answers:
            if isinstance(action, Action) and action.kind == "schedule_pm" and until < 0:
                for status in ("approved", "applied"):
                    stage = Action.event_id_for(action.action_id, status)  # type: ignore[arg-type]
                    told += engine.handle(
                        msgspec.structs.replace(action, status=status, event_id=stage)
                    )
                until = event.time_ms
                for number, what in enumerate(("scheduled_down", "standby")):
                    told += engine.handle(state(MODULE, "etch", until + 1 + number, state=what))
    return told


def test_an_effect_that_came_ends_the_alert() -> None:
    told = acted_on(POLICY, cured=True)
    effects = of(told, ActionEffect)
    assert [(e.verdict, e.consequence) for e in effects] == [("came", "none")]
    assert abs(effects[0].after) < 1.0 < abs(effects[0].before)
    assert of(told, Alert)[-1].status == "normal"
    assert len(of(told, Action)) == 1


def test_an_effect_that_did_not_come_is_escalated_and_the_cure_not_repeated() -> None:
    told = acted_on(POLICY, cured=False)
    effects = of(told, ActionEffect)
    assert [(e.verdict, e.consequence) for e in effects] == [("absent", "escalated")]
    assert effects[0].after > 0.7 * effects[0].before
    last = of(told, Alert)[-1]
    assert (last.status, last.causes[0].mode) == ("open", "rf_match_drift")
    assert [action.kind for action in of(told, Action)] == ["schedule_pm"]


def broke_down(*, cured: bool) -> tuple[list[Event], int]:
    """A breakdown stands in the way of the maintenance that is proposed; the time of its repair."""
    engine, told, back = Engine(POLICY, SITE), [], -1
    well = {e.event_id: e for e in recorded("")}
    for event in recorded("rf_match_drift"):
        if back >= 0 and cured and isinstance(event, Trace) and event.key == MODULE:
            event = well.get(event.event_id, event)
        answers = engine.handle(event)
        told += answers
        first = next((a for a in answers if isinstance(a, Action)), None)
        if first is None or back >= 0:
            continue
        for status in ("approved", "failed"):
            stage = Action.event_id_for(first.action_id, status)  # type: ignore[arg-type]
            engine.handle(msgspec.structs.replace(first, status=status, event_id=stage))
        back = event.time_ms + 2
        for number, what in enumerate(("unscheduled_down", "standby"), 1):
            told += engine.handle(state(MODULE, "etch", event.time_ms + number, state=what))
    return told, back


def test_a_breakdown_is_no_cure_and_what_it_made_impossible_is_proposed_again() -> None:
    told, back = broke_down(cured=False)
    kinds = [(a.kind, a.status, a.time_ms > back) for a in of(told, Action)]
    assert kinds == [("schedule_pm", "proposed", False), ("schedule_pm", "proposed", True)]
    assert {alert.status for alert in of(told, Alert)} == {"open"}
    assert len({alert.alert_id for alert in of(told, Alert)}) == 1


def test_a_repair_that_did_cure_ends_the_alert_and_nothing_more_is_proposed() -> None:
    told, back = broke_down(cured=True)
    assert [action.time_ms > back for action in of(told, Action)] == [False]
    assert of(told, Alert)[-1].status == "normal"
