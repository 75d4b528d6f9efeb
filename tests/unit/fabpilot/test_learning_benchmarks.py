"""Benchmarks that train many networks, with networks that need no training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import ConfigError, DatasetError
from fabpilot.benchmarks.labels import measure_labels, share_of_lots
from fabpilot.benchmarks.learning import Scores, learn, options_for, score, weights_of
from fabpilot.benchmarks.results import Results
from fabpilot.benchmarks.unknown import measure_unknown
from models.data import MapSet, from_lists
from models.options import TrainOptions
from models.splits import split_blocks

CLASSES = ("None", "Center", "Edge-Ring")
REPORTED: dict[str, Any] = {"budget_s": 1.0, "seed": 0}


def _maps(lots: int = 40, seed: int = 0) -> MapSet:
    """Eight wafers a lot; class k fails in row k, and Edge-Ring is rare."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=lots * 8, p=[0.6, 0.3, 0.1])
    grids = []
    for label in labels:
        grid = rng.choice(np.array([1, 1, 1, 1, 2], dtype=np.uint8), size=(12, 12))
        grid[label] = 2
        grids.append(grid)
    names = [CLASSES[label] for label in labels]
    return from_lists(grids, names, [i // 8 for i in range(lots * 8)], "rows")


def _rows_that_fail(maps: MapSet) -> np.ndarray[Any, Any]:
    return np.array([int((grid == 2).all(axis=1).argmax()) for grid in maps.grids])


def _knows(learning: MapSet, others: MapSet) -> Scores:
    """A network that knows the classes it saw, and is unsure about others."""
    said = np.full((len(others), len(learning.label_names)), 0.5)
    novelty = np.ones(len(others))
    for place, row in enumerate(_rows_that_fail(others)):
        if CLASSES[row] in learning.label_names:
            said[place, learning.label_names.index(CLASSES[row])] = 0.9
            novelty[place] = 0.1
    return Scores(said.astype(np.float32), novelty.astype(np.float32), (0.5,) * said.shape[1])


def test_every_pattern_is_held_out_once(tmp_path: Path) -> None:
    learning, holdout = split_blocks(_maps(), seed=0)
    seen: list[tuple[str, ...]] = []

    def train(some: MapSet, others: MapSet) -> Scores:
        seen.append(some.label_names)
        assert len(others) == len(holdout)
        return _knows(some, others)

    found = measure_unknown(learning, holdout, train, Results(tmp_path / "r", {}), **REPORTED)
    assert seen == [("None", "Edge-Ring"), ("None", "Center")]
    assert found.mean_auroc == found.mean_auroc_unsureness == 1.0
    center = found.classes["Center"]
    assert center.unknown_maps == holdout.class_counts()["Center"]
    assert center.known_maps == len(holdout) - center.unknown_maps
    assert center.macro_f1 == 1.0


def test_a_killed_run_goes_on_with_the_next_class(tmp_path: Path) -> None:
    learning, holdout = split_blocks(_maps(), seed=0)
    path = tmp_path / "deep" / "results.jsonl"
    trained: list[int] = []

    def killed(some: MapSet, others: MapSet) -> Scores:
        if trained:
            raise KeyboardInterrupt
        trained.append(1)
        return _knows(some, others)

    with pytest.raises(KeyboardInterrupt):
        measure_unknown(learning, holdout, killed, Results(path, {"a": 1}), **REPORTED)
    path.write_text(path.read_text() + '{"question": "cut o')
    trained.clear()
    found = measure_unknown(learning, holdout, killed, Results(path, {"a": 1}), **REPORTED)
    assert (len(trained), found.resumed, len(found.classes)) == (1, 1, 2)
    again = measure_unknown(learning, holdout, killed, Results(path, {"a": 1}), **REPORTED)
    assert again.classes == found.classes
    assert again.resumed == 2
    with pytest.raises(KeyboardInterrupt):
        measure_unknown(learning, holdout, killed, Results(path, {"a": 2}), **REPORTED)


def test_a_network_without_a_score_of_its_own_has_its_peer_alone(tmp_path: Path) -> None:
    learning, holdout = split_blocks(_maps(), seed=0)
    results = Results(tmp_path / "r", {})
    found = measure_unknown(
        learning, holdout, lambda a, b: _knows(a, b)._replace(novelty=None), results, **REPORTED
    )
    assert found.mean_auroc is None
    assert found.mean_auroc_unsureness == 1.0


def test_one_pattern_cannot_be_held_out(tmp_path: Path) -> None:
    maps = _maps().of_classes(("None", "Center"))
    with pytest.raises(DatasetError, match="cannot be held out"):
        measure_unknown(maps, maps, _knows, Results(tmp_path / "r", {}), **REPORTED)


def test_results_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        Results(tmp_path / "r", {})


def test_a_share_of_the_labels_is_of_whole_lots_and_shows_rare_classes() -> None:
    maps = _maps(lots=400)
    for share in (0.05, 0.25):
        part = share_of_lots(maps, share, seed=0)
        assert len(part) == pytest.approx(share * len(maps), rel=0.25)
        assert all(part.class_counts().values())
        for lot in set(part.groups.tolist()):
            assert (part.groups == lot).sum() == (maps.groups == lot).sum()
    assert share_of_lots(maps, 1.0, seed=0) is maps


def test_labels_are_counted_with_and_without_a_network_to_start_from(tmp_path: Path) -> None:
    learning, holdout = split_blocks(_maps(lots=300), seed=0)
    calls: list[tuple[int, bool]] = []
    first: Any = object()
    started: list[int] = []

    def pretrain() -> Any:
        started.append(1)
        return first

    def train(part: MapSet, others: MapSet, init: Any) -> Scores:
        calls.append((len(part), init is first))
        said = _knows(part, others)
        # From scratch it has not seen enough of the last class.
        return said if init else said._replace(probabilities=said.probabilities * [1, 1, 0.5])

    def measure() -> Any:
        return measure_labels(
            learning, holdout, pretrain, train, Results(tmp_path / "r", {}),
            pretrained_on="sim:x", pretrain_s=1.0, shares=(1.0, 0.1), **REPORTED,
        )  # fmt: skip

    found = measure()
    assert [row.share for row in found.shares] == [0.1, 1.0]
    assert [init for _, init in calls] == [False, True, False, True]
    assert calls[0][0] == calls[1][0] == found.shares[0].maps < 0.15 * len(learning)
    assert found.shares[0].pretrained.macro_f1 == 1.0
    assert found.shares[0].gain_points > 5.0
    low, high = found.shares[0].scratch.macro_f1_interval
    assert low <= found.shares[0].scratch.macro_f1 <= high
    assert (len(started), found.resumed) == (1, 0)
    assert measure().resumed == 4
    assert (len(started), len(calls)) == (1, 4)


def test_a_real_network_is_trained_and_asked() -> None:
    learning, holdout = split_blocks(_maps(lots=24), seed=0)
    options = TrainOptions(
        epochs=1, budget_s=None, backbone="mapnet_xs", size=32, batch=32, device="cpu",
        precision="fp32",
    )  # fmt: skip
    first = learn(learning.of_classes(("None", "Center")), options)
    said = score(learn(learning, options, weights_of(first)), holdout)
    assert said.probabilities.shape == (len(holdout), 3)
    assert np.allclose(said.probabilities.sum(axis=1), 1.0, atol=1e-4)


def test_few_maps_get_small_batches_and_as_many_passes_as_time_allows() -> None:
    few = options_for(_maps(lots=10), 5.0, seed=3, device="cpu")
    more = options_for(_maps(lots=200), 5.0, seed=3, device="cpu")
    assert few.batch < more.batch < TrainOptions().batch
    assert few.epochs is None
