"""No sequence of events makes the engine leave its guard rails, or crash."""

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import TraceError
from contracts.events import (
    Action,
    Alert,
    AlertDecision,
    AutomationSwitch,
    EquipmentState,
    Event,
    ProcessEvent,
)
from control.engine import Engine
from control.policy import load_policy
from tests.control_streams import SITE, START_MS, prediction, process, state, trace
from tests.judgement_streams import judgement

_RAW = msgspec.to_builtins(load_policy())
_RAW["limits"].update(max_open_actions=2, max_actions_per_hour=2, min_confidence=0.3)
_RAW["detection"].update(trace_warm_up=5, wafers_per_false_alert=2.0, max_corrected_p=1.0)
_RAW["limits"].update(min_traces=2, veto_min=10.0)
_RAW["economics"].update(needless_good_dies=0.0)
_RAW["approvals"].update(
    inhibit_module="automatic",
    adjust_recipe="automatic",
    schedule_pm=[{"who": "automatic", "severities": ["critical"]}, {"who": "semi_automatic"}],
    release_module="automatic",
    request_metrology="semi_automatic",
)
# What a module named in events can suffer from, so that modes are named and acted upon.
_RAW["failure_modes"] = {
    "drift": {"kinds": ["etch"], "signature": {"a_w": 8.0, "b_pa": 5.0}, "patterns": ["Loc"]},
    "burst": {"kinds": ["etch"], "signature": {"a_w": 14.0}, "patterns": ["Scratch"]},
}
_RAW["recipe_parameters"] = {
    "a_w": {"variable": "a_w", "gain": 1.0, "min": -5.0, "max": 5.0, "max_step": 1.0}
}
POLICY = msgspec.convert(_RAW, type(load_policy()))

MODULES = ("E-1/A", "E-1/B", "E-2/A")
names = st.sampled_from([f"L{lot}.{n:02d}" for lot in range(3) for n in range(12)])
modules = st.sampled_from(MODULES)
steps = st.sampled_from(["S0", "S1"])
times = st.one_of(
    st.integers(0, 400).map(lambda minutes: START_MS + minutes * 60_000),
    st.sampled_from([0, -1, 2**62, START_MS - 10**11, START_MS + 10**11]),
)
# What only traces ever name: it may not exist at all.
GHOSTS = ("E-9/A", "E-1/Z")
readings = st.sampled_from([0.0, 1.0, 4.9, 50.0, np.nan, np.inf, -np.inf, 3e38, -3e38])


def _matrix(value: float, noise: int) -> np.ndarray:
    out = np.random.default_rng(noise).normal(size=(12, 2))
    out[:, 0] = value if noise % 3 == 0 else out[:, 0] + value
    return out


def _unique(event: Event, number: int) -> Event:
    return msgspec.structs.replace(event, event_id=f"e{number}")


@st.composite
def _event(draw: st.DrawFn) -> Event:
    kind = draw(
        st.sampled_from(
            ["process", "process", "trace", "test", "test", "state", "switch", "poison", "score"]
        )
    )
    name, module, at = draw(names), draw(modules), draw(times)
    lot = name.split(".")[0]
    sequence = draw(st.integers(0, 1))
    if kind == "process":
        event: Event = process("completed", name, lot, module, f"S{sequence}", sequence, at)
    elif kind == "trace":
        values = _matrix(draw(readings), draw(st.integers(0, 5)))
        event = trace(name, lot, module, f"S{sequence}", sequence, at, values, ("a_w", "b_pa"))
    elif kind == "poison":
        values = draw(st.sampled_from([np.full((12, 2), 50.0), np.full((12, 2), np.nan)]))
        module = draw(st.sampled_from([*MODULES, *GHOSTS]))
        at += draw(st.sampled_from([0, 10**8, 20 * 86_400_000]))
        event = trace(name, lot, module, f"S{sequence}", sequence, at, values, ("a_w", "b_pa"))
    elif kind == "score":
        module = draw(st.sampled_from([*MODULES, *GHOSTS]))
        event = judgement(name, module, at, draw(st.sampled_from([0.0, 2.0, 1e300, None])))
    elif kind == "switch":
        event = AutomationSwitch(
            event_id=f"switch{draw(st.integers(0, 10**6))}",
            site=SITE,
            time_ms=draw(times),
            automatic=draw(st.booleans()),
            by="kim",
            reason="why not",
        )
    elif kind == "test":
        event = prediction(name, draw(st.sampled_from([("Loc",), ("Scratch",), ()])), at, lot)
    else:
        down = draw(st.booleans())
        event = state(
            module,
            "etch",
            at,
            state="unscheduled_down" if down else "standby",
            inhibited=draw(st.booleans()),
        )
    return event if draw(st.booleans()) else _unique(event, draw(st.integers(0, 10**6)))


# A burst is what makes excursions: wafers of one module, bad one after another, or a shift.
@st.composite
def _burst(draw: st.DrawFn) -> list[Event]:
    module, start = draw(modules), draw(st.integers(0, 10**5))
    shift = draw(readings)
    ghost = draw(st.sampled_from([False, False, False, True]))
    if ghost:  # traces without any wafer that was ever there
        module = draw(st.sampled_from(GHOSTS))
    at = START_MS + draw(st.integers(0, 400)) * 60_000
    out: list[Event] = []
    spoilt = draw(st.sampled_from([0, 1, 3]))  # of four wafers
    scored = draw(st.booleans())
    for n in range(draw(st.integers(5, 25))):
        name, lot = f"B{start}.{n}", f"B{start + n // 4}"
        if not ghost:
            out.append(process("completed", name, lot, module, "S0", 0, at + n * 1000))
        values = np.random.default_rng(n).normal(size=(12, 2)) * 0.1
        values[:, 0] += shift if n > 12 else 0.0
        out.append(trace(name, lot, module, "S0", 0, at + n * 1000, values, ("a_w", "b_pa")))
        if scored:
            out.append(judgement(name, module, at + n * 1000, 9.0 if n > 8 else 0.5))
        out.append(
            prediction(name, ("Loc",) if (n * 7 + start) % 4 < spoilt else (), at + 10**6 + n, lot)
        )
    return out


def _quiet_past() -> list[Event]:
    """So that the charts know what is normal and faults can be seen."""
    return [
        trace(
            f"Q{n}{module}",
            "Q",
            module,
            "S0",
            0,
            START_MS - 10**6 + n,
            np.random.default_rng(n).normal(size=(12, 2)) * 0.1,
            ("a_w", "b_pa"),
        )
        for n in range(14)
        for module in (*MODULES, *GHOSTS)
    ]


sequences = st.lists(st.one_of(_event().map(lambda e: [e]), _burst()), max_size=25).map(
    lambda parts: [event for part in parts for event in part]
)
answers_of_people = st.lists(
    st.sampled_from(["approved", "rejected", "applied", "failed", "resolved", "shelved", None]),
    max_size=20,
)


class Judge:
    """Follows the actions as the log would show them, and checks the limits from outside."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.evidence: set[str] = set()
        self.sent: list[int] = []
        self.automatic = True

    def saw(self, event: Event) -> None:
        # A trace may be of a module that does not exist; what treats wafers or has a state does.
        if isinstance(event, ProcessEvent | EquipmentState):
            self.evidence.add(event.key)
        if isinstance(event, AutomationSwitch):
            self.automatic = event.automatic

    def check(self, action: Action) -> None:
        known = self.status.get(action.action_id)
        self.status[action.action_id] = action.status
        if action.status == "rejected":
            assert known == "proposed"
            return
        if action.status == "approved":
            # Only the policy approves here, and only while it may.
            assert self.automatic
            assert action.by == "policy:default"
        if known == "proposed":
            assert action.status == "approved"
            return  # semi-automatic: it was counted when it was proposed
        assert known is None
        assert sum(s in ("proposed", "approved") for s in self.status.values()) <= 2
        self.sent.append(action.time_ms)
        assert sum(time > action.time_ms - 3_600_000 for time in self.sent) <= 2
        assert action.confidence >= 0.3
        assert np.isfinite([action.value, action.expected_good_dies, action.confidence]).all()
        if action.kind in ("hold_lot", "request_metrology"):
            assert action.lot_id
            return
        assert f"{action.equipment_id}/{action.module_id}" in self.evidence
        if action.kind == "adjust_recipe":
            assert -5.0 <= action.value <= 5.0


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(sequences, answers_of_people)
def test_no_sequence_of_events_breaks_the_guard_rails(
    events: list[Event], people: list[str | None]
) -> None:
    engine, judge, answers = Engine(POLICY, SITE), Judge(), list(people)
    for event in [*_quiet_past(), *events]:
        judge.saw(event)
        try:
            told = engine.handle(event)
        except TraceError:
            continue
        for answer in told:
            if isinstance(answer, Action):
                judge.check(answer)
        for answer in told:
            _respond(engine, judge, answer, answers)
    assert Engine(POLICY, SITE, engine.snapshot()).snapshot() == engine.snapshot()


def _respond(engine: Engine, judge: Judge, told: Event, answers: list[str | None]) -> None:
    """A person, or the fab, answers an alert or action in whatever way."""
    what = answers.pop() if answers else None
    then: list[Event] = []
    if isinstance(told, Action) and what in ("approved", "rejected", "applied", "failed"):
        judge.status[told.action_id] = what
        then = engine.handle(
            msgspec.structs.replace(told, status=what, by="x", event_id=f"{told.event_id}{what}")
        )
    if isinstance(told, Alert) and what in ("resolved", "shelved"):
        decision = AlertDecision(
            event_id=f"{told.event_id}{what}",
            site=SITE,
            time_ms=7,
            alert_id=told.alert_id,
            decision=what,
            by="kim",
            until_ms=2**60,
        )
        then = engine.handle(decision)
    for answer in then:
        if isinstance(answer, Action):
            judge.check(answer)
