"""Root cause: what single places cannot tell, and 'inconclusive' where nothing stands out."""

import random

from contracts.events import Commonality
from control.lineage import Lineage
from control.root_cause import RootCause, root_cause
from control.state import ControlState, ModuleRecord
from tests.control_streams import MINUTE_MS, SITE, START_MS, prediction, process

STEPS = ("clean", "etch", "implant")


def fab(seed: int = 1, lots: int = 24) -> tuple[Lineage, list[str]]:
    """Wafers over three steps with four modules each, all tested."""
    rng = random.Random(seed)
    state = ControlState(SITE)
    lineage = Lineage(state, 10_000.0)
    names = []
    for lot in range(lots):
        order = list(range(1, 13))
        for sequence, step in enumerate(STEPS):
            rng.shuffle(order)
            for place, slot in enumerate(order):
                name, at = f"L{lot:02d}.{slot:02d}", START_MS + (lot * 100 + place) * MINUTE_MS
                state.now_ms = at
                module = f"{step.upper()}-0{1 + place % 4}/A"
                lineage.record_visit(
                    process("completed", name, f"L{lot:02d}", module, step, sequence, at)
                )
        for slot in range(1, 13):
            names.append(f"L{lot:02d}.{slot:02d}")
            lineage.record_test(prediction(names[-1], (), state.now_ms, f"L{lot:02d}"))
    return lineage, names


def split(lineage: Lineage, names: list[str], bad: list[str], **repaired: int) -> RootCause:
    modules = {"ETCH-02/A": ModuleRecord(repaired_ms=repaired.get("etch", -1))}
    return root_cause(lineage, modules, bad, [name for name in names if name not in set(bad)])


def first(found: RootCause) -> Commonality:
    return found.found[0]


def test_a_module_is_found_with_its_probability() -> None:
    lineage, names = fab()
    bad = [name for name in names if "ETCH-02/A" in lineage.modules_of(name)][:40]
    found = split(lineage, names, bad)
    assert (first(found).factor, first(found).value) == ("module", "ETCH-02/A")
    assert found.probabilities[0] > 0.4  # the equipment has the same wafers
    assert not found.inconclusive or found.found[1].value == "ETCH-02"


def test_two_modules_that_only_hurt_together_are_an_interaction() -> None:
    lineage, names = fab(2, 40)
    bad = [name for name in names if {"ETCH-02/A", "CLEAN-03/A"} <= lineage.modules_of(name).keys()]
    assert len(bad) > 10
    found = split(lineage, names, bad)
    assert first(found).factor == "interaction"
    assert "ETCH-02" in first(found).value
    assert "CLEAN-03" in first(found).value
    assert first(found).p_value < 1e-6


def test_soon_after_maintenance() -> None:
    lineage, names = fab(3)
    repaired = START_MS + 600 * MINUTE_MS
    bad = [
        name
        for name in names
        if repaired <= lineage.modules_of(name).get("ETCH-02/A", -1) < repaired + 1440 * MINUTE_MS
    ]
    found = split(lineage, names, bad, etch=repaired)
    assert first(found).factor == "maintenance"
    assert first(found).value.startswith("ETCH-02/A within")


def test_the_first_wafers_of_a_lot() -> None:
    lineage, names = fab(4, 40)
    rows: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        at = lineage.modules_of(name).get("ETCH-02/A")
        if at is not None:
            rows.setdefault(name[:3], []).append((at, name))
    bad = [min(members)[1] for members in rows.values()]
    found = split(lineage, names, bad)
    assert any(
        item.factor == "order" and item.value == "first third of a lot at ETCH-02/A"
        for item in found.found[:2]
    )


def test_chance_is_inconclusive() -> None:
    clear = 0
    for seed in range(20):
        lineage, names = fab(seed, 12)
        bad = random.Random(seed).sample(names, 12)
        found = split(lineage, names, bad)
        clear += not found.inconclusive or any(item.p_value < 0.05 for item in found.found)
    assert clear <= 1
    assert root_cause(lineage, {}, bad[:2], names) == RootCause((), (), True)


def test_a_route_that_comes_back_to_a_module() -> None:
    state = ControlState(SITE, now_ms=START_MS)
    lineage = Lineage(state, 100.0)
    for sequence, at in enumerate((START_MS, START_MS + 9 * MINUTE_MS)):
        lineage.record_visit(process("completed", "W", "L", "CLEAN-01/A", "clean", sequence, at))
    # The last visit may be after a repair; what spoilt the wafer may have been before it.
    assert lineage.modules_of("W") == {"CLEAN-01/A": START_MS + 9 * MINUTE_MS}
    assert lineage.first_at("W", "CLEAN-01/A") == START_MS
    assert lineage.first_at("W", "CLEAN-01/B") == -1
    assert lineage.first_at("nobody", "CLEAN-01/A") == -1
