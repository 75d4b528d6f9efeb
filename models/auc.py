"""The area under the ROC curve, with its interval."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

__all__ = ["Auc", "area_under_curve", "limit_for_false_alarms"]

Floats = npt.NDArray[np.float64]


class Auc(NamedTuple):
    """An area and its 95 % interval; all NaN where one of the two classes is missing."""

    value: float
    low: float
    high: float


def area_under_curve(scores: Floats, positive: npt.NDArray[np.bool_]) -> Auc:
    """Probability that a positive scores higher than a negative, ties counted half.

    The interval is that of E. R. DeLong et al., Biometrics 44 (1988), by placements (X. Sun and
    W. Xu, IEEE SPL 21, 2014), on the log-odds scale so that it stays inside 0 to 1. Where the two
    classes do not overlap at all the variance is 0 and says nothing: the rule of three (95 % bound
    3/n on a share of which none was seen in n) gives the lower end then.

    Args:
        scores: (N,) higher for more likely positive.
        positive: (N,).

    >>> area_under_curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))[0]
    0.75
    """
    high, low = scores[positive], scores[~positive]
    m, n = len(high), len(low)
    if not m or not n:
        return Auc(float("nan"), float("nan"), float("nan"))
    both = rankdata(np.r_[high, low])
    above = (both[:m] - rankdata(high)) / n
    below = 1.0 - (both[m:] - rankdata(low)) / m
    value = float(above.mean())
    if min(m, n) < 2:
        return Auc(value, 0.0, 1.0)
    if value in (0.0, 1.0):
        bound = min(3.0 / min(m, n), 1.0)
        return Auc(value, value * (1.0 - bound), value + (1.0 - value) * bound)
    error = np.sqrt(np.var(above, ddof=1) / m + np.var(below, ddof=1) / n)
    middle = np.log(value / (1.0 - value))
    half = norm.ppf(0.975) * error / (value * (1.0 - value))
    ends = 1.0 / (1.0 + np.exp(-(middle + np.array([-half, half]))))
    return Auc(value, float(ends[0]), float(ends[1]))


def limit_for_false_alarms(normal: Floats, share: float) -> float:
    """The lowest limit that at most this share of the normal scores exceeds.

    With fewer than 1/share of them that is the highest: not one may be exceeded.
    """
    allowed = int(np.floor(share * len(normal)))
    return float(np.sort(normal)[len(normal) - 1 - allowed])
