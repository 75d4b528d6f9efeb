"""What a model is put through beside its figures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from contracts.errors import DatasetError
from contracts.wafer_map import OFF, check_grid
from models.data import MapSet, from_lists
from models.evaluate import evaluate, single_map_ms
from models.figures import class_figure, confusion_figure, mistakes_figure, reliability_figure
from models.mistakes import worst_mistakes
from models.notices import class_table, notice
from models.robustness import macro_f1_under, perturbations
from models.unknown import auroc, unsureness

Drawn = Callable[[int, int], MapSet]
LABELS = ("None", "Center", "Edge-Ring", "Scratch")


def _by_middle(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A model of one idea: many failures in the middle are Center."""
    middle = (maps[:, 26:38, 26:38] > 1).mean(axis=(1, 2))
    said = np.full((len(maps), 4), 0.1, dtype=np.float32)
    said[np.arange(len(maps)), (middle > 0.5).astype(int)] = 0.7
    return said


@pytest.mark.parametrize("name", perturbations(0))
def test_a_perturbed_set_is_a_set_of_wafer_maps(drawn: Drawn, name: str) -> None:
    maps = drawn(10, 3)
    changed = perturbations(4)[name](maps)
    assert np.array_equal(changed.labels, maps.labels)
    assert np.array_equal(changed.groups, maps.groups)
    for before, after in zip(maps.grids, changed.grids, strict=True):
        assert check_grid(after).shape == before.shape
        assert not after[before == OFF].any()
    assert changed.fingerprint() != maps.fingerprint()
    assert changed.fingerprint() == perturbations(4)[name](maps).fingerprint()
    assert changed.fingerprint() != perturbations(5)[name](maps).fingerprint()


def test_a_fiftieth_of_the_dies_flips_and_a_twentieth_goes_missing(drawn: Drawn) -> None:
    maps = drawn(30, 0)
    made = perturbations(0)

    def share(changed: MapSet, what: Callable[..., npt.NDArray[np.bool_]]) -> float:
        dies = sum(int((grid != OFF).sum()) for grid in maps.grids)
        pairs = zip(maps.grids, changed.grids, strict=True)
        return sum(int(what(old, new).sum()) for old, new in pairs) / dies

    assert share(made["die_flips"](maps), lambda a, b: a != b) == pytest.approx(0.02, abs=0.003)
    missing = share(made["missing_dies"](maps), lambda a, b: (b == OFF) & (a != OFF))
    assert missing == pytest.approx(0.05, abs=0.005)


def test_a_turned_wafer_keeps_its_dies_and_about_as_many_failures(drawn: Drawn) -> None:
    maps = drawn(30, 1)
    turned = perturbations(0)["rotation"](maps)
    for before, after in zip(maps.grids, turned.grids, strict=True):
        assert np.array_equal(before == OFF, after == OFF)
    failed = [sum(int((g == 2).sum()) for g in part.grids) for part in (maps, turned)]
    assert failed[1] == pytest.approx(failed[0], rel=0.1)


def test_a_pattern_at_one_side_turns_to_another() -> None:
    v, u = np.mgrid[-1:1:41j, -1:1:41j]
    half = np.where(np.hypot(u, v) <= 1.0, np.where(u > 0, 2, 1), 0).astype(np.uint8)
    maps = from_lists([half] * 8, ["None", "Loc"] * 4, list(range(8)), "halves")
    for grid in perturbations(2)["rotation"](maps).grids:
        failed = grid == 2
        middle = np.hypot(u[failed].mean(), v[failed].mean())
        assert middle == pytest.approx(np.hypot(u[half == 2].mean(), v[half == 2].mean()), abs=0.05)


def test_macro_f1_falls_for_a_model_of_what_is_perturbed(drawn: Drawn) -> None:
    maps = drawn(20, 0)
    plain = evaluate(_by_middle, LABELS, False, (0.5,) * 4, maps, 64).macro_f1
    seen: list[int] = []
    under = macro_f1_under(_by_middle, LABELS, False, (0.5,) * 4, maps, 64, on_progress=seen.append)
    assert set(under) == {"die_flips", "missing_dies", "rotation"}
    assert seen == [len(maps)] * 3
    # The middle of a wafer stays there.
    assert under["rotation"] == pytest.approx(plain, abs=0.1)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
)
def test_auroc_is_that_of_scikit_learn_with_ties(known: list[int], unknown: list[int]) -> None:
    truth = [0] * len(known) + [1] * len(unknown)
    expected = roc_auc_score(truth, known + unknown)
    assert auroc(np.array(known) / 7, np.array(unknown) / 7) == pytest.approx(expected)


def test_auroc_needs_both_sides_and_numbers() -> None:
    with pytest.raises(DatasetError, match="0 known"):
        auroc(np.empty(0), np.ones(3))
    with pytest.raises(DatasetError, match="not a number"):
        auroc(np.array([np.nan]), np.ones(3))


def test_a_model_is_unsure_where_no_class_is_likely() -> None:
    unsure = unsureness(np.array([[0.9, 0.1], [0.5, 0.5]]))
    assert unsure.tolist() == pytest.approx([0.1, 0.5])


def test_worst_mistakes_are_the_surest_wrong_answers() -> None:
    grids = [np.ones((6, 6), dtype=np.uint8)] * 5
    maps = from_lists(grids, ["None", "Center", "Scratch", "Center", "None"], list(range(5)), "x")
    said = np.array(
        [
            [0.9, 0.1, 0, 0],  # right
            [0.6, 0.4, 0, 0],
            [0.0, 0.0, 0.95, 0.05],
            [0.8, 0.2, 0, 0],
            [1.0, 0.0, 0, 0],  # right
        ]
    )
    found = worst_mistakes(said, LABELS, False, (0.5,) * 4, maps, 10)
    assert [(m.place, m.true, m.predicted) for m in found] == [
        (2, "Scratch", "Edge-Ring"), (3, "Center", "None"), (1, "Center", "None"),
    ]  # fmt: skip
    assert [m.probability for m in found] == pytest.approx([0.95, 0.8, 0.6])
    assert len(worst_mistakes(said, LABELS, False, (0.5,) * 4, maps, 2)) == 2


def test_worst_mistakes_of_mixed_patterns() -> None:
    truth = np.array([[1, 1], [0, 1], [0, 0]], dtype=np.uint8)
    grids = [np.ones((6, 6), dtype=np.uint8)] * 3
    maps = MapSet(grids, truth, ("Center", "Scratch"), np.arange(3), "x", multi_label=True)
    said = np.array([[0.9, 0.1], [0.1, 0.9], [0.7, 0.2]])
    found = worst_mistakes(said, ("Center", "Scratch"), True, (0.5, 0.5), maps, 10)
    assert [(m.true, m.predicted) for m in found] == [
        ("Center + Scratch", "Center"), ("None", "Center"),
    ]  # fmt: skip
    assert [m.probability for m in found] == pytest.approx([0.9, 0.7])


def test_latency_is_of_single_maps_on_the_clock_given(drawn: Drawn) -> None:
    sizes: list[int] = []
    now = iter(range(10_000))

    def predict(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        sizes.append(len(batch))
        return _by_middle(batch)

    found = single_map_ms(predict, drawn(2, 0), 64, clock=lambda: next(now) / 1000)
    assert set(sizes) == {1}
    assert found == pytest.approx({"median": 1.0, "p95": 1.0})


def test_pictures_of_a_judged_model(drawn: Drawn, tmp_path: Path) -> None:
    maps = drawn(10, 0)
    report = evaluate(_by_middle, LABELS, False, (0.5,) * 4, maps, 64, resamples=50)
    assert sum(item.answers for item in report.reliability) == len(maps)
    said = _by_middle(maps.canonical(64))
    mistakes = worst_mistakes(said, LABELS, False, (0.5,) * 4, maps, 7)
    figures = (
        confusion_figure(report.labels, report.confusion),
        reliability_figure(report.reliability, report.ece),
        class_figure(report),
        mistakes_figure(mistakes),
    )
    for number, figure in enumerate(figures):
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5_000


def test_the_class_table_counts_every_part(drawn: Drawn) -> None:
    table = class_table({"training": drawn(4, 0), "holdout": drawn(2, 1)})
    assert table.splitlines()[0] == "| class | training | holdout |"
    assert "| maps | 32 | 16 |" in table
    assert "| lots | 4 | 2 |" in table


def test_known_sets_come_with_their_citation() -> None:
    for name in ("wm811k.npz", "LSWMD.pkl"):
        assert "http://mirlab.org/dataset/public/" in notice(name)
    assert "10.1109/TSM.2020.3020985" in notice("mixedwm38.npz")
    assert "Synthetic" in notice("sim:mixed seed 0")
    assert "no citation" in notice("mine.npz")
