"""Run-to-run threads in the engine: measured lots become set points, by way of the guard rails."""

import msgspec
import numpy as np
import pytest

from contracts.events import Action, Event, RunToRun, VirtualMetrology
from control.engine import Engine
from control.policy import Policy, load_policy
from tests.control_streams import MINUTE_MS, SITE, state
from tests.metrology_streams import PARAMETER, actions, feed, lot_at, lot_events

THREAD = {
    "step": "S0",
    "output": PARAMETER,
    "parameter": "time_s",
    "nominal": 60.0,
    "gain": 2.0,
    "target": 100.0,
    "weight": 0.5,
    "noise": 1.0,
    "dead_band": 0.5,
    "learn": 2,
}


def policy(automatic: bool = False, **changes: object) -> Policy:
    raw = msgspec.to_builtins(load_policy())
    limits = {"variable": "time_s", "gain": 1.0, "min": 55.0, "max": 65.0, "max_step": 2.0}
    raw["recipe_parameters"] = {"time_s": limits}
    raw["run_to_run"] = [{**THREAD, **changes}]
    raw["limits"]["max_actions_per_hour"] = 100
    if automatic:
        raw["approvals"]["adjust_recipe"] = "automatic"
    return msgspec.convert(raw, Policy)


def applied(action: Action) -> Action:
    event_id = Action.event_id_for(action.action_id, "applied")
    return msgspec.structs.replace(action, status="applied", by="fab", event_id=event_id)


def steps(told: list[Event]) -> list[RunToRun]:
    return [event for event in told if isinstance(event, RunToRun)]


def steer(engine: Engine, lots: int, disturbance: float, *, gain: float = 2.0) -> list[Event]:
    """Lots whose output obeys the set point, an hour apart; what is approved is applied."""
    set_point, told = 60.0, []
    random = np.random.default_rng(0)
    for lot in range(lots):
        mean = 100.0 + gain * (set_point - 60.0) + disturbance + 0.2 * random.normal()
        # Measured at once, so that the next lot is made with what this one taught.
        now = feed(engine, lot_events(lot, "E-1/A", [mean] * 3, delay_min=5))
        now += engine.handle(state("E-9/A", "etch", lot_at(lot) + 50 * MINUTE_MS))
        for action in actions(now):
            if action.status == "approved":
                set_point = action.value
                told += engine.handle(applied(action))
        told += now
    return told


def test_nothing_is_steered_as_shipped() -> None:
    told = steer(Engine(load_policy(), SITE), 10, 4.0)
    assert not steps(told)
    assert not actions(told)


def test_a_disturbance_is_taken_out_by_approved_changes_within_limits_and_step() -> None:
    told = steer(Engine(policy(automatic=True), SITE), 25, 6.0)
    sent = [action for action in actions(told) if action.status == "approved"]
    assert all(action.kind == "adjust_recipe" for action in sent)
    values = [60.0, *(action.value for action in sent)]
    assert np.abs(np.diff(values)).max() <= 2.0 + 1e-9
    last = steps(told)[-1]
    assert last.measured == pytest.approx(100.0, abs=1.0)
    assert last.set_point == pytest.approx(57.0, abs=0.5)
    assert last.status == "dead_band"
    assert last.thread == "all products | S0 | E-1/A"
    assert sent[0].by == "policy:default"
    assert "film_nm" in sent[0].comment


def test_a_person_is_asked_once_and_again_only_with_news() -> None:
    told = steer(Engine(policy(), SITE), 12, 6.0)
    open_now: set[str] = set()
    for action in actions(told):
        (open_now.add if action.status == "proposed" else open_now.discard)(action.action_id)
        assert len(open_now) <= 1
    assert len(open_now) == 1
    assert {action.status for action in actions(told)} <= {"proposed", "rejected"}
    assert steps(told)[-1].set_point == 60.0


def test_a_set_point_out_of_the_limits_is_never_asked_for() -> None:
    told = steer(Engine(policy(automatic=True), SITE), 30, 40.0)
    assert min(action.value for action in actions(told)) == 55.0
    assert steps(told)[-1].status in ("limited", "dead_band")


def test_the_wrong_model_stops_the_thread_and_a_repair_starts_it_again() -> None:
    engine = Engine(policy(automatic=True, weight=0.9), SITE)
    told = steer(engine, 40, 3.0, gain=-2.0)
    assert steps(told)[-1].status == "stopped"
    ratio = steps(told)[-1].gain_ratio
    assert ratio is None or ratio < 0.0
    stop = next(n for n, step in enumerate(steps(told)) if step.status == "stopped")
    assert stop < 30
    engine.handle(state("E-1/A", "etch", lot_at(41), state="scheduled_down"))
    engine.handle(state("E-1/A", "etch", lot_at(42)))
    again = feed(engine, lot_events(43, "E-1/A", [100.0] * 3, delay_min=5))
    again += engine.handle(state("E-9/A", "etch", lot_at(44)))
    assert steps(again)[-1].status == "learning"


def foretold(lot: int, predicted: float, **changes: object) -> VirtualMetrology:
    event = VirtualMetrology(
        event_id=f"vm{lot}",
        site=SITE,
        time_ms=lot_at(lot),
        lot_id=f"L{lot}",
        substrate_id=f"L{lot}.1",
        slot=1,
        equipment_id="E-1",
        module_id="A",
        recipe_id="R-S0",
        step="S0",
        parameter=PARAMETER,
        predicted=predicted,
        low=predicted - 1.645,
        high=predicted + 1.645,
        coverage=0.9,
        unlike=False,
        learned=100,
    )
    return msgspec.structs.replace(event, **changes)


def test_virtual_metrology_steers_with_less_weight_and_not_at_all_where_it_guesses() -> None:
    engine = Engine(policy(source="virtual_metrology", learn=0), SITE)
    (first,) = steps(engine.handle(foretold(0, 104.0)))
    assert first.virtual
    # Deviation 1, noise 1: half of the weight 0.5; gain 2.
    assert first.disturbance == pytest.approx(100.0 - 120.0 + 0.25 * 4.0, abs=1e-3)
    assert not steps(engine.handle(foretold(1, 104.0, unlike=True)))
    assert not steps(engine.handle(foretold(2, 104.0, low=float("nan"))))
    assert not steps(engine.handle(foretold(3, 104.0, coverage=1.0)))
    assert not steps(engine.handle(foretold(4, float("nan"))))
    real = Engine(policy(learn=0), SITE)
    assert not steps(real.handle(foretold(0, 104.0)))


def test_a_saved_engine_goes_on_and_a_corrected_model_starts_again() -> None:
    engine = Engine(policy(automatic=True), SITE)
    steer(engine, 10, 6.0)
    data = engine.snapshot()
    assert Engine(policy(automatic=True), SITE, data).snapshot() == data
    corrected = Engine(policy(automatic=True, gain=3.0), SITE, data)
    told = feed(corrected, lot_events(20, "E-1/A", [100.0] * 3, delay_min=5))
    told += corrected.handle(state("E-9/A", "etch", lot_at(21)))
    assert steps(told)[-1].runs == 1
    assert steps(told)[-1].set_point != 60.0
