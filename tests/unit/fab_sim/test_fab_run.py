"""The fab step by step: what it tells, in which order, and that it is always the same."""

import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache

import msgspec
import numpy as np
import pytest

from contracts.codec import decode, encode
from contracts.errors import ConfigError
from contracts.events import (
    EquipmentState,
    Event,
    Metrology,
    ProcessEvent,
    Trace,
    WaferMap,
)
from contracts.wafer_map import PATTERNS, check_grid
from fab_sim import Fab, Scenario, load_scenario
from fab_sim.modes import MODES
from fab_sim.scenario import Equipment, Excursion, Step

START_MS = 1_700_000_000_000


@cache
def run(name: str, wafers: int, site: str = "kr1") -> tuple[Fab, tuple[Event, ...]]:
    fab = Fab(load_scenario(name), site=site, start_ms=START_MS)
    events: list[Event] = []
    while fab.wafers_done < wafers:
        events += fab.step()
    return fab, tuple(events)


def digest(scenario: Scenario, site: str, seed: int | None, steps: int) -> str:
    fab = Fab(scenario, site=site, seed=seed, start_ms=START_MS)
    hashed = hashlib.sha256()
    for _ in range(steps):
        for event in fab.step():
            hashed.update(encode(event).value)
    return hashed.hexdigest()


def test_time_grows_from_step_to_step_and_events_carry_it() -> None:
    fab = Fab(load_scenario("demo"), site="kr1", start_ms=START_MS)
    before = fab.now_ms
    for tick in range(1, 800):
        events = fab.step()
        assert events
        assert fab.tick == tick
        assert fab.now_ms > before
        assert {event.time_ms for event in events} == {fab.now_ms}
        assert {event.site for event in events} == {"kr1"}
        before = fab.now_ms


def test_every_event_survives_the_codec_and_no_id_is_used_twice() -> None:
    _, events = run("demo", 60)
    seen = set()
    for event in events:
        message = encode(event)
        assert decode(message.headers, message.value) == event
        seen.add(event.event_id)
    assert len(seen) == len(events)
    assert {type(event) for event in events} == {
        EquipmentState,
        Metrology,
        ProcessEvent,
        Trace,
        WaferMap,
    }


def test_the_first_step_says_how_every_module_stands() -> None:
    fab = Fab(load_scenario("demo"), site="kr1", start_ms=START_MS)
    states = [event for event in fab.step() if isinstance(event, EquipmentState)]
    scenario = load_scenario("demo")
    assert len(states) >= sum(len(tool.modules) for tool in scenario.equipment)
    assert {state.kind for state in states} == {tool.kind for tool in scenario.equipment}


def test_a_wafer_goes_through_the_route_with_one_trace_a_process_step() -> None:
    _, events = run("demo", 60)
    route = load_scenario("demo").route
    tested = {event.substrate_id for event in events if isinstance(event, WaferMap)}
    steps = defaultdict(list)
    traces: Counter[str] = Counter()
    for event in events:
        if isinstance(event, ProcessEvent) and event.substrate_id in tested:
            steps[event.substrate_id].append((event.sequence, event.phase))
        if isinstance(event, Trace):
            traces[event.substrate_id] += 1
            assert np.isfinite(event.values.numpy()).all()
            assert event.values.shape[1] == len(event.variables)
            assert 40 <= event.values.shape[0] <= 240
            assert event.times_ms is not None
            assert np.all(np.diff(event.times_ms.numpy()) > 0)
    for substrate in tested:
        assert traces[substrate] == 6
        places = [place for place, phase in steps[substrate] if phase == "completed"]
        assert places == sorted(places)
        # All steps but metrology, which takes a sample.
        assert set(range(len(route))) - set(places) <= {6}
        assert Counter(phase for _, phase in steps[substrate])["started"] == len(places)


def test_lots_overlap_and_their_wafers_spread_over_all_modules_of_an_equipment() -> None:
    fab, events = run("demo", 100)
    done = [e for e in events if isinstance(e, ProcessEvent) and e.phase == "completed"]
    per_visit = defaultdict(set)
    per_kind = defaultdict(set)
    for event in done:
        if event.step == "ETCH-M1":
            per_visit[event.lot_id, event.equipment_id].add(event.module_id)
        per_kind[event.step].add(event.key)
    assert all(modules == {"A", "B"} for modules in per_visit.values() if len(modules) > 1)
    assert all(len(per_kind[step]) == 4 for step in ("ETCH-M1", "CMP-M1", "DEP-ILD"))
    started = {e.lot_id for e in events if isinstance(e, ProcessEvent)}
    assert len(started) * 25 > fab.wafers_done + 3 * 25


def test_metrology_is_a_sample_that_comes_late_with_sites_in_mm() -> None:
    _, events = run("demo", 60)
    measured = [event for event in events if isinstance(event, Metrology)]
    completed = {
        (e.substrate_id, e.step): e.time_ms
        for e in events
        if isinstance(e, ProcessEvent) and e.phase == "completed"
    }
    assert measured
    for event in measured:
        assert len(event.x_mm) == len(event.y_mm) == len(event.values) == 9
        assert max(abs(x) for x in event.x_mm) <= 150.0
        assert event.time_ms > completed[event.substrate_id, event.step] + 60_000
    lots = {event.lot_id for event in measured}
    assert len({event.substrate_id for event in measured}) == 3 * len(lots)


def test_maps_have_the_products_grids() -> None:
    _, events = run("demo", 100)
    shapes = {p.id: (p.rows, p.columns) for p in load_scenario("demo").products}
    maps = [event for event in events if isinstance(event, WaferMap)]
    assert len(maps) >= 100
    for event in maps:
        assert shapes[event.product] == check_grid(event.grid.numpy()).shape
        assert 500 <= np.count_nonzero(event.grid.numpy()) <= 1500


def test_same_seed_same_bytes_other_seed_or_site_other_bytes() -> None:
    scenario = load_scenario("demo")
    first = digest(scenario, "kr1", None, 400)
    assert digest(scenario, "kr1", scenario.seed, 400) == first
    assert digest(scenario, "kr1", 99, 400) != first
    assert digest(scenario, "us1", None, 400) != first


def test_the_same_bytes_in_another_process_with_another_hash_seed() -> None:
    code = (
        "import hashlib\n"
        "from contracts.codec import encode\n"
        "from fab_sim import Fab, load_scenario\n"
        f"fab = Fab(load_scenario('demo'), site='kr1', start_ms={START_MS})\n"
        "hashed = hashlib.sha256()\n"
        "for _ in range(400):\n"
        "    for event in fab.step():\n"
        "        hashed.update(encode(event).value)\n"
        "print(hashed.hexdigest())\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert printed == {digest(load_scenario("demo"), "kr1", None, 400)}


@pytest.mark.parametrize("site", ["kr1", "us1"])
def test_excursions_show_in_traces_of_their_module_before_the_first_bad_map(site: str) -> None:
    fab, events = run("demo", 450, site)
    excursions = fab.truth()
    assert len(excursions) == 3
    truth = fab.true_patterns()
    onset_order = [item.onset_ms for item in excursions]
    assert onset_order == sorted(onset_order)
    for item in excursions:
        mode = MODES[item.mode]
        variable, sigmas = mode.signature[0]
        sick, peers = [], []
        came_through = set()
        for event in events:
            if isinstance(event, ProcessEvent) and event.key == item.module:
                came_through.add(event.substrate_id)
            if isinstance(event, Trace) and variable in event.variables:
                if event.equipment_id.split("-")[0] != item.equipment_id.split("-")[0]:
                    continue
                mean = event.values.numpy()[:, event.variables.index(variable)].mean()
                (sick if event.key == item.module else peers).append((event.time_ms, mean))
        normal = np.array([mean for _, mean in peers])
        z = [(at, (mean - normal.mean()) / normal.std() * np.sign(sigmas)) for at, mean in sick]
        first_map = min(
            event.time_ms
            for event in events
            if isinstance(event, WaferMap)
            and event.substrate_id in came_through
            and item.pattern in truth[event.substrate_id]
        )
        early = [value for at, value in z if item.onset_ms < at < first_map]
        assert sum(value > 4.0 for value in early) >= 5
        assert np.mean([value for at, value in z[-10:]]) > 4.0
        assert item.first_affected_ms is not None
        assert item.onset_ms < item.first_affected_ms < first_map
        assert item.cleared_ms is None
        bad = [item.pattern in truth[s] for s in came_through if s in truth]
        others = [item.pattern in truth[s] for s in truth if s not in came_through]
        assert np.mean(bad) > 0.25
        assert np.mean(others) < 0.03
        assert item.affected >= 25


def test_quiet_has_patterns_only_by_mishap() -> None:
    fab, _ = run("quiet", 600)
    assert fab.truth() == ()
    patterns = fab.true_patterns()
    share = np.mean([value != ("None",) for value in patterns.values()])
    assert 0.0 < share < 0.03


def test_mixed_makes_all_nine_patterns() -> None:
    fab, _ = run("mixed", 600)
    seen = {pattern for patterns in fab.true_patterns().values() for pattern in patterns}
    assert seen == set(PATTERNS)
    assert len(fab.truth()) == 14


def test_a_scenario_with_a_total_comes_to_its_end() -> None:
    scenario = load_scenario("quiet")
    lots = msgspec.structs.replace(scenario.lots, total=2, wafers=5)
    fab = Fab(msgspec.structs.replace(scenario, lots=lots), site="kr1", start_ms=START_MS)
    while fab.step():
        pass
    assert fab.wafers_done == 10
    tick = fab.tick
    assert fab.step() == []
    assert fab.tick == tick
    fresh = Fab(msgspec.structs.replace(scenario, lots=lots), site="kr1", start_ms=START_MS)
    with pytest.raises(ConfigError, match="this fab ends after"):
        fresh.restore(tick + 1, ())


def test_a_route_that_comes_back_to_a_sick_module_counts_a_wafer_once() -> None:
    tools = (
        Equipment(id="E1", kind="etch", modules=("X",)),
        Equipment(id="T1", kind="test", modules=("A",)),
    )
    route = (
        Step(name="S", kind="etch", recipe="R"),
        Step(name="S", kind="etch", recipe="R"),
        Step(name="T", kind="test", recipe="R"),
    )
    sick = Excursion(
        id="x", mode="process_abort", equipment="E1", module="X", onset_h=0, growth="step"
    )
    scenario = Scenario(
        name="again", description="", equipment=tools, route=route, excursions=(sick,)
    )
    fab = Fab(scenario, site="kr1", start_ms=START_MS)
    while fab.wafers_done < 50:
        fab.step()
    assert 0 < fab.truth()[0].affected <= fab.wafers_done
    assert sum(p == ("Near-full",) for p in fab.true_patterns().values()) == fab.truth()[0].affected


def test_a_bad_site_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="site"):
        Fab(load_scenario("quiet"), site="KR 1", start_ms=0)
