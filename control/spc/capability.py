"""Process capability: how much room the specification leaves, with 95 % intervals.

Cp's interval is exact for normal values (chi-squared); Cpk's is A. F. Bissell's, Applied Statistics
39 (1990) 331-340. Both in D. C. Montgomery, Introduction to Statistical Quality Control, 7th
edition, equations 8.19 and 8.20. They speak of a process in control: without that they predict
nothing.
"""

import math
from typing import NamedTuple

from scipy.special import chdtri

__all__ = ["Capability", "capability"]

# Of the standard normal law: 97.5 % lie below.
_Z = 1.959963984540054


class Capability(NamedTuple):
    """Indices and 95 % intervals; None where the specification has no such side.

    Attributes:
        cp: width of the specification over six sigmas.
        cp_low: with `cp_high` its interval.
        cpk: distance to the nearer limit over three sigmas.
        cpk_low: with `cpk_high` its interval.
    """

    cp: float | None
    cp_low: float | None
    cp_high: float | None
    cpk: float
    cpk_low: float
    cpk_high: float


def capability(
    centre: float, sigma: float, freedom: float, lower: float | None, upper: float | None
) -> Capability | None:
    """Capability of a process in control.

    Args:
        centre: of single values, in their unit.
        sigma: standard deviation of single values.
        freedom: degrees of freedom that `sigma` was estimated with, n - 1 for n values.
        lower: specification limit; None if there is none.
        upper: the same.

    Returns:
        None without any limit, without spread, or with less than one degree of freedom.
    """
    if (lower is None and upper is None) or not sigma > 0.0 or freedom < 1.0:
        return None
    rooms = []
    if lower is not None:
        rooms.append(centre - lower)
    if upper is not None:
        rooms.append(upper - centre)
    cpk = min(rooms) / (3.0 * sigma)
    half = _Z * math.sqrt(1.0 / (9.0 * (freedom + 1.0)) + cpk**2 / (2.0 * freedom))
    cp = cp_low = cp_high = None
    if lower is not None and upper is not None:
        cp = (upper - lower) / (6.0 * sigma)
        # chdtri takes the probability of the upper tail.
        cp_low = cp * math.sqrt(float(chdtri(freedom, 0.975)) / freedom)
        cp_high = cp * math.sqrt(float(chdtri(freedom, 0.025)) / freedom)
    return Capability(cp, cp_low, cp_high, cpk, cpk - half, cpk + half)
