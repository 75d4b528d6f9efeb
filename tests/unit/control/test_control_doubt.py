"""Nothing is done on stale or doubtful data, whatever it seems to say."""

import msgspec
import pytest

from contracts.events import Cause
from control.advisor import Outlook, options
from control.guard_rails import HOUR_MS, doubt, refusal
from control.policy import load_policy
from control.state import AlertRecord, ControlState, ModuleRecord
from control.suspects import newly_named, say_modes
from tests.control_streams import SITE, START_MS

POLICY = load_policy()
MODULE = "ETCH-01/A"


def case() -> tuple[AlertRecord, ControlState]:
    """A fault as sure as can be, of a module everybody knows."""
    state = ControlState(SITE, now_ms=START_MS)
    state.modules[MODULE] = ModuleRecord("etch", steps={"ETCH": START_MS}, traced_ms=START_MS)
    alert = AlertRecord("a", "fault", "", MODULE, START_MS - HOUR_MS, START_MS - HOUR_MS)
    alert.confidence, alert.affected_count, alert.examined_count = 0.99, 9, 9
    alert.profile_wafers, alert.evidence_ms = 9, START_MS
    alert.causes = (Cause(module=MODULE, mode="rf_match_drift", probability=0.99),)
    return alert, state


def refused(alert: AlertRecord, state: ControlState) -> str:
    ahead = Outlook(share_of_lot=0.25, wafers_per_h=8.0, lots=[])
    action = options(alert, state, POLICY, ahead)[0]
    assert action.kind == "schedule_pm"
    return refusal(action, alert, state, POLICY, set())


def test_good_data_are_good_enough() -> None:
    alert, state = case()
    assert refused(alert, state) == ""


def test_a_clock_that_is_contradicted() -> None:
    alert, state = case()
    state.out_of_time = 1
    assert "clock" in refused(alert, state)


def test_news_that_are_old() -> None:
    alert, state = case()
    state.now_ms += int((POLICY.limits.max_evidence_age_h + 1) * HOUR_MS)
    assert "older" in refused(alert, state)


def test_too_few_traces() -> None:
    alert, state = case()
    alert.profile_wafers = POLICY.limits.min_traces - 1
    assert "traces" in refused(alert, state)


def test_sensors_that_are_silent() -> None:
    alert, state = case()
    state.modules[MODULE].missing = POLICY.limits.max_missing_sensors + 0.1
    assert "say nothing" in refused(alert, state)


def test_a_module_that_only_traces_ever_named() -> None:
    alert, state = case()
    state.modules[MODULE] = ModuleRecord(traced_ms=START_MS)
    assert "ever named" in refused(alert, state)
    del state.modules[MODULE]
    assert "ever named" in doubt(alert, state, POLICY)


def test_waiting_is_better_while_it_is_not_clear() -> None:
    alert, state = case()
    ahead = Outlook(share_of_lot=0.25, wafers_per_h=8.0, lots=["L1"])
    alert.confidence = 0.6
    assert options(alert, state, POLICY, ahead) == []
    # After ten wafers measurements are worth their price.
    alert.profile_wafers = 12
    assert [action.kind for action in options(alert, state, POLICY, ahead)] == ["request_metrology"]
    alert.causes = (Cause(module=MODULE, mode="sensor_fault", probability=0.6),)
    assert options(alert, state, POLICY, ahead) == []


@pytest.mark.parametrize("trust", [0.0, 1e6])
def test_the_price_of_a_needless_stop_is_the_policys(trust: float) -> None:
    economics = msgspec.structs.replace(POLICY.economics, needless_good_dies=trust)
    policy = msgspec.structs.replace(POLICY, economics=economics)
    alert, state = case()
    alert.confidence = 0.7
    ahead = Outlook(share_of_lot=0.25, wafers_per_h=8.0, lots=[])
    assert bool(options(alert, state, policy, ahead)) == (trust == 0.0)


def test_two_modes_that_change_places_are_no_news() -> None:
    alert, _ = case()
    one, two = (Cause(module=MODULE, mode=mode, probability=0.9) for mode in ("chamber", "gas"))
    alert.causes = (one,)
    assert newly_named(alert)
    say_modes(alert)
    assert not newly_named(alert)
    alert.causes = (one, two)
    assert newly_named(alert)
    say_modes(alert)
    for causes in ((two, one), (two,), ()):
        alert.causes = causes
        assert not newly_named(alert)
    alert.causes = (two, Cause(module=MODULE, mode="matcher", probability=0.6))
    assert newly_named(alert)
