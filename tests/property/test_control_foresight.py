"""No sequence of events makes what the controller foresees grow, or a risk leave 0 to 1."""

import random

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import Event, Metrology, Risk, VirtualMetrology
from contracts.ids import derived_id
from control.engine import Engine
from control.policy import load_policy
from control.risk import MAX_MARKS
from control.risk_evidence import MAX_EPISODES
from control.risk_rates import MAX_PATTERNS, MAX_SIGNS
from control.virtual_metrology import MAX_GROUPS, MAX_LINES, MAX_WAITING
from tests.control_streams import SITE, START_MS, prediction, process, trace

POLICY = load_policy()
NUMBERS = (0.0, 1.0, -9.0, 40.0, 1e6, -1e14, float("nan"), float("inf"))


def hostile(draw: random.Random, number: int) -> list[Event]:
    """Events about a wafer, with names, values and orders that nobody promised."""
    name = f"W{draw.randint(0, 30)}"
    module = draw.choice(["ETCH-01/A", "ETCH-01/B", "X/Y", f"Z{number}/Q"])
    step = draw.choice(["etch", "oxide", f"s{number}"])
    sequence = draw.randint(-3, 60)
    when = START_MS + number * draw.choice([0, 1000, 3_600_000])
    columns = draw.randint(0, 5)
    values = np.full((12, columns), draw.choice(NUMBERS)) + np.linspace(0, 1, 12)[:, None]
    names = tuple(f"{draw.choice('abc')}{k}" for k in range(columns))
    shown = draw.choice([(), ("Donut",), (f"New{number}",)])
    events: list[Event] = [
        process("started", name, "L", module, step, sequence, when),
        process("completed", name, "L", module, step, sequence, when),
        trace(name, "L", module, step, sequence, when, values, names),
        Metrology(
            event_id=derived_id("metrology", number),
            site=SITE,
            time_ms=when,
            lot_id="L",
            substrate_id=name,
            slot=1,
            equipment_id="MET-01",
            step=step,
            parameter=draw.choice(["cd_nm", "defect_density_cm2", f"p{number}"]),
            x_mm=(0.0,),
            y_mm=(0.0,),
            values=(draw.choice(NUMBERS),),
        ),
        prediction(name, shown, when),
    ]
    picked = draw.choices(events, k=draw.randint(0, 5))
    return [
        msgspec.structs.replace(event, event_id=f"{number}-{turn}")
        for turn, event in enumerate(picked)
    ]


# One number a run: a whole history cannot be made smaller piece by piece in reasonable time.
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_comes_risks_are_probabilities_and_the_state_stays_bounded(seed: int) -> None:
    draw = random.Random(seed)
    engine = Engine(POLICY, SITE)
    kept: dict[str, bytes] = {}
    for number in range(80):
        for event in hostile(draw, number):
            for told in engine.handle(event):
                if isinstance(told, Risk):
                    assert 0.0 <= told.any_pattern <= 1.0
                    assert 0.0 <= told.expected_loss <= 1.0
                    assert all(0.0 <= share <= 1.0 for share in told.probabilities)
                    assert len(told.probabilities) == len(told.patterns) <= MAX_PATTERNS
                if isinstance(told, VirtualMetrology):
                    assert told.low <= told.predicted <= told.high
        for part, change in engine.changes().items():
            if change is None:
                del kept[part]
            else:
                kept[part] = change
    assert Engine(POLICY, SITE, kept).snapshot() == engine.snapshot()


def test_floods_of_invented_names_stop_at_the_limits() -> None:
    engine = Engine(POLICY, SITE)
    for number in range(3 * MAX_SIGNS):
        module, name = f"M{number % 90}/A", f"W{number}"
        names = tuple(f"v{number}_{k}" for k in range(3))
        when = START_MS + number * 1000
        engine.handle(process("completed", name, "L", module, f"s{number % 70}", 0, when))
        for turn in range(2):
            values = 100.0 + np.full((12, 3), turn) + np.linspace(0, 1, 12)[:, None]
            one = trace(name, "L", module, f"s{number % 70}", turn, when, values, names)
            engine.handle(msgspec.structs.replace(one, event_id=f"{number}-{turn}"))
        engine.handle(prediction(name, (f"New{number}",), when))
    state = msgspec.msgpack.decode(engine.snapshot())
    assert len(state["risk"]["signs"]) <= MAX_SIGNS
    assert len(state["risk"]["patterns"]) <= MAX_PATTERNS
    assert len(state["risk"]["episodes"]) <= MAX_EPISODES
    assert len(state["virtual"]) <= MAX_GROUPS
    assert len(state["virtual_lines"]) <= MAX_LINES
    assert all(len(group[4]) <= MAX_WAITING for group in state["virtual"].values())
    assert all(len(wafer[5]) <= MAX_MARKS for wafer in state["wafers"].values())
