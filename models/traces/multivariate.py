"""T2 and SPE (Q) of a principal component model, with limits that hold for new samples.

With samples x standardised by the training mean and standard deviation and P (p, a) the first a
principal directions: T2 = sum_j t_j^2 / lambda_j of the scores t = x P, SPE = |x - P t|^2
(J. E. Jackson, A User's Guide to Principal Components, 1991, chapters 1 and 2).

Directions are fitted to the samples they come from. Where p is not far below n, variances measured
on the training samples are too large along them and too small across them, and limits made from
these let new samples alarm many times too often. So variances are measured on samples held out
(ten blocks, each projected by the model of the other nine).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, f, norm

from contracts.errors import DatasetError

__all__ = [
    "Moments",
    "PcaMonitor",
    "fit_monitor",
    "jackson_mudholkar_limit",
    "spe_limit",
    "strong_components",
    "t2_limit",
]

_FOLDS = 10
_SMALLEST_H0 = 1e-3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Traces of the first three powers of the covariance of the residuals."""

    theta1: float
    theta2: float
    theta3: float


def t2_limit(components: int, samples: int, alpha: float) -> float:
    """Limit of T2 for a sample that the model was not fitted to (phase II).

    a (n - 1) (n + 1) / (n (n - a)) F(a, n - a): N. D. Tracy, J. C. Young and R. L. Mason,
    J. Quality Technology 24 (1992), eq. 6.

    Args:
        components: a.
        samples: n that the model was fitted to, more than a.
        alpha: share of false alarms, such as 0.01.

    >>> round(t2_limit(3, 10_000, 0.01), 2)  # chi-square(3) in the limit
    11.35
    """
    a, n = components, samples
    return float(a * (n - 1) * (n + 1) / (n * (n - a)) * f.ppf(1 - alpha, a, n - a))


def spe_limit(moments: Moments, alpha: float) -> float:
    """Limit of SPE: a shifted chi-square with the first three cumulants of SPE.

    J. P. Imhof, Biometrika 48 (1961), eq. 4.1 (after E. S. Pearson). Within 6 % of the nominal
    share at 1 % whatever the residual's eigenvalues; Jackson and Mudholkar's limit alarms a third
    as often as it should where one of them towers over the rest.

    Args:
        moments: of the residuals.
        alpha: share of false alarms, such as 0.01.
    """
    freedom = moments.theta2**3 / moments.theta3**2
    unit = np.sqrt(moments.theta2 / freedom)
    return float(moments.theta1 + unit * (chi2.ppf(1 - alpha, freedom) - freedom))


def jackson_mudholkar_limit(moments: Moments, alpha: float) -> float:
    """The textbook limit of SPE, to compare with what other software shows.

    J. E. Jackson and G. S. Mudholkar, Technometrics 21 (1979), eq. 3.4. The normal deviate takes
    the sign of h0: with a positive one, a negative h0 gives the lower limit instead of the upper.

    Args:
        moments: of the residuals.
        alpha: share of false alarms, such as 0.01.
    """
    one, two, three = moments.theta1, moments.theta2, moments.theta3
    h0 = 1.0 - 2.0 * one * three / (3.0 * two**2)
    if abs(h0) < _SMALLEST_H0:
        # The power 1/h0 has no digits left; its limit is the exponential (log-normal SPE).
        return float(one * np.exp(norm.ppf(1 - alpha) * np.sqrt(2 * two) / one - two / one**2))
    deviate = np.copysign(norm.ppf(1 - alpha), h0)
    inner = deviate * np.sqrt(2.0 * two * h0**2) / one + 1.0 + two * h0 * (h0 - 1.0) / one**2
    return float(one * inner ** (1.0 / h0))


@dataclass(frozen=True)
class PcaMonitor:
    """A fitted model.

    Attributes:
        mean: (p,) of the training samples.
        scale: (p,) their standard deviation; 1 where nothing varied.
        directions: (p, a) orthonormal.
        variances: (a,) of the scores, such that T2 of samples held out has the mean that its
            limit supposes.
        residual: moments of the residuals of samples held out.
        samples: n.
    """

    mean: Floats
    scale: Floats
    directions: Floats
    variances: Floats
    residual: Moments
    samples: int

    def scores(self, values: Floats) -> Floats:
        """Scores (N, a) of samples (N, p)."""
        found: Floats = (values - self.mean) / self.scale @ self.directions
        return found

    def t2(self, values: Floats) -> Floats:
        """T2 (N,) of samples (N, p)."""
        found: Floats = (self.scores(values) ** 2 / self.variances).sum(axis=1)
        return found

    def spe(self, values: Floats) -> Floats:
        """SPE (N,) of samples (N, p)."""
        found: Floats = self.spe_contributions(values).sum(axis=1)
        return found

    def t2_limit(self, alpha: float) -> float:
        """Exceeded by a share alpha of new normal samples."""
        return t2_limit(len(self.variances), self.samples, alpha)

    def spe_limit(self, alpha: float) -> float:
        """Exceeded by a share alpha of new normal samples."""
        return spe_limit(self.residual, alpha)

    def spe_contributions(self, values: Floats) -> Floats:
        """What each variable adds to SPE, (N, p)."""
        z = (values - self.mean) / self.scale
        found: Floats = (z - z @ self.directions @ self.directions.T) ** 2
        return found

    def t2_contributions(self, values: Floats) -> Floats:
        """What each variable adds to T2, (N, p), never negative.

        Complete decomposition: C. F. Alcala and S. J. Qin, Automatica 45 (2009), eq. 14.
        """
        root = self.directions / np.sqrt(self.variances) @ self.directions.T
        found: Floats = ((values - self.mean) / self.scale @ root) ** 2
        return found


def fit_monitor(
    values: Floats, components: int | None = None, *, standardise: bool = True
) -> PcaMonitor:
    """Fit to normal samples.

    Args:
        values: (n, p) without NaN, n at least 10; neighbours in time stand side by side.
        components: a, at least 1; None takes as many as are above the noise.
        standardise: False where the values have mean 0 and variance 1 already, known better than
            from these samples.

    Raises:
        DatasetError: too few samples.
    """
    n, p = values.shape
    if n < _FOLDS:
        raise DatasetError(f"{n} samples are too few for a monitor; at least {_FOLDS} are needed")
    standard = _standard if standardise else _as_they_are
    mean, scale = standard(values)
    z = (values - mean) / scale
    a = strong_components(z) if components is None else components
    a = min(a, p - 1, n - 2)
    if a < 1:
        raise DatasetError(f"a monitor of {p} variables cannot have {a} components")
    held_scores, held = [], []
    for block in np.array_split(np.arange(n), _FOLDS):
        rest = np.delete(np.arange(n), block)
        center, spread = standard(values[rest])
        base = _directions((values[rest] - center) / spread, a)
        x = (values[block] - center) / spread
        t = x @ base
        held_scores.append(t)
        held.append(x - t @ base.T)
    # The F of the limit has the mean a (n^2 - 1) / (n (n - a - 2)) because variances of training
    # samples are too large; ours come from samples held out: what it allows for is taken off.
    allowed = (n**2 - 1) / (n * max(n - a - 2, 1))
    variances = np.maximum((np.concatenate(held_scores) ** 2).mean(axis=0) / allowed, 1e-12)
    return PcaMonitor(mean, scale, _directions(z, a), variances, _moments(held, p), n)


def strong_components(standardised: Floats) -> int:
    """How many components stand out of noise: those above the Marchenko-Pastur edge, at least 1.

    The edge (1 + sqrt(p/n))^2 is the largest eigenvalue that uncorrelated variables would show.

    Args:
        standardised: (n, p), each variable of mean 0 and variance 1.
    """
    n, p = standardised.shape
    eigenvalues = np.linalg.svd(standardised, compute_uv=False) ** 2 / (n - 1)
    return max(1, int((eigenvalues > (1.0 + np.sqrt(p / n)) ** 2).sum()))


def _standard(values: Floats) -> tuple[Floats, Floats]:
    scale = values.std(axis=0, ddof=1)
    return values.mean(axis=0), np.where(scale > 0, scale, 1.0)


def _as_they_are(values: Floats) -> tuple[Floats, Floats]:
    p = values.shape[1]
    return np.zeros(p), np.ones(p)


def _directions(z: Floats, a: int) -> Floats:
    found: Floats = np.linalg.svd(z, full_matrices=False)[2][:a].T
    return found


def _moments(blocks: list[Floats], p: int) -> Moments:
    """Unbiased moments of residuals held out: products of different samples only.

    For independent x, y, z of covariance S: E|x|^2 = tr S, E(x.y)^2 = tr S^2 and
    E(x.y)(y.z)(z.x) = tr S^3; products of a sample with itself would add its fourth moments.
    """
    sums = np.zeros(3)
    counts = np.zeros(3)
    for block in blocks:
        m = len(block)
        products = block @ block.T
        sums[0] += np.trace(products)
        np.fill_diagonal(products, 0.0)
        sums[1] += (products**2).sum()
        sums[2] += ((products @ products) * products).sum()
        counts += (m, m * (m - 1), m * (m - 1) * (m - 2))
    one, two, three = sums / np.maximum(counts, 1)
    # Chance may put the estimates where no covariance could be.
    one = max(float(one), 1e-12)
    two = float(np.clip(two, one**2 / p, one**2))
    return Moments(one, two, float(np.clip(three, two**2 / one, two**1.5)))
