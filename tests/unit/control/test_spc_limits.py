"""Phase I, capability, and the multivariate charts."""

import numpy as np
import pytest
from scipy.stats import chi2

from contracts.errors import DataError
from control.spc.capability import capability
from control.spc.multivariate import Multivariate, quadratic_limit, textbook_t2_limit
from control.spc.phase_one import degrees_of_freedom, estimate, hodges_lehmann, shamos


@pytest.mark.parametrize("count", [2, 3, 5, 6, 8, 10, 15, 30])
def test_phase_one_is_unbiased(count: int) -> None:
    points = np.random.default_rng(count).normal(5.0, 2.0, size=(6000, count))
    assert np.mean([hodges_lehmann(row) for row in points]) == pytest.approx(5.0, abs=0.07)
    # The standard error is below 1 % for three points or more.
    found = np.mean([shamos(row) for row in points])
    assert found == pytest.approx(2.0, rel=0.015 if count > 2 else 0.04)


def test_wild_points_hardly_move_it() -> None:
    points = np.random.default_rng(1).normal(size=20)
    wild = np.concatenate((points, [80.0, 90.0, 1e6]))
    clean, spoilt = estimate(points), estimate(wild)
    assert abs(spoilt.centre - clean.centre) < 0.5
    assert spoilt.sigma < 2.0 * clean.sigma
    assert spoilt.points == 23


def test_nothing_has_no_spread() -> None:
    assert np.isnan(estimate(np.array([1.0])).sigma)
    assert np.isnan(estimate(np.array([])).centre)
    assert degrees_of_freedom(0) == degrees_of_freedom(1) == 0.0


def test_capability_of_a_textbook_process() -> None:
    # D. C. Montgomery, 7th edition, examples 8.5 and 8.6: Cp and Cpk with their intervals.
    found = capability(50.0, 1.75, 19.0, 38.0, 62.0)
    assert found is not None
    assert found.cp == pytest.approx(2.29, abs=0.005)
    assert (found.cp_low, found.cp_high) == pytest.approx((1.57, 3.01), abs=0.01)
    found = capability(0.0, 1.0, 19.0, None, 3.99)
    assert found is not None
    assert found.cp is None
    assert found.cpk == pytest.approx(1.33)
    assert (found.cpk_low, found.cpk_high) == pytest.approx((0.88, 1.78), abs=0.01)


def test_intervals_of_capability_hold_in_95_of_100_cases() -> None:
    random = np.random.default_rng(3)
    held = np.zeros(2)
    for _ in range(2000):
        x = random.normal(1.0, 1.0, size=25)
        found = capability(float(x.mean()), float(x.std(ddof=1)), 24.0, -3.0, 4.5)
        assert found is not None
        assert found.cp_low is not None
        assert found.cp_high is not None
        held += (
            found.cp_low <= 7.5 / 6.0 <= found.cp_high,
            found.cpk_low <= 3.5 / 3.0 <= found.cpk_high,
        )
    assert held / 2000 == pytest.approx([0.95, 0.95], abs=0.02)


def test_no_capability_without_a_specification_or_a_spread() -> None:
    assert capability(0.0, 1.0, 20.0, None, None) is None
    assert capability(0.0, 0.0, 20.0, -1.0, 1.0) is None
    assert capability(0.0, float("nan"), 20.0, -1.0, 1.0) is None
    assert capability(0.0, 1.0, 0.5, -1.0, 1.0) is None


@pytest.mark.parametrize("freedom", [1, 4, 50])
def test_the_quadratic_limit_of_equal_weights_is_chi_squared(freedom: int) -> None:
    found = quadratic_limit(freedom, freedom, freedom, 0.01)
    assert found == pytest.approx(chi2.isf(0.01, freedom))


def test_the_quadratic_limit_holds_where_one_weight_towers_over_many() -> None:
    weights = np.array([5.0, *[0.4] * 60])
    theta = [float((weights**k).sum()) for k in (1, 2, 3)]
    drawn = np.random.default_rng(4).normal(size=(50_000, 61)) ** 2 @ weights
    alarms = float((drawn > quadratic_limit(theta[0], theta[1], theta[2], 0.01)).mean())
    assert alarms == pytest.approx(0.01, rel=0.2)


def test_the_textbook_t2_limit_is_that_of_tables() -> None:
    # a = 2, n = 20: 2 * 19 * 21 / (20 * 18) * F(0.95; 2, 18) = 2.2167 * 3.5546.
    assert textbook_t2_limit(2, 20, 0.05) == pytest.approx(7.879, abs=0.01)


def make(variables: int, wafers: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    loadings = np.random.default_rng(variables).normal(size=(3, variables))
    return random.normal(size=(wafers, 3)) @ loadings + random.normal(size=(wafers, variables))


def test_false_alarms_are_as_many_as_promised() -> None:
    chart = Multivariate(make(40, 600, 0), alpha=0.05)
    found = chart.add(make(40, 20_000, 1))
    assert (found.t2 > chart.t2_limit).mean() == pytest.approx(0.05, rel=0.2)
    assert (found.spe > chart.spe_limit).mean() == pytest.approx(0.05, rel=0.2)


def test_contributions_add_up_and_name_the_variable() -> None:
    chart = Multivariate(make(12, 400, 0))
    wafer = make(12, 1, 2)[0]
    wafer[7] += 15.0
    found, parts = chart.add(wafer), chart.contributions(wafer)
    assert found.spe[0] > chart.spe_limit
    assert parts.t2.sum() == pytest.approx(found.t2[0])
    assert parts.spe.sum() == pytest.approx(found.spe[0])
    assert int(np.argmax(parts.spe)) == 7


def test_a_variable_that_never_moved_is_no_trouble_until_it_moves() -> None:
    wafers = make(6, 200, 0)
    wafers[:, 2] = 7.0
    chart = Multivariate(wafers)
    still = make(6, 1, 3)[0]
    still[2] = 7.0
    assert np.isfinite(chart.add(still).spe).all()
    still[2] = 8.0
    assert chart.add(still).spe[0] > chart.spe_limit


@pytest.mark.parametrize(
    "wafers", [np.zeros((10, 3)), np.zeros((100, 3)), np.full((100, 3), np.nan), np.zeros(100)]
)
def test_what_cannot_be_learned_from_is_refused(wafers: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"collect more|leave out"):
        Multivariate(wafers)
