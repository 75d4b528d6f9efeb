import numpy as np
import pytest

from contracts.wafer_map import PATTERNS
from models.data import from_lists
from models.evaluate import judge
from models.intervals import Sums, confidence_bins, intervals

LABELS = PATTERNS[:3]


def _sums(lots: int, maps_a_lot: int, *, alike: bool) -> tuple[Sums, np.ndarray]:
    """A model right on 80 % of the maps; wrong on whole lots if they are `alike`."""
    rng = np.random.default_rng(5)
    n = lots * maps_a_lot
    lot = np.repeat(np.arange(lots), maps_a_lot)
    truth = rng.integers(3, size=n)
    right = (rng.random(lots) < 0.8)[lot] if alike else rng.random(n) < 0.8
    hot = np.eye(3, dtype=np.uint8)
    answer = np.where(right, truth, (truth + 1) % 3)
    sums = Sums.of(
        hot[truth],
        hot[answer],
        right=right.astype(float),
        exact=None,
        confidence=np.full((n, 1), 0.8),
        correct=right[:, None],
    )
    return sums, lot


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    sums, _ = _sums(2500, 1, alike=False)
    low, high = intervals(sums, np.arange(2500), 2000).metrics["accuracy"]
    share = sums.metrics(sums.table.sum(axis=0, keepdims=True))["accuracy"][0]
    half = 1.96 * np.sqrt(share * (1 - share) / 2500)
    assert low == pytest.approx(share - half, abs=0.002)
    assert high == pytest.approx(share + half, abs=0.002)


def test_maps_of_lots_that_are_alike_tell_less() -> None:
    def width(alike: bool) -> float:
        low, high = intervals(*_sums(100, 25, alike=alike), 500).metrics["accuracy"]
        return high - low

    assert width(alike=True) > 3 * width(alike=False)


def test_the_same_draw_every_time() -> None:
    sums, lots = _sums(40, 10, alike=True)
    assert intervals(sums, lots, 250) == intervals(sums, lots, 250)


def test_a_class_nobody_shows_has_no_interval() -> None:
    grids = [np.ones((6, 6), dtype=np.uint8)] * 60
    maps = from_lists(grids, ["None", "Center"] * 30, list(range(60)), "x")
    said = np.eye(3, dtype=np.float32)[[0, 1] * 30]
    report = judge(said, LABELS, False, (0.5,) * 3, maps, resamples=100)
    assert report.intervals["macro_f1"] == (1.0, 1.0)
    assert report.per_class_intervals == {"None": (1.0, 1.0), "Center": (1.0, 1.0)}


def test_mixed_patterns_have_an_interval_of_exact_matches() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (200, 3)).astype(np.uint8)
    same = rng.random(200) < 0.7
    answer = np.where(same[:, None], truth, 1 - truth).astype(np.uint8)
    exact = (truth == answer).all(axis=1)
    sums = Sums.of(
        truth, answer, right=(truth == answer).mean(axis=1), exact=exact,
        confidence=np.ones((200, 3)), correct=truth == answer,
    )  # fmt: skip
    found = intervals(sums, np.arange(200), 300).metrics
    assert set(found) == {"accuracy", "macro_f1", "ece", "exact_match"}
    assert found["exact_match"][0] < exact.mean() < found["exact_match"][1]


def test_bins_hold_every_answer_once() -> None:
    confidence = np.array([[0.0, 0.5], [1.0, 0.97]])
    bins = confidence_bins(confidence, np.array([[True, False], [True, True]]))
    assert bins[:, :, 0].sum(axis=1).tolist() == [2, 2]
    assert bins[:, :, 1].sum() == pytest.approx(2.47)
    assert bins[1, 14].tolist() == [2.0, 1.97, 2.0]
