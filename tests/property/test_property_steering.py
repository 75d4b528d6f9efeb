"""No measurement, foretold one or answer makes charts or run-to-run threads leave their limits."""

import math

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.events import Action, ChartPoint, Event, RunToRun
from control.engine import Engine
from control.policy import Policy, load_policy
from tests.control_streams import MINUTE_MS, SITE, START_MS, process, state
from tests.metrology_streams import metrology
from tests.unit.control.test_run_to_run_threads import THREAD, foretold

_RAW = msgspec.to_builtins(load_policy())
_RAW["limits"].update(max_open_actions=2, max_actions_per_hour=2)
_RAW["approvals"]["adjust_recipe"] = "automatic"
_RAW["metrology"].update(phase_one_points=5, rules={"limit": 2.0, "run_rules": ["nelson-3"]})
_RAW["recipe_parameters"] = {
    "time_s": {"variable": "time_s", "gain": 1.0, "min": 55.0, "max": 65.0, "max_step": 2.0}
}
_RAW["run_to_run"] = [
    {**THREAD, "learn": 0},
    {**THREAD, "learn": 0, "step": "S1", "source": "virtual_metrology", "drift_weight": 0.3},
]
POLICY = msgspec.convert(_RAW, Policy)

MODULES = ("E-1/A", "E-1/B", "E-2/A")
numbers = st.sampled_from(
    [100.0, 101.0, 97.0, 110.0, -5.0, 0.0, 1e14, 1e300, math.nan, math.inf, -math.inf]
)
times = st.one_of(
    st.integers(0, 3000).map(lambda minutes: START_MS + minutes * MINUTE_MS),
    st.sampled_from([0, -1, 2**62, START_MS - 10**11, START_MS + 10**11]),
)
wafers = st.integers(0, 40).map(lambda number: f"L{number // 3}.{number}")


@st.composite
def _event(draw: st.DrawFn) -> list[Event]:
    kind = draw(st.sampled_from(["process", "metrology", "virtual", "state", "lots", "lots"]))
    wafer, module, at = draw(wafers), draw(st.sampled_from(MODULES)), draw(times)
    lot, step = wafer.split(".")[0], draw(st.sampled_from(["S0", "S1"]))
    if kind == "process":
        return [process("completed", wafer, lot, module, step, int(step[1]), at)]
    if kind == "metrology":
        values = draw(st.lists(numbers, max_size=3))
        parameter = draw(st.sampled_from(["film_nm", "defect_density_cm2", "", "x" * 70]))
        return [metrology(wafer, lot, step, at, values, parameter)]
    if kind == "virtual":
        equipment_id, _, module_id = module.partition("/")
        event = foretold(
            draw(st.integers(0, 30)),
            draw(numbers),
            step=step,
            time_ms=at,
            equipment_id=equipment_id,
            module_id=draw(st.sampled_from([module_id, "ghost"])),
        )
        return [msgspec.structs.replace(event, low=draw(numbers), high=draw(numbers))]
    if kind == "state":
        return [state(module, "etch", at, state=draw(st.sampled_from(["standby", "engineering"])))]
    # Lots in order, so that limits are found, threads run, and shifts are seen.
    out: list[Event] = []
    start, mean = draw(st.integers(0, 3000)), draw(numbers)
    for number in range(draw(st.integers(1, 12))):
        name = f"B{start}.{number}"
        when = START_MS + (start + 30 * number) * MINUTE_MS
        out.append(process("completed", name, name, module, step, 0, when))
        value = mean + (-1.0) ** number
        out.append(metrology(name, name, step, when + 5 * MINUTE_MS, [value]))
    return out


def _quiet_past() -> list[Event]:
    """So that the charts know what is normal and shifts can be seen."""
    out: list[Event] = []
    for number in range(8):
        for module in MODULES:
            name = f"Q{number}{module[-3:]}".replace("/", "")
            at = START_MS + (number - 20) * 30 * MINUTE_MS
            out.append(process("completed", name, name, module, "S0", 0, at))
            value = 100.0 + (number * 7 % 5 - 2.0) / 2.0
            out.append(metrology(name, name, "S0", at + MINUTE_MS, [value]))
    return out


def _answered(action: Action, status: str, value: float) -> Action:
    return msgspec.structs.replace(
        action, status=status, value=value, by="x", event_id=f"{action.event_id}{status}"
    )


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    st.lists(_event(), max_size=20),
    st.lists(
        st.tuples(st.sampled_from(["applied", "failed", "rejected", ""]), numbers), max_size=12
    ),
)
def test_nothing_leaves_its_limits(
    parts: list[list[Event]], answers: list[tuple[str, float]]
) -> None:
    engine, answers = Engine(POLICY, SITE), list(answers)
    parts = [_quiet_past(), *parts]
    seen = {f"{e.equipment_id}/{e.module_id}" for p in parts for e in p if hasattr(e, "module_id")}
    sent: list[int] = []
    for event in (event for part in parts for event in part):
        told = engine.handle(event)
        for answer in told:
            if isinstance(answer, ChartPoint):
                assert answer.key in seen
                assert math.isfinite(answer.value)
                assert math.isfinite(answer.center)
                assert math.isfinite(answer.sigma)
            if isinstance(answer, RunToRun):
                assert math.isfinite(answer.recommended)
                assert abs(answer.recommended - answer.set_point) <= 2.0 + 1e-9 or not (
                    55.0 <= answer.set_point <= 65.0
                )
            if not isinstance(answer, Action) or answer.status == "rejected":
                continue
            assert f"{answer.equipment_id}/{answer.module_id}" in seen
            if answer.kind == "adjust_recipe":
                assert 55.0 <= answer.value <= 65.0
            sent.append(answer.time_ms)
            assert sum(time > answer.time_ms - 3_600_000 for time in sent) <= 2
            status, value = answers.pop() if answers else ("applied", answer.value)
            if status:
                engine.handle(_answered(answer, status, value))
    data = engine.snapshot()
    assert len(data) < 2_000_000
    assert Engine(POLICY, SITE, data).snapshot() == data
