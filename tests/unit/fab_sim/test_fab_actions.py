"""The fab obeys what is approved, and says why when it does not."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from contracts.errors import GuardRailError
from contracts.events import (
    Action,
    ActionStatus,
    EquipmentState,
    Event,
    Metrology,
    ProcessEvent,
    Trace,
    WaferMap,
)
from fab_sim import Fab, load_scenario

START_MS = 1_700_000_000_000


def approved(action_id: str = "a1", status: ActionStatus = "approved", **fields: Any) -> Action:
    return Action(
        event_id=Action.event_id_for(action_id, status),
        time_ms=START_MS,
        action_id=action_id,
        alert_id="alert-1",
        status=status,
        by="engineer",
        **{"site": "kr1", **fields},
    )


def new_fab() -> Fab:
    return Fab(load_scenario("demo"), site="kr1", start_ms=START_MS)


def run_until(fab: Fab, done: Callable[[Fab], bool]) -> list[Event]:
    events: list[Event] = []
    while not done(fab):
        events += fab.step()
    return events


def answer(fab: Fab, action: Action) -> tuple[Action, list[Event]]:
    """Submit, make one step, and give the fab's answer with the step's events."""
    before = fab.now_ms
    fab.submit(action)
    events = fab.step()
    answers = [event for event in events if isinstance(event, Action)]
    assert len(answers) == 1
    assert answers[0].by == "fab"
    assert answers[0].action_id == action.action_id
    assert answers[0].time_ms == fab.now_ms > before
    assert answers[0].event_id == Action.event_id_for(action.action_id, answers[0].status)
    return answers[0], events


def inhibit(module: str, action_id: str = "a1") -> Action:
    equipment, module_id = module.split("/")
    return approved(action_id, kind="inhibit_module", equipment_id=equipment, module_id=module_id)


def test_an_inhibited_module_gets_no_wafer_and_its_pattern_goes_away() -> None:
    fab = new_fab()
    run_until(fab, lambda f: f.wafers_done >= 150)
    sick = fab.truth()[0]
    assert sick.affected > 0
    given, events = answer(fab, inhibit(sick.module))
    assert given.status == "applied"
    states = [event for event in events if isinstance(event, EquipmentState)]
    assert [(s.key, s.inhibited) for s in states if "a1" in s.reason] == [(sick.module, True)]

    later = run_until(fab, lambda f: f.wafers_done >= 450)
    started = [e for e in later if isinstance(e, ProcessEvent) and e.phase == "started"]
    assert sick.module not in {event.key for event in started}
    others = {event.key for event in started if event.equipment_id == sick.equipment_id}
    assert others == {f"{sick.equipment_id}/A"}
    # Wafers that came through before the inhibit still show it; the last hundred do not.
    maps = [event for event in later if isinstance(event, WaferMap)][-100:]
    truth = fab.true_patterns()
    assert sum(sick.pattern in truth[event.substrate_id] for event in maps) <= 2


def test_the_last_module_of_a_step_is_not_inhibited() -> None:
    fab = new_fab()
    run_until(fab, lambda f: f.tick >= 50)
    modules = ["ETCH-01/A", "ETCH-01/B", "ETCH-02/A", "ETCH-02/B"]
    statuses = [answer(fab, inhibit(name, name))[0] for name in modules]
    assert [given.status for given in statuses] == ["applied", "applied", "applied", "failed"]
    assert "last module for etch" in statuses[-1].comment
    later = run_until(fab, lambda f: f.wafers_done >= 50)
    etched = {e.key for e in later if isinstance(e, Trace) and e.step == "ETCH-M1"}
    assert "ETCH-02/B" in etched


def test_a_held_lot_stops_and_the_others_go_on() -> None:
    fab = new_fab()
    events = run_until(fab, lambda f: f.tick >= 200)
    lot = next(event.lot_id for event in events if isinstance(event, ProcessEvent))
    given, _ = answer(fab, approved(kind="hold_lot", lot_id=lot))
    assert given.status == "applied"
    later = run_until(fab, lambda f: f.wafers_done >= 100)
    started = [e for e in later if isinstance(e, ProcessEvent) and e.phase == "started"]
    assert lot not in {event.lot_id for event in started}
    assert lot not in {event.lot_id for event in later if isinstance(event, WaferMap)}
    assert len({event.lot_id for event in started}) >= 3


def test_a_lot_on_hold_makes_room_for_others_and_is_scrapped_after_three_days() -> None:
    scenario = load_scenario("quiet")
    lots = msgspec.structs.replace(scenario.lots, wafers=2, in_flight=1, every_h=2.0)
    fab = Fab(msgspec.structs.replace(scenario, lots=lots), site="kr1", start_ms=START_MS)
    run_until(fab, lambda f: f.tick >= 5)
    assert answer(fab, approved("a1", kind="hold_lot", lot_id="KR1-00001"))[0].status == "applied"
    held_at = fab.now_ms
    later = run_until(fab, lambda f: f.now_ms > held_at + 74 * 3_600_000)
    assert "KR1-00002" in {event.lot_id for event in later if isinstance(event, WaferMap)}
    given, _ = answer(fab, approved("a2", kind="hold_lot", lot_id="KR1-00001"))
    assert (given.status, "not on the line" in given.comment) == ("failed", True)


def test_maintenance_takes_hours_ends_the_cause_and_lifts_an_inhibit() -> None:
    fab = new_fab()
    run_until(fab, lambda f: f.wafers_done >= 150)
    sick = fab.truth()[0]
    answer(fab, inhibit(sick.module, "a1"))
    target = {"equipment_id": sick.equipment_id, "module_id": sick.module_id}
    given, at_once = answer(fab, approved("a2", kind="schedule_pm", **target))
    assert given.status == "applied"
    later = at_once + run_until(fab, lambda f: f.truth()[0].cleared_ms is not None)
    states = [e for e in later if isinstance(e, EquipmentState) and e.key == sick.module]
    down = next(state for state in states if state.state == "scheduled_down")
    assert "a2" in down.reason
    assert states[-1].state == "standby"
    assert not states[-1].inhibited
    cleared = fab.truth()[0].cleared_ms
    assert cleared is not None
    assert 3.0 <= (cleared - down.time_ms) / 3_600_000 <= 5.0
    after = run_until(fab, lambda f: f.wafers_done >= 700)
    assert any(isinstance(e, Trace) and e.key == sick.module for e in after)
    through = {e.substrate_id for e in after if isinstance(e, Trace) and e.key == sick.module}
    truth = fab.true_patterns()
    tested = [truth[substrate] for substrate in through if substrate in truth]
    assert len(tested) > 20
    assert sum(sick.pattern in patterns for patterns in tested) <= 1


def test_a_fitting_recipe_change_makes_the_pattern_go_away() -> None:
    def bad_wafers(change: float | None) -> int:
        fab = new_fab()
        while not any(item.mode == "rf_match_drift" for item in fab.truth()):
            fab.step()
        sick = next(item for item in fab.truth() if item.mode == "rf_match_drift")
        if change is not None:
            given, _ = answer(
                fab,
                approved(
                    kind="adjust_recipe",
                    equipment_id=sick.equipment_id,
                    module_id=sick.module_id,
                    recipe_id="ETC-M1",
                    parameter="rf_power_w",
                    value=900.0 + change,
                ),
            )
            assert given.status == "applied"
        run_until(fab, lambda f: f.wafers_done >= 400)
        return next(item.affected for item in fab.truth() if item.mode == "rf_match_drift")

    nothing, right = bad_wafers(None), bad_wafers(-60.0)
    assert nothing >= 25
    assert right == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "hold_lot", "lot_id": "KR1-99999"}, "not on the line"),
        ({"kind": "inhibit_module", "equipment_id": "ETCH-09", "module_id": "A"}, "no module"),
        ({"kind": "inhibit_module", "equipment_id": "ETCH-01", "module_id": ""}, "one module"),
        ({"kind": "schedule_pm", "equipment_id": "ETCH-01", "module_id": "Z"}, "no module"),
        ({"kind": "adjust_recipe", "recipe_id": "NOPE", "parameter": "rf_power_w"}, "no recipe"),
        ({"kind": "adjust_recipe", "recipe_id": "ETC-M1", "parameter": "luck"}, "rf_power_w"),
        (
            {
                "kind": "adjust_recipe",
                "recipe_id": "ETC-M1",
                "parameter": "rf_power_w",
                "value": 1200.0,
            },
            "outside 800 to 1000",
        ),
        (
            {
                "kind": "adjust_recipe",
                "recipe_id": "ETC-M1",
                "parameter": "rf_power_w",
                "value": float("nan"),
            },
            "outside",
        ),
    ],
)
def test_what_cannot_be_done_fails_with_a_reason(fields: dict[str, Any], words: str) -> None:
    fab = new_fab()
    fab.step()
    if fields["kind"] == "adjust_recipe":
        fields = {"equipment_id": "ETCH-01", "module_id": "A", **fields}
    given, events = answer(fab, approved(**fields))
    assert given.status == "failed"
    assert words in given.comment
    assert not [e for e in events if isinstance(e, EquipmentState) and "a1" in e.reason]


def test_what_is_done_already_fails_with_a_reason() -> None:
    fab = new_fab()
    events = run_until(fab, lambda f: f.tick >= 20)
    lot = next(event.lot_id for event in events if isinstance(event, ProcessEvent))
    target = {"equipment_id": "CMP-01", "module_id": "A"}
    for fields in (
        {"kind": "hold_lot", "lot_id": lot},
        {"kind": "inhibit_module", **target},
        {"kind": "schedule_pm", **target},
    ):
        first, _ = answer(fab, approved(f"{fields['kind']}-1", **fields))
        second, _ = answer(fab, approved(f"{fields['kind']}-2", **fields))
        assert (first.status, second.status) == ("applied", "failed")
        assert "already" in second.comment


def test_the_same_action_is_obeyed_once() -> None:
    fab = new_fab()
    fab.step()
    answer(fab, inhibit("ETCH-01/A"))
    fab.submit(inhibit("ETCH-01/A"))
    assert not any(isinstance(event, Action) for _ in range(20) for event in fab.step())


def test_only_approved_actions_of_this_site_are_taken() -> None:
    fab = new_fab()
    with pytest.raises(GuardRailError, match="proposed"):
        fab.submit(approved(status="proposed", kind="hold_lot", lot_id="x"))
    with pytest.raises(GuardRailError, match="us1"):
        fab.submit(msgspec.structs.replace(inhibit("ETCH-01/A"), site="us1"))


def test_a_released_lot_goes_on_and_is_tested() -> None:
    fab = new_fab()
    events = run_until(fab, lambda f: f.tick >= 200)
    lot = next(event.lot_id for event in events if isinstance(event, ProcessEvent))
    assert answer(fab, approved("a1", kind="hold_lot", lot_id=lot))[0].status == "applied"
    held_at = fab.now_ms
    run_until(fab, lambda f: f.now_ms > held_at + 3_600_000)
    given, _ = answer(fab, approved("a2", kind="release_lot", lot_id=lot))
    assert given.status == "applied"
    again, _ = answer(fab, approved("a3", kind="release_lot", lot_id=lot))
    assert (again.status, "not on hold" in again.comment) == ("failed", True)
    later = run_until(fab, lambda f: f.wafers_done >= 150)
    assert sum(isinstance(e, WaferMap) and e.lot_id == lot for e in later) == 25


def test_a_released_module_takes_wafers_again() -> None:
    fab = new_fab()
    fab.step()
    target = {"equipment_id": "ETCH-01", "module_id": "A"}
    assert answer(fab, inhibit("ETCH-01/A"))[0].status == "applied"
    given, events = answer(fab, approved("a2", kind="release_module", **target))
    assert given.status == "applied"
    states = [event for event in events if isinstance(event, EquipmentState)]
    assert [(s.key, s.inhibited) for s in states if "a2" in s.reason] == [("ETCH-01/A", False)]
    again, _ = answer(fab, approved("a3", kind="release_module", **target))
    assert (again.status, "not inhibited" in again.comment) == ("failed", True)
    later = run_until(fab, lambda f: f.wafers_done >= 25)
    assert any(isinstance(e, Trace) and e.key == "ETCH-01/A" for e in later)


def test_requested_metrology_measures_every_wafer_of_the_lot_and_takes_time() -> None:
    fab = new_fab()
    events = run_until(fab, lambda f: f.tick >= 150)
    lot = next(event.lot_id for event in events if isinstance(event, ProcessEvent))
    given, _ = answer(fab, approved("a1", kind="request_metrology", lot_id=lot))
    assert given.status == "applied"
    again, _ = answer(fab, approved("a2", kind="request_metrology", lot_id=lot))
    assert (again.status, "already" in again.comment) == ("failed", True)
    before = fab.tally.measurements
    later = run_until(fab, lambda f: lot not in f._line.lots)
    extra = [e for e in later if isinstance(e, ProcessEvent) and e.step == "MET-EXTRA"]
    assert {event.lot_id for event in extra} == {lot}
    assert len({event.substrate_id for event in extra}) == 25
    measured = {e.substrate_id for e in later if isinstance(e, Metrology) and e.lot_id == lot}
    assert len(measured) == 25
    assert fab.tally.measurements >= before + 25
    # Neither the step that comes after it nor what is measured again is taken for something known.
    ids = [event.event_id for event in later]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("change", "stopped"), [(-60.0, True), (60.0, False), (-5.0, False)])
def test_only_a_recipe_that_makes_up_for_it_stops_an_excursion(
    change: float, stopped: bool
) -> None:
    fab = new_fab()
    while not any(item.mode == "rf_match_drift" for item in fab.truth()):
        fab.step()
    sick = next(item for item in fab.truth() if item.mode == "rf_match_drift")
    target = {"equipment_id": sick.equipment_id, "module_id": sick.module_id}
    answer(fab, approved("a0", kind="inhibit_module", equipment_id="ETCH-02", module_id="A"))
    assert next(i for i in fab.truth() if i.mode == "rf_match_drift").detected_ms is None
    recipe = {"recipe_id": "ETC-M1", "parameter": "rf_power_w", "value": 900.0 + change}
    given, _ = answer(fab, approved("a1", kind="adjust_recipe", **target, **recipe))
    assert given.status == "applied"
    known = next(item for item in fab.truth() if item.mode == "rf_match_drift")
    assert known.detected_ms == fab.now_ms
    assert (known.stopped_ms is not None) == stopped


def test_a_lot_held_on_its_way_to_extra_metrology_is_scrapped_after_three_days() -> None:
    scenario = load_scenario("demo")
    lots = msgspec.structs.replace(scenario.lots, total=1)
    fab = Fab(msgspec.structs.replace(scenario, lots=lots), site="kr1", start_ms=START_MS)
    run_until(fab, lambda f: f.tick >= 10)
    answer(fab, approved("a1", kind="request_metrology", lot_id="KR1-00001"))
    while not any(isinstance(e, ProcessEvent) and e.step == "MET-EXTRA" for e in fab.step()):
        pass
    answer(fab, approved("a2", kind="hold_lot", lot_id="KR1-00001"))
    held_at = fab.now_ms
    while not fab.finished:
        fab.step()
    assert fab.tally.scrapped_wafers == 25
    assert 72.0 <= (fab.now_ms - held_at) / 3_600_000 < 80.0
