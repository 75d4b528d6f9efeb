import numpy as np
import pytest
from scipy.stats import norm

from contracts.errors import DatasetError
from fabpilot.benchmarks.monitors import measure_monitors
from models.traces.multivariate import (
    Moments,
    fit_monitor,
    jackson_mudholkar_limit,
    spe_limit,
    strong_components,
    t2_limit,
)


def moments(eigenvalues) -> Moments:
    values = np.array([value for value, count in eigenvalues for _ in range(count)])
    return Moments(values.sum(), (values**2).sum(), (values**3).sum())


def chance_of(limit: float, eigenvalues, draws: int = 100_000) -> float:
    """Of a sum of eigenvalue times chi-square(1) beyond a limit; eigenvalues come with counts."""
    rng = np.random.default_rng(0)
    sums = np.zeros(draws)
    for value, count in eigenvalues:
        sums += value * rng.chisquare(count, draws)
    return float((sums > limit).mean())


def test_t2_limit_is_the_published_one():
    # Montgomery, Statistical Quality Control, phase II limit with p = 2 and m = 25 single samples.
    from scipy.stats import f

    expected = 2 * 26 * 24 / (25 * 23) * f.ppf(0.99, 2, 23)
    assert t2_limit(2, 25, 0.01) == pytest.approx(expected)


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [(1.0, 1)],
        [(1.0, 1), (0.5, 1), (0.25, 1), (0.1, 1)],
        [(10.0, 1), (1.0, 40)],
        [(3.0, 1), (1.0, 6)],
        [(1.0, 290)],
    ],
)
def test_the_spe_limit_holds_whatever_the_spectrum(eigenvalues):
    limit = spe_limit(moments(eigenvalues), 0.01)
    assert chance_of(limit, eigenvalues) == pytest.approx(0.01, rel=0.1)


def test_jackson_and_mudholkar_takes_the_sign_of_h0():
    # One eigenvalue far above many small ones makes h0 negative.
    eigenvalues = [(3.0, 1), (1.0, 1), (0.1, 30)]
    given = moments(eigenvalues)
    h0 = 1 - 2 * given.theta1 * given.theta3 / (3 * given.theta2**2)
    assert h0 < 0
    limit = jackson_mudholkar_limit(given, 0.01)
    assert limit > given.theta1
    # With the other sign it would alarm on more than every third sample.
    wrong = norm.ppf(0.99) * np.sqrt(2 * given.theta2 * h0**2) / given.theta1
    wrong += 1 + given.theta2 * h0 * (h0 - 1) / given.theta1**2
    assert chance_of(given.theta1 * wrong ** (1 / h0), eigenvalues) > 0.3
    assert chance_of(limit, eigenvalues) < 0.02


def test_jackson_and_mudholkar_agrees_where_eigenvalues_are_alike():
    given = moments([(1.0, 50)])
    assert jackson_mudholkar_limit(given, 0.01) == pytest.approx(spe_limit(given, 0.01), rel=0.01)


def test_false_alarms_are_within_a_fifth_of_nominal():
    """The benchmark's cases, with as few seeds as its noise allows; 300 variables with one kind."""
    report = measure_monitors(6, ((10, 500), (50, 500)))
    rates = np.array([[*case.t2, *case.spe] for case in report.cases])
    assert np.abs(rates[:, [0, 2]] - 1).max() <= 0.2  # at 5 %
    assert np.abs(rates.mean(axis=0) - 1).max() <= 0.2  # at 1 % a case has six monitors' noise
    assert abs(report.worst - 1) == pytest.approx(np.abs(rates - 1).max())


def test_three_hundred_variables():
    rng = np.random.default_rng(3)
    loadings = rng.standard_normal((5, 300))

    def draw(n):
        return rng.standard_normal((n, 5)) @ loadings + 0.5 * rng.standard_normal((n, 300))

    monitor = fit_monitor(draw(1_500))
    assert len(monitor.variances) == 5
    new = draw(6_000)
    assert (monitor.t2(new) > monitor.t2_limit(0.05)).mean() == pytest.approx(0.05, rel=0.2)
    assert (monitor.spe(new) > monitor.spe_limit(0.05)).mean() == pytest.approx(0.05, rel=0.2)


def test_contributions_sum_up_and_name_the_variable_that_left_its_relation():
    rng = np.random.default_rng(1)
    driver = rng.standard_normal((300, 1))
    values = driver @ np.ones((1, 8)) + 0.1 * rng.standard_normal((300, 8))
    monitor = fit_monitor(values)
    broken = values[:1].copy()
    broken[0, 5] += 1.0
    each = monitor.spe_contributions(broken)
    assert each.sum() == pytest.approx(monitor.spe(broken)[0])
    assert each[0].argmax() == 5
    along = monitor.t2_contributions(values[:3])
    np.testing.assert_allclose(along.sum(axis=1), monitor.t2(values[:3]))
    assert along.min() >= 0
    # A shift along the relation is none of SPE's business.
    assert monitor.spe(values[:1] + 6.0)[0] < monitor.spe_limit(0.001)
    assert monitor.t2(values[:1] + 6.0)[0] > monitor.t2_limit(0.001)


def test_components_of_noise_and_of_factors():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((400, 30))
    assert strong_components(noise / noise.std(axis=0)) == 1
    factors = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 30)) * 2 + noise
    assert strong_components(factors / factors.std(axis=0)) == 3


def test_too_few_samples_are_refused():
    with pytest.raises(DatasetError, match="too few"):
        fit_monitor(np.zeros((9, 3)))
