"""From causes to dies, and labels that come from causes."""

from collections import Counter

import numpy as np
import pytest

from contracts.wafer_map import FAIL, PATTERNS, check_grid
from fab_sim import labelled_maps, load_scenario
from fab_sim.fields import disc, field
from fab_sim.maps import Hit, ProbedWafer, probe_wafer
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


def test_mixed_gives_all_nine_patterns_in_balance_on_many_grids() -> None:
    maps = labelled_maps(load_scenario("mixed"), wafers=1800, seed=5)
    counts = Counter(maps.labels)
    assert set(counts) == set(PATTERNS)
    assert min(counts.values()) > 0.5 * 1800 / 9
    assert len({grid.shape for grid in maps.grids}) >= 8
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
