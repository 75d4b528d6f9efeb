"""Virtual metrology follows what sensors explain, ignores the rest, and knows its doubt."""

from collections.abc import Iterator

import numpy as np
import pytest

from contracts.events import Metrology, VirtualMetrology
from contracts.ids import derived_id
from control.faults import FaultWatch
from control.foresight_state import VirtualLine
from control.lineage import Lineage
from control.policy import load_policy
from control.ridge import RidgeLine
from control.state import ControlState
from control.virtual_metrology import MAX_GROUPS, MAX_WAITING, VirtualWatch
from tests.control_streams import LEVELS, MINUTE_MS, SITE, SPREADS, START_MS, process, trace

POLICY = load_policy()
LATE = 20


class Line:
    """One step on two modules; every wafer is measured twenty wafers later."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.state = ControlState(SITE)
        self.lineage = Lineage(self.state, 168.0)
        self.faults = FaultWatch(self.state, POLICY.detection)
        self.virtual = VirtualWatch(POLICY, self.state, self.lineage)
        self.values: dict[str, float] = {}
        self.number = 0

    def wafer(self, gain: float, shift: float = 0.0, value: float = 0.0) -> list[VirtualMetrology]:
        """Treat one; its value follows the first sensor by `gain`, and `value` comes on top."""
        name, when = f"L{self.number // 25}.{self.number % 25:02d}", self.number * MINUTE_MS
        module = f"ETCH-01/{'AB'[self.number % 2]}"
        z = self.rng.normal(size=4)
        z[0] += shift
        self.values[name] = 320.0 + 2.0 * (gain * z[0] + value + self.rng.normal())
        self.lineage.record_visit(
            process("completed", name, "L", module, "etch", 0, START_MS + when)
        )
        noise = 0.2 * self.rng.normal(size=(30, 4))
        event = trace(name, "L", module, "etch", 0, START_MS + when, LEVELS + SPREADS * (z + noise))
        verdict = self.faults.watch(event)
        told = self.virtual.traced(event, verdict) if verdict else []
        self.number += 1
        if self.number > LATE:
            self.measure(self.number - LATE)
        return told

    def measure(self, number: int) -> None:
        """Metrology has come to a wafer."""
        name = f"L{number // 25}.{number % 25:02d}"
        self.virtual.measured(measurement(name, self.values[name]))

    def run(
        self, wafers: int, gain: float, shift: float = 0.0
    ) -> Iterator[tuple[float, VirtualMetrology]]:
        """(value, prediction) of wafers."""
        for _ in range(wafers):
            for told in self.wafer(gain, shift):
                yield self.values[told.substrate_id], told


def measurement(name: str, value: float, parameter: str = "etch_depth_nm") -> Metrology:
    return Metrology(
        event_id=derived_id("metrology", name, parameter),
        site=SITE,
        time_ms=START_MS,
        lot_id="L",
        substrate_id=name,
        slot=1,
        equipment_id="MET-01",
        step="etch",
        parameter=parameter,
        x_mm=(0.0, 1.0),
        y_mm=(0.0, 1.0),
        values=(value - 0.1, value + 0.1),
    )


def rmse(pairs: list[tuple[float, VirtualMetrology]]) -> float:
    return float(np.sqrt(np.mean([(value - told.predicted) ** 2 for value, told in pairs])))


def test_where_the_sensors_explain_the_value_it_beats_the_mean_and_the_interval_holds() -> None:
    line = Line()
    pairs = list(line.run(900, gain=1.5))[400:]
    plain = float(np.std([value for value, _ in pairs]))
    assert rmse(pairs) < 0.7 * plain
    held = np.mean([told.low <= value <= told.high for value, told in pairs])
    assert 0.85 <= held <= 0.95


def test_where_they_explain_nothing_it_is_hardly_worse_than_the_mean() -> None:
    pairs = list(Line(1).run(900, gain=0.0))[400:]
    assert rmse(pairs) < 1.08 * float(np.std([value for value, _ in pairs]))
    assert 0.85 <= np.mean([told.low <= value <= told.high for value, told in pairs]) <= 0.95


def test_it_follows_an_excursion_and_says_at_first_that_it_is_unlike_what_it_learned() -> None:
    line = Line(2)
    list(line.run(300, gain=0.3))
    sick = list(line.run(60, gain=0.3, shift=11.0))
    assert sick[0][1].unlike
    assert not sick[-1][1].unlike
    late = sick[40:]
    assert rmse(late) < 0.6 * float(np.sqrt(np.mean([(v - 320.0) ** 2 for v, _ in late])))


def test_nothing_is_told_before_enough_is_known_and_only_of_what_is_measured() -> None:
    line = Line(3)
    told = [line.wafer(0.0) for _ in range(LATE + 18)]
    assert not any(told)
    assert any(line.wafer(0.0) for _ in range(30))


def test_a_wafer_measured_later_changes_nothing_said_before() -> None:
    one, two = Line(4), Line(4)
    for _ in range(150):
        assert one.wafer(0.5) == two.wafer(0.5)
    two.values = {name: value + 100.0 for name, value in two.values.items()}
    assert one.wafer(0.5) == two.wafer(0.5)  # measured after this
    changed = [one.wafer(0.5) != two.wafer(0.5) for _ in range(10)]
    assert any(changed)


def test_what_waits_and_what_is_learned_is_bounded() -> None:
    line = Line(5)
    for _ in range(MAX_WAITING + 60):
        line.wafer(0.0)
    for number in range(3 * MAX_GROUPS):
        for turn in range(12):
            name = f"X{number}.{turn}"
            values = np.tile(LEVELS + SPREADS * turn / 9, (30, 1))
            event = trace(name, "X", "ETCH-01/A", f"step{number}", 0, START_MS, values)
            verdict = line.faults.watch(event)
            if verdict:
                line.virtual.traced(event, verdict)
    groups = line.state.virtual
    assert len(groups) <= MAX_GROUPS
    assert all(len(group.waiting) <= MAX_WAITING for group in groups.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_value_that_is_none_teaches_nothing(value: float) -> None:
    line = Line(6)
    for _ in range(60):
        line.wafer(0.0)
    before = line.state.virtual["R-etch\x1fetch"].models["etch_depth_nm"].learned
    assert line.virtual.measured(measurement("L2.05", value)) is None
    assert line.state.virtual["R-etch\x1fetch"].models["etch_depth_nm"].learned == before


def test_an_example_is_followed_before_anything_was_measured_but_stays_doubtful() -> None:
    sign = np.array([8.0, 7.0, -3.0])
    line = RidgeLine(VirtualLine(["a", "b", "c"]), [(sign, 2.5)])
    assert 1.5 < line.value(sign) < 2.5
    assert line.stretch(sign) ** 2 > 2.0
    assert line.is_unlike(sign)
    assert not line.is_unlike(np.array([2.0, -2.0, 1.0]))
    for _ in range(30):
        line.learn(sign, -1.0)
    assert line.value(sign) == pytest.approx(-1.0, abs=0.6)


def test_a_line_read_back_is_the_same() -> None:
    rng, record = np.random.default_rng(7), VirtualLine(["a", "b"])
    line = RidgeLine(record, [])
    for _ in range(50):
        line.learn(rng.normal(size=2), float(rng.normal()))
    again = RidgeLine(record, [])
    reading = np.array([1.0, -6.0])
    assert again.value(reading) == line.value(reading)
    assert again.stretch(reading) == line.stretch(reading)
