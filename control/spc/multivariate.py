"""Multivariate charts: Hotelling's T2 of the principal components, and SPE of what is left.

T2 sees unusual amounts of what usually varies, SPE what never varied so before (J. E. Jackson and
G. S. Mudholkar, Technometrics 21 (1979) 341-349). The textbook's limits take the components as
known; where there are many variables for the wafers that gives too many false alarms of SPE and
too few of T2. Here both limits come from wafers that the components were not learned from
(cross-validation).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, fdtri

from contracts.errors import DataError

__all__ = ["Multivariate", "Statistics", "quadratic_limit", "textbook_t2_limit"]

Floats = npt.NDArray[np.float64]

_FOLDS = 20
# More components than a quarter of the wafers cannot be told from chance.
_WAFERS_PER_COMPONENT = 4


class Statistics(NamedTuple):
    """One wafer's or (n,) wafers' statistics.

    Attributes:
        t2: distance within the model.
        spe: squared distance from the model, in squared standard deviations of the variables.
    """

    t2: Floats
    spe: Floats


def textbook_t2_limit(components: int, wafers: int, alpha: float) -> float:
    """T2 limit a (n-1) (n+1) / (n (n-a)) F(1 - alpha; a, n - a) for known components."""
    a, n = components, wafers
    return float(a * (n - 1) * (n + 1) / (n * (n - a)) * fdtri(a, n - a, 1.0 - alpha))


def quadratic_limit(theta1: float, theta2: float, theta3: float, alpha: float) -> float:
    """Value that a sum of weighted squared normal numbers exceeds with probability alpha.

    Args:
        theta1: sum of the weights.
        theta2: sum of their squares.
        theta3: sum of their third powers.
        alpha: probability.

    Three moments matched by a chi-squared variable, E. S. Pearson's approximation in J. P. Imhof,
    Biometrika 48 (1961) 419-426, equation 4.1. Where one weight towers over many, as a component
    left out does (h0 below 0), Jackson and Mudholkar's formula gives far too few false alarms with
    c of the sign of h0, and a third of all wafers without.
    """
    freedom = theta2**3 / theta3**2
    return float(theta1 + (chdtri(freedom, alpha) - freedom) * np.sqrt(theta2 / freedom))


class _Plane(NamedTuple):
    """What components were learned. `axes` (a, p), `variances` (a,)."""

    mean: Floats
    scale: Floats
    axes: Floats
    variances: Floats

    def parts(self, wafers: Floats) -> tuple[Floats, Floats]:
        """Scores in their deviations (n, a), and what is left (n, p)."""
        z = (wafers - self.mean) / self.scale
        scores = z @ self.axes.T
        return scores / np.sqrt(self.variances), z - scores @ self.axes


def _learn(wafers: Floats, components: int | None, explained: float) -> _Plane:
    mean, scale = wafers.mean(axis=0), wafers.std(axis=0, ddof=1)
    # A variable that never moved says nothing until it does; then any movement is much.
    scale = np.where(scale > 0.0, scale, np.maximum(1e-6 * np.abs(mean), 1e-12))
    _, singular, axes = np.linalg.svd((wafers - mean) / scale, full_matrices=False)
    variances = singular**2 / (len(wafers) - 1)
    if components is None:
        share = np.cumsum(variances) / variances.sum()
        components = int(np.searchsorted(share, explained)) + 1
        most = min(wafers.shape[1] - 1, len(wafers) // _WAFERS_PER_COMPONENT)
        components = max(1, min(components, most))
    return _Plane(mean, scale, axes[:components], np.maximum(variances[:components], 1e-12))


class Multivariate:
    """T2 and SPE charts learned from wafers in control. Judging takes constant memory.

    Args:
        wafers: (n, p) finite numbers, n at least 80, p at least 2.
        alpha: false alarms a wafer, of each statistic.
        explained: share of the variance that the components take.

    Attributes:
        components: how many there are.
        t2_limit: alarm above.
        spe_limit: alarm above.

    Raises:
        DataError: too few wafers or variables, numbers that are none, or nothing that varies.
    """

    def __init__(self, wafers: Floats, alpha: float = 0.01, explained: float = 0.9) -> None:
        wafers = np.asarray(wafers, dtype=np.float64)
        if wafers.ndim != 2 or wafers.shape[0] < 4 * _FOLDS or wafers.shape[1] < 2:
            raise DataError(
                f"multivariate charts need at least {4 * _FOLDS} wafers of 2 variables, got"
                f" {wafers.shape}: collect more"
            )
        if not np.isfinite(wafers).all() or not (wafers.std(axis=0) > 0.0).any():
            raise DataError(
                "multivariate charts need finite numbers that vary: leave out wafers with missing"
                " readings"
            )
        self._plane = _learn(wafers, None, explained)
        self.components = len(self._plane.axes)
        fold = np.arange(len(wafers)) % _FOLDS
        scores, rests = [], []
        for place in range(_FOLDS):
            kept = _learn(wafers[fold != place], self.components, explained)
            score, rest = kept.parts(wafers[fold == place])
            scores.append(score)
            rests.append(rest)
        self.t2_limit = quadratic_limit(*_weights(scores), alpha)
        self.spe_limit = quadratic_limit(*_weights(rests), alpha)

    def add(self, wafers: Floats) -> Statistics:
        """Statistics of (p,) one wafer or (n, p) wafers; NaN where a reading is missing."""
        score, rest = self._plane.parts(np.atleast_2d(wafers))
        return Statistics((score**2).sum(axis=1), (rest**2).sum(axis=1))

    def contributions(self, wafer: Floats) -> Statistics:
        """Parts (p,) of one wafer's statistics that each variable adds; they sum up to them.

        T2's are P. Nomikos and J. F. MacGregor's (1995): z_j sum_a t_a p_aj / lambda_a.
        """
        z = (wafer - self._plane.mean) / self._plane.scale
        score, rest = self._plane.parts(wafer[None, :])
        weights = (score[0] / np.sqrt(self._plane.variances)) @ self._plane.axes
        return Statistics(z * weights, rest[0] ** 2)


def _weights(folds: list[Floats]) -> tuple[float, float, float]:
    """Sums of powers of the eigenvalues of the covariance of (m, p) rows, without bias.

    tr(S^k) is estimated by products of different rows of one fold (U-statistics), which have no
    bias however many variables there are; sample eigenvalues spread too far.
    """
    first = second = third = pairs = triples = rows = 0.0
    for fold in folds:
        count = len(fold)
        products = fold @ fold.T
        first += float(np.trace(products))
        np.fill_diagonal(products, 0.0)
        second += float((products**2).sum())
        third += float(((products @ products) * products).sum())
        rows += count
        pairs += count * (count - 1)
        triples += count * (count - 1) * (count - 2)
    theta1, theta2 = first / rows, max(second / pairs, 1e-300)
    # At least what equal weights would give, by Cauchy and Schwarz.
    theta3 = max(third / triples, theta2**2 / max(theta1, 1e-300))
    return theta1, theta2, theta3
