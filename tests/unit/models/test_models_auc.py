import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.auc import area_under_curve, limit_for_false_alarms


def test_the_area_is_the_usual_one_with_ties():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, 200).astype(float)
    positive = rng.random(200) < 0.3
    found = area_under_curve(scores, positive)
    assert found.value == pytest.approx(roc_auc_score(positive, scores))
    assert 0 < found.low < found.value < found.high < 1


def test_the_interval_covers_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    true = 0.7602  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    positive = np.r_[np.ones(25, dtype=bool), np.zeros(200, dtype=bool)]
    covered = 0
    for _ in range(400):
        found = area_under_curve(rng.standard_normal(225) + positive, positive)
        covered += found.low <= true <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_without_overlap_the_interval_still_has_a_width():
    found = area_under_curve(np.array([0.0, 1.0, 2.0, 3.0, 9.0, 9.5]), np.arange(6) >= 4)
    assert found.value == 1.0
    assert found.low < 1.0
    upside_down = area_under_curve(-np.array([0.0, 1.0, 2.0, 9.0, 9.5]), np.arange(5) >= 3)
    assert (upside_down.value, upside_down.low) == (0.0, 0.0)
    assert upside_down.high > 0.0


def test_one_class_alone_has_no_area():
    assert np.isnan(area_under_curve(np.zeros(3), np.zeros(3, dtype=bool))).all()
    assert area_under_curve(np.array([1.0, 0.0]), np.array([True, False])) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("n", "exceeding"), [(50, 0), (99, 0), (100, 1), (1000, 10)])
def test_the_limit_lets_at_most_its_share_through(n, exceeding):
    normal = np.random.default_rng(n).standard_normal(n)
    assert (normal > limit_for_false_alarms(normal, 0.01)).sum() == exceeding
