"""EWMA, CUSUM and moving-range charts of deviations in sigmas: one chart, or many side by side.

All are streaming: what is kept of the past is one or two numbers a chart.
"""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["MOVING_RANGE_LIMIT", "Cusum", "Ewma", "MovingRange"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# d2 + 3 d3 of two normal readings: D4 of the usual tables times d2 (D. C. Montgomery,
# Introduction to Statistical Quality Control, appendix VI).
MOVING_RANGE_LIMIT = 2.0 / math.sqrt(math.pi) + 3.0 * math.sqrt(2.0 - 4.0 / math.pi)


class Ewma:
    """Exponentially weighted moving average (S. W. Roberts, Technometrics 1 (1959)).

    z_t = w x_t + (1 - w) z_(t-1), z_0 = 0, out where |z_t| > L s_t with
    s_t^2 = w / (2 - w) (1 - (1 - w)^(2t)).

    Args:
        weight: w, above 0, at most 1.
        limit: L.
        charts: how many.
        exact: the limits are those of each t as above; else those of t to infinity from the start.

    Attributes:
        value: (charts,) z_t in sigmas of a single point.
        count: (charts,) points seen, t.
    """

    def __init__(self, weight: float, limit: float, charts: int = 1, *, exact: bool = True) -> None:
        self.weight, self.limit, self.exact = weight, limit, exact
        self.value: Floats = np.zeros(charts)
        self.count: Floats = np.zeros(charts)

    def add(self, deviations: Floats) -> Bools:
        """One more point (charts,) on each chart; whether each is out (charts,)."""
        self.value += self.weight * (deviations - self.value)
        self.count += 1.0
        return np.abs(self.value) > self.limit * self.sigma()

    def sigma(self) -> Floats:
        """Standard deviation of `value` in control, (charts,)."""
        variance = self.weight / (2.0 - self.weight)
        if not self.exact:
            return np.full(len(self.value), np.sqrt(variance))
        return np.sqrt(variance * (1.0 - (1.0 - self.weight) ** (2.0 * self.count)))

    def reset(self, where: Bools | None = None) -> None:
        """Start again from the centre, on the charts in `where` only if given."""
        chosen = slice(None) if where is None else where
        self.value[chosen] = 0.0
        self.count[chosen] = 0.0


class Cusum:
    """Tabular two-sided CUSUM (E. S. Page, Biometrika 41 (1954)).

    C+ = max(0, C+ + x - k), C- = max(0, C- - x - k), out where either exceeds h.

    Args:
        reference: k, half the shift to be found quickly, in sigmas.
        limit: h, in sigmas.
        charts: how many.

    Attributes:
        upper: (charts,) C+.
        lower: (charts,) C-.
    """

    def __init__(self, reference: float, limit: float, charts: int = 1) -> None:
        self.reference, self.limit = reference, limit
        self.upper: Floats = np.zeros(charts)
        self.lower: Floats = np.zeros(charts)

    def add(self, deviations: Floats) -> Bools:
        """One more point (charts,) on each chart; whether each is out (charts,)."""
        self.upper = np.maximum(0.0, self.upper + deviations - self.reference)
        self.lower = np.maximum(0.0, self.lower - deviations - self.reference)
        return (self.upper > self.limit) | (self.lower > self.limit)

    def value(self) -> Floats:
        """The larger of the two sums, the lower one negative, (charts,)."""
        return np.where(self.upper >= self.lower, self.upper, -self.lower)

    def reset(self, where: Bools | None = None) -> None:
        """Both sums are 0 again, on the charts in `where` only if given."""
        chosen = slice(None) if where is None else where
        self.upper[chosen] = 0.0
        self.lower[chosen] = 0.0


class MovingRange:
    """Moving range of two neighbours, the MR half of an I-MR chart.

    Out where |x_t - x_(t-1)| > (d2 + 3 d3) sigma = 3.686 sigma; there is no lower limit. It tells
    of a spread that grew; for the level it adds little to the chart of individuals and costs false
    alarms (S. V. Crowder, Journal of Quality Technology 19 (1987)).

    Args:
        charts: how many.

    Attributes:
        last: (charts,) the point before; NaN where there is none.
        value: (charts,) the range.
    """

    def __init__(self, charts: int = 1) -> None:
        self.last: Floats = np.full(charts, np.nan)
        self.value: Floats = np.full(charts, np.nan)

    def add(self, deviations: Floats) -> Bools:
        """One more point (charts,) on each chart; whether each is out (charts,)."""
        self.value = np.abs(deviations - self.last)
        self.last = np.array(deviations, dtype=np.float64)
        return self.value > MOVING_RANGE_LIMIT

    def reset(self, where: Bools | None = None) -> None:
        """Forget the point before, on the charts in `where` only if given."""
        self.last[slice(None) if where is None else where] = np.nan
