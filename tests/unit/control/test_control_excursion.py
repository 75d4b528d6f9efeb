import random
from math import exp

import pytest

from contracts.events import Prediction
from control.excursion import bernoulli_cusum, find_excursion
from control.lineage import Lineage
from control.policy import load_policy
from control.state import ControlState
from tests.control_streams import SITE, START_MS, prediction, process

DETECTION = load_policy().detection


def test_cusum_finds_the_stretch() -> None:
    row = [False] * 30 + [True, True, False, True, True] + [False] * 20
    run = bernoulli_cusum(row, 0.02, 0.5)
    assert (run.start, run.stop) == (30, 35)


def test_cusum_of_nothing_is_zero() -> None:
    assert bernoulli_cusum([], 0.02, 0.5).score == 0.0
    assert bernoulli_cusum([False] * 10, 0.02, 0.5).score == 0.0


@pytest.mark.parametrize("height", [3.0, 5.0])
def test_cusum_keeps_its_promise_about_false_alarms(height: float) -> None:
    # Lorden's bound: in control, at most exp(-height) alarms a wafer.
    rng = random.Random(11)
    wafers, alarms = 60_000, 0
    row: list[bool] = []
    for _ in range(wafers):
        row.append(rng.random() < 0.03)
        if row[-1] and bernoulli_cusum(row, 0.03, 0.5).score >= height:
            alarms += 1
            row = []
        row = row[-100:]
    assert alarms / wafers <= exp(-height)


class Line:
    """A route of two steps, two modules each."""

    def __init__(self) -> None:
        self.state = ControlState(SITE)
        self.lineage = Lineage(self.state, 1000.0)
        self.count = 0

    def wafer(self, etch: str, clean: str, bad: bool, lot: str) -> str:
        self.count += 1
        name = f"{lot}.{self.count:03d}"
        at = START_MS + self.count * 1000
        for sequence, (module, step) in enumerate(((etch, "ETCH"), (clean, "CLEAN"))):
            self.lineage.record_visit(process("completed", name, lot, module, step, sequence, at))
        event: Prediction = prediction(name, ("Loc",) if bad else (), at + 500, lot)
        self.lineage.record_test(event)
        return name

    def find(self, name: str, explained: dict[str, tuple[str, ...]] | None = None):  # type: ignore[no-untyped-def]
        return find_excursion(
            self.lineage,
            name,
            "Loc",
            explained=explained or {},
            fresh_ms={},
            faulty=(),
            detection=DETECTION,
        )


def background(line: Line, wafers: int = 80) -> None:
    for n in range(wafers):
        line.wafer(f"ETCH-1/{'AB'[n % 2]}", f"CLEAN-1/{'AB'[n // 2 % 2]}", False, f"L{n // 25}")


def test_the_culprit_is_named_and_not_its_neighbours() -> None:
    line = Line()
    background(line)
    last = ""
    for n in range(24):
        bad = n % 2 == 0
        last = line.wafer(f"ETCH-1/{'AB'[n % 2]}", f"CLEAN-1/{'AB'[n // 2 % 2]}", bad, f"M{n // 6}")
        if bad:
            found = line.find(last)
    assert found is not None
    assert found.module == "ETCH-1/A"
    assert found.confidence > 0.99
    assert len(found.bad) == 12
    assert found.baseline_rate < 0.05


def test_a_lot_that_is_bad_everywhere_accuses_no_module() -> None:
    line = Line()
    background(line)
    names = [
        line.wafer(f"ETCH-1/{'AB'[n % 2]}", f"CLEAN-1/{'AB'[n // 2 % 2]}", True, "BAD")
        for n in range(25)
    ]
    assert all(line.find(name) is None for name in names)


def test_two_bad_wafers_are_never_an_excursion() -> None:
    line = Line()
    background(line, 400)
    line.wafer("ETCH-1/A", "CLEAN-1/A", True, "X")
    assert line.find(line.wafer("ETCH-1/A", "CLEAN-1/B", True, "Y")) is None


def test_explained_wafers_accuse_nobody() -> None:
    line = Line()
    background(line)
    explained: dict[str, tuple[str, ...]] = {}
    for n in range(12):
        name = line.wafer("ETCH-1/A", "CLEAN-1/B", True, f"M{n // 4}")
        explained[name] = ("ETCH-1/A",)
        found = line.find(name, explained)
    assert found is not None
    assert found.module == "ETCH-1/A"
    assert line.find(name, dict.fromkeys(explained, ("OTHER-1/A",))) is None
