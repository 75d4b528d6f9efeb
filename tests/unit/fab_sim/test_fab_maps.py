"""From causes to dies, and labels that come from causes."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from contracts.wafer_map import FAIL, PATTERNS, check_grid
from fab_sim import labelled_maps, load_scenario
from fab_sim.chance import habits
from fab_sim.fields import disc, field
from fab_sim.maps import BY_EDGE, BY_TESTER, Hit, ProbedWafer, probe_wafer
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.scenario import Product

PRODUCT = Product(id="P", rows=40, columns=44, random_share=0.04)


def probe(*hits: Hit, number: int = 0, detuned: float = 0.0) -> ProbedWafer:
    return probe_wafer(
        PRODUCT, hits, detuned=detuned, variety=0.3, random=generator("test", number)
    )


@pytest.mark.parametrize("name", sorted(MODES))
def test_a_mode_at_full_strength_shows_its_own_pattern(name: str) -> None:
    seen = Counter(probe(Hit(name, 1.0, f"cause-{k}", 0), number=k).patterns[0] for k in range(40))
    assert seen[MODES[name].pattern] >= 30, seen


@pytest.mark.parametrize("name", sorted(MODES))
def test_a_cause_too_weak_to_show_is_no_pattern(name: str) -> None:
    tested = probe(Hit(name, 0.02, "cause", 0))
    if MODES[name].pattern != "Random":
        assert tested.patterns == ("None",)
        assert tested.guilty == (False,)


@pytest.mark.parametrize("name", sorted(MODES))
def test_a_field_is_a_probability_and_grows_with_strength(name: str) -> None:
    wafer = disc(40, 44)
    family = MODES[name].family
    totals = []
    for strength in (0.0, 0.3, 1.0):
        kill = field(family, wafer, strength, generator("c"), generator("o"), 0.3)
        assert kill.shape == wafer.r.shape
        assert kill.min() >= 0.0
        assert kill.max() <= 1.0
        totals.append(kill.sum())
    assert totals[0] == 0.0 < totals[1] < totals[2]


def test_without_a_cause_dies_fail_at_the_products_own_rate() -> None:
    shares = []
    for number in range(200):
        tested = probe(number=number)
        assert tested.patterns == ("None",)
        shares.append((tested.grid == FAIL).sum() / (tested.grid > 0).sum())
    assert 0.03 < np.mean(shares) < 0.07


def test_wrong_recipes_cost_a_little_yield() -> None:
    right = sum((probe(number=k).grid == FAIL).sum() for k in range(100))
    wrong = sum((probe(number=k, detuned=1.0).grid == FAIL).sum() for k in range(100))
    assert 1.3 < wrong / right < 2.0


def test_two_causes_give_both_patterns_and_a_dead_wafer_only_one() -> None:
    ring, scratch = Hit("rf_match_drift", 1.0, "a", 0), Hit("slurry_scratch", 1.0, "b", 0)
    assert set(probe(ring, scratch).patterns) == {"Edge-Ring", "Scratch"}
    assert probe(ring, Hit("process_abort", 1.0, "c", 0)).patterns == ("Near-full",)


def test_wafers_of_one_cause_look_alike() -> None:
    def blob_centre(cause: str, number: int) -> complex:
        wafer = disc(40, 44)
        kill = field("blob", wafer, 1.0, generator(cause), generator("own", number), 0.3)
        return complex((wafer.x * kill).sum(), (wafer.y * kill).sum()) / kill.sum()

    same = [blob_centre("one", k) for k in range(20)]
    different = [blob_centre(f"cause {k}", 0) for k in range(20)]
    assert np.std(same) < 0.6 * np.std(different)


def test_mixed_gives_all_nine_patterns_on_many_grids_and_mostly_none() -> None:
    maps = labelled_maps(load_scenario("mixed"), wafers=1800, seed=5)
    counts = Counter(maps.labels)
    assert set(counts) == set(PATTERNS)
    assert min(counts.values()) > 0.01 * 1800
    assert 0.4 * 1800 < counts["None"] < 0.65 * 1800
    assert len({grid.shape for grid in maps.grids}) >= 20
    assert len(maps.grids) == len(maps.labels) == len(maps.lots) == 1800
    for grid in maps.grids[:50]:
        check_grid(grid)


def test_labelled_maps_are_the_same_again_and_differ_by_seed() -> None:
    scenario = load_scenario("mixed")
    first, again, other = (labelled_maps(scenario, wafers=60, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first.grids, again.grids, strict=True))
    assert first.labels == again.labels
    assert not all(np.array_equal(a, b) for a, b in zip(first.grids, other.grids, strict=True))


def test_quiet_gives_maps_without_patterns() -> None:
    assert set(labelled_maps(load_scenario("quiet"), wafers=50, seed=1).labels) == {"None"}


@pytest.mark.parametrize("name", sorted(MODES))
def test_every_failed_die_has_something_that_killed_it_and_no_other_die_has(name: str) -> None:
    hits = (Hit(name, 1.0, "one", 0), Hit("slurry_scratch", 1.0, "two", 0))
    tested = probe(*hits)
    assert tested.killed_by.dtype == np.int16
    assert tested.killed_by.shape == tested.grid.shape
    assert np.array_equal(tested.killed_by != 0, tested.grid == FAIL)
    assert tested.killed_by.min() >= BY_TESTER
    assert tested.killed_by.max() <= len(hits)
    assert (tested.killed_by == 1).sum() > 5


def test_a_wafer_without_a_cause_has_only_chance_to_blame() -> None:
    assert all(probe(number=number).killed_by.max() == 0 for number in range(20))


def test_dies_at_the_edge_exclusion_fail_more() -> None:
    wafer = habits(PRODUCT).wafer
    inside, rim = np.zeros(2), np.zeros(2)
    for number in range(100):
        tested = probe(number=number)
        failed = (tested.grid == FAIL)[wafer.on]
        beyond = wafer.corner > 1.0
        inside += failed[~beyond].sum(), (~beyond).sum()
        rim += failed[beyond].sum(), beyond.sum()
        edge = (tested.killed_by == BY_EDGE)[wafer.on]
        assert (wafer.corner[edge] > 0.85).all()
    assert rim[0] / rim[1] > 1.5 * inside[0] / inside[1]


def test_the_same_wafer_again_in_another_process() -> None:
    program = (
        "import hashlib\n"
        "from fab_sim import labelled_maps, load_scenario\n"
        "made = labelled_maps(load_scenario('mixed'), wafers=100, seed=9)\n"
        "print(hashlib.sha256(b''.join(g.tobytes() for g in made.grids)).hexdigest())\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]


def test_another_seed_gives_other_maps_with_the_same_statistics() -> None:
    first, other = (labelled_maps(load_scenario("mixed"), wafers=2500, seed=s) for s in (1, 2))
    shares = [
        np.array([(grid == FAIL).sum() / (grid > 0).sum() for grid in maps.grids])
        for maps in (first, other)
    ]
    assert abs(shares[0].mean() - shares[1].mean()) < 0.02
    counts = [Counter(maps.labels) for maps in (first, other)]
    for pattern in PATTERNS:
        assert abs(counts[0][pattern] - counts[1][pattern]) < 0.04 * 2500
