"""The distance between synthetic and real maps: none from itself, much from something else."""

import numpy as np
import pytest

from contracts.errors import DatasetError
from contracts.wafer_map import FAIL, PASS
from fab_sim import labelled_maps, load_scenario
from fabpilot.benchmarks.map_features import features, morans_i
from fabpilot.benchmarks.realism import measure_realism
from models.data import MapSet, from_lists

SCENARIO = load_scenario("mixed")


def made(seed: int, wafers: int = 1500) -> MapSet:
    maps = labelled_maps(SCENARIO, wafers=wafers, seed=seed)
    lots = [int(lot.rsplit("-", 1)[1]) * 25 for lot in maps.lots]
    return from_lists(maps.grids, maps.labels, lots, "made")


def of_patterns(maps: MapSet, *names: str) -> MapSet:
    """Only the maps of these patterns: forests take their time."""
    wanted = [maps.label_names.index(name) for name in names]
    return maps.subset(np.flatnonzero(np.isin(maps.labels, wanted)))


@pytest.mark.slow
def test_maps_of_the_fab_itself_cannot_be_told_from_the_fabs() -> None:
    real = of_patterns(made(77), "None", "Edge-Ring")
    bench = measure_realism(real, SCENARIO, wafers=60, seed=3)
    assert set(bench.patterns) == {"None", "Edge-Ring"}
    assert 0.35 < bench.mean_auc < 0.65
    assert bench.mean_failed_w1 < 0.05
    none = bench.patterns["None"]
    assert none.maps == 60
    assert none.reference is not None


@pytest.mark.slow
def test_maps_that_are_drawn_otherwise_are_told_apart_at_once() -> None:
    random = np.random.default_rng(0)
    grids, labels = [], []
    for _ in range(80):
        grid = np.full((30, 30), PASS, dtype=np.uint8)
        grid[random.random((30, 30)) < 0.5] = FAIL
        grids.append(grid)
        labels.append("None")
    real = from_lists([*grids, grids[0]], [*labels, "Loc"], list(range(81)), "squares")
    bench = measure_realism(real, SCENARIO, wafers=60, seed=3)
    assert list(bench.patterns) == ["None"]
    assert bench.mean_auc > 0.95
    assert bench.mean_failed_w1 > 0.2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures() -> None:
    real = of_patterns(made(5, 600), "Edge-Ring")
    first, again = (measure_realism(real, SCENARIO, wafers=40, seed=1) for _ in range(2))
    assert first == again


def test_a_set_without_enough_maps_of_any_pattern_says_so() -> None:
    with pytest.raises(DatasetError, match="20 maps"):
        measure_realism(made(1, 30), load_scenario("quiet"), wafers=40, seed=0)


def test_morans_i_is_high_for_patches_and_nought_for_chance() -> None:
    patch = np.full((30, 30), PASS, dtype=np.uint8)
    patch[5:15, 5:15] = FAIL
    random = np.where(np.random.default_rng(1).random((60, 60)) < 0.2, FAIL, PASS)
    assert morans_i(patch) > 0.8
    assert abs(morans_i(random.astype(np.uint8))) < 0.05
    assert morans_i(np.full((20, 20), FAIL, dtype=np.uint8)) == 0.0


def test_features_are_finite_for_every_pattern_and_dead_wafers() -> None:
    maps = made(4, 200)
    dead = np.full((20, 20), FAIL, dtype=np.uint8)
    alive = np.full((20, 20), PASS, dtype=np.uint8)
    found = features([*maps.grids, dead, alive])
    assert np.isfinite(found.all).all()
    assert found.failed[-2:].tolist() == [1.0, 0.0]
    assert found.radial.shape == (len(maps) + 2, 10)
