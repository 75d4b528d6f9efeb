"""Limits from a module's own first points, some of which may be wild: phase I.

The centre is Hodges and Lehmann's (Annals of Mathematical Statistics 34 (1963)), the spread M. I.
Shamos's (1976), both made unbiased for few normal points (C. Park, H. Kim and M. Wang,
Communications in Statistics - Simulation and Computation 51 (2022)). Up to 29 % of the points may
be arbitrarily wrong, and yet they are nearly as sharp as mean and standard deviation (96 and 86 %
efficient), where median and MAD are 64 and 37 %: with ten or twenty points that matters more.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "degrees_of_freedom", "estimate", "hodges_lehmann", "shamos"]

Floats = npt.NDArray[np.float64]

# 1 / (sqrt(2) Phi^-1(3/4)): makes the median distance of two normal points a standard deviation.
_CONSISTENT = 1.0 / (math.sqrt(2.0) * 0.6744897501960817)
# Mean of that over the true sigma for 2 to 10 normal points, from 400,000 drawn samples each
# (standard error 0.1 %). Two are exact: 2 / sqrt(pi) times the constant above.
_BIAS = (1.1830, 1.2974, 1.1570, 1.1014, 1.0989, 1.0673, 1.0607, 1.0542, 1.0481)
# Efficiency of the spread: n normal points tell it as well as 0.8 n do the standard deviation.
_EFFICIENCY = 0.8


class Estimate(NamedTuple):
    """What phase I found.

    Attributes:
        centre: in the unit of the points.
        sigma: standard deviation of a point.
        points: it was found from.
    """

    centre: float
    sigma: float
    points: int


def hodges_lehmann(points: Floats) -> float:
    """Median of the means of all pairs, each point with itself too; NaN for no points."""
    i, j = np.triu_indices(len(points))
    return float(np.median(0.5 * (points[i] + points[j]))) if len(points) else np.nan


def shamos(points: Floats) -> float:
    """Standard deviation by the median distance of all pairs, unbiased; NaN below two points."""
    count = len(points)
    if count < 2:
        return np.nan
    i, j = np.triu_indices(count, 1)
    raw = float(np.median(np.abs(points[i] - points[j]))) * _CONSISTENT
    if count <= 10:
        return raw / _BIAS[count - 2]
    return raw / (1.0 + 0.414253297 / count + 0.442396799 / count**2)


def degrees_of_freedom(points: int) -> float:
    """Those of a normal standard deviation that is as well known as `shamos` of so many points."""
    return _EFFICIENCY * max(0, points - 1)


def estimate(points: Floats) -> Estimate:
    """Centre and spread of (n,) finite points; a single one, or none, has no spread (NaN)."""
    return Estimate(hodges_lehmann(points), shamos(points), len(points))
