"""The state in parts is the state: whatever happened, and however it was cut into batches."""

import random

import msgspec
import pytest

from contracts.errors import DataError
from control import lineage
from control.engine import Engine
from control.policy import load_policy
from control.state_parts import Changes
from tests.control_streams import SITE, Sick, make

POLICY = load_policy()
SICK = (Sick("ETCH-01/A", "Donut", 15, 40, shift=6.0),)


def keep(kept: dict[str, bytes], changes: Changes) -> None:
    for part, data in changes.items():
        if data is None:
            del kept[part]
        else:
            kept[part] = data


@pytest.mark.parametrize("seed", range(3))
def test_parts_written_batch_by_batch_are_the_snapshot(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wafers are forgotten soon, before and after their test, so that parts come and go.
    monkeypatch.setattr(lineage, "MAX_WAFERS", 150)
    monkeypatch.setattr(lineage, "MAX_TESTED", 60)
    policy = msgspec.structs.replace(
        POLICY, detection=msgspec.structs.replace(POLICY.detection, remember_h=1.0)
    )
    rng = random.Random(seed)
    events = make(seed, SICK, lots=8, wafers=12, traces=True).events
    whole, engine = Engine(policy, SITE), Engine(policy, SITE)
    kept: dict[str, bytes] = {}
    at = 0
    while at < len(events):
        size = rng.randint(1, 400)
        for event in events[at : at + size]:
            assert engine.handle(event) == whole.handle(event)
        at += size
        keep(kept, engine.changes())
        restored = Engine(policy, SITE, kept)
        assert restored.snapshot() == whole.snapshot()
        if rng.random() < 0.3:
            engine = restored
        elif rng.random() < 0.3:
            engine.snapshot()
    assert len(kept) > 10


def test_a_batch_writes_what_it_touched() -> None:
    events = make(3, SICK, lots=6, wafers=12, traces=True).events
    engine = Engine(POLICY, SITE)
    for event in events[:-3]:
        engine.handle(event)
    everything = sum(len(data or b"") for data in engine.changes().values())
    for event in events[-3:]:
        engine.handle(event)
    assert sum(len(data or b"") for data in engine.changes().values()) < 0.5 * everything


def test_the_ring_of_ids_turns_round() -> None:
    events = make(1, lots=40).events
    assert len(events) > 3 * 2_000
    engine = Engine(POLICY, SITE)
    kept: dict[str, bytes] = {}
    for number, event in enumerate(events):
        engine.handle(event)
        if number % 700 == 0:
            keep(kept, engine.changes())
    keep(kept, engine.changes())
    again = Engine(POLICY, SITE, kept)
    assert all(again.handle(event) == [] for event in events[-2_000:])
    assert again.ignored["seen before"] >= 2_000


@pytest.mark.parametrize("part", ["head", "wafers", "groups", "ids"])
def test_damage_is_an_error_that_says_what_to_do(part: str) -> None:
    engine = Engine(POLICY, SITE)
    for event in make(2, lots=2, traces=True).events:
        engine.handle(event)
    parts = {name: data for name, data in engine.changes().items() if data is not None}
    name = next(name for name in parts if name.startswith(part))
    with pytest.raises(DataError, match="backup"):
        Engine(POLICY, SITE, {**parts, name: parts[name][:-3]})


def test_another_sites_parts_are_refused() -> None:
    engine = Engine(POLICY, "kr2")
    parts = {name: data for name, data in engine.changes().items() if data is not None}
    with pytest.raises(DataError, match="kr2"):
        Engine(POLICY, SITE, parts)
