"""A fab that was killed and restored is the fab that was not, byte for byte."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codec import encode
from contracts.errors import ConfigError
from contracts.events import Action
from fab_sim import Fab, load_scenario

START_MS = 1_700_000_000_000
STEPS = 1500
# Step before which each is handed over: good ones, a refused one, two at a time.
ORDERS = {
    150: [("inhibit_module", "ETCH-01", "A", "b2"), ("inhibit_module", "ETCH-01", "A", "b1")],
    300: [("schedule_pm", "DEP-02", "B", "c1")],
    301: [("inhibit_module", "NOPE-01", "B", "c2")],
    700: [("adjust_recipe", "ETCH-02", "B", "d1")],
    900: [("schedule_pm", "ETCH-01", "A", "e1")],
}


def new_fab() -> Fab:
    return Fab(load_scenario("demo"), site="kr1", start_ms=START_MS)


def order(kind: str, equipment: str, module: str, action_id: str) -> Action:
    return Action(
        event_id=Action.event_id_for(action_id, "approved"),
        site="kr1",
        time_ms=0,
        action_id=action_id,
        alert_id="x",
        kind=kind,  # type: ignore[arg-type]
        status="approved",
        by="engineer",
        equipment_id=equipment,
        module_id=module,
        recipe_id="ETC-M1",
        parameter="rf_power_w",
        value=870.0,
    )


def advance(fab: Fab, steps: int) -> list[tuple[list[bytes], list[Action]]]:
    """Make steps, handing over the orders due; encoded events and the fab's answers of each."""
    out = []
    for _ in range(steps):
        for fields in ORDERS.get(fab.tick, []):
            fab.submit(order(*fields))
        events = fab.step()
        answers = [event for event in events if isinstance(event, Action)]
        out.append(([encode(event).value for event in events], answers))
    return out


@cache
def straight() -> tuple[list[tuple[list[bytes], list[Action]]], Fab]:
    fab = new_fab()
    return advance(fab, STEPS), fab


@settings(max_examples=12, deadline=None)
@given(killed_at=st.integers(0, STEPS - 20) | st.sampled_from([150, 151, 300, 301, 302, 901]))
def test_killed_at_any_step_and_restored_it_goes_on_as_if_nothing_happened(killed_at: int) -> None:
    expected, _ = straight()
    history = [answer for _, answers in expected[:killed_at] for answer in answers]
    # What was answered after the last safe step may be there too, and is not to be obeyed twice.
    history += [answer for _, answers in expected[killed_at:] for answer in answers]
    fab = new_fab()
    fab.restore(killed_at, history[::-1])
    assert fab.tick == killed_at
    after = advance(fab, min(120, STEPS - killed_at))
    assert [raw for raw, _ in after] == [
        raw for raw, _ in expected[killed_at : killed_at + len(after)]
    ]


def test_the_truth_is_restored_too() -> None:
    expected, whole = straight()
    fab = new_fab()
    fab.restore(STEPS, [answer for _, answers in expected for answer in answers])
    assert fab.truth() == whole.truth()
    assert fab.true_patterns() == whole.true_patterns()
    assert (fab.now_ms, fab.wafers_done) == (whole.now_ms, whole.wafers_done)


def test_an_action_answered_before_the_crash_is_not_obeyed_again() -> None:
    expected, _ = straight()
    fab = new_fab()
    fab.restore(500, [answer for _, answers in expected for answer in answers])
    fab.submit(order("inhibit_module", "ETCH-01", "A", "b1"))
    assert not any(isinstance(event, Action) for event in fab.step())


def test_a_history_of_another_fab_is_refused() -> None:
    expected, _ = straight()
    history = [answer for _, answers in expected for answer in answers]
    other = Fab(load_scenario("demo"), site="kr1", seed=999, start_ms=START_MS)
    with pytest.raises(ConfigError, match="another scenario, seed or start"):
        other.restore(500, history)


def test_a_fab_that_has_run_cannot_be_restored() -> None:
    fab = new_fab()
    fab.step()
    with pytest.raises(ConfigError, match="only a new fab"):
        fab.restore(1, ())
