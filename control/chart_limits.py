"""How far an EWMA chart of traces may go: quiet, out of limits, and what others share.

All in wafer-to-wafer spreads. The EWMA has weight 0.2 and remembers about nine wafers (S. W.
Roberts, Technometrics 1 (1959)); L. A. Jones, C. W. Champ and S. E. Rigdon (Technometrics 43
(2001)) widen its limits where the centre is estimated, Student's t where the spread is.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

__all__ = [
    "MIN_PHASE_ONE",
    "MIN_POOLED",
    "WEIGHT",
    "beyond",
    "quiet_within",
    "shared_by",
    "widening",
]

# EWMA weight: remembers about 2/weight - 1 = 9 wafers.
WEIGHT = 0.2
# Within so many standard deviations of the EWMA the chart is quiet and its wafer may teach the
# baseline; with a centre known from 100 wafers that is about one spread.
QUIET_SDS = 3.0
# Finite readings a chart needs before it has a centre and a spread at all.
MIN_PHASE_ONE = 5
# Wafers of all modules together from which the spread is known well enough to judge by; with fewer
# the limits are so much further out that they are passed by chance as seldom as with these.
MIN_POOLED = 30

Floats = npt.NDArray[np.float64]


def quiet_within(wafers: Floats) -> Floats:
    """EWMA, (K,), within which a chart is quiet whose centre is worth so many wafers."""
    return QUIET_SDS * _deviation(wafers)


def beyond(wafers: Floats, sigmas: float, least: float) -> Floats:
    """EWMA, (K,), beyond which a chart is out: `sigmas` of its deviations, `least` spreads."""
    return np.maximum(least, sigmas * _deviation(wafers))


def _deviation(wafers: Floats) -> Floats:
    return np.asarray(np.sqrt(WEIGHT / (2.0 - WEIGHT) + 1.0 / wafers))


def widening(sigmas: float, wafers: Floats) -> Floats:
    """How much wider limits are, (K,), whose spread is from so many wafers; 1 from `MIN_POOLED`.

    They are as rarely passed as those at `sigmas` are with a spread from `MIN_POOLED` wafers.
    """
    few = np.minimum(wafers, MIN_POOLED).astype(np.intp)
    return np.asarray(_widenings(sigmas)[few])


@cache
def _widenings(sigmas: float) -> Floats:
    """By the number of wafers, 0 to `MIN_POOLED`."""
    chance = stdtr(MIN_POOLED - 1.0, -sigmas)
    freedom = np.maximum(np.arange(MIN_POOLED + 1.0), MIN_PHASE_ONE) - 1.0
    return np.asarray(-stdtrit(freedom, chance) / sigmas)


def shared_by(moved: Floats) -> Floats:
    """How far the other modules have moved, (K,): the median of (M, K), 0 where there are none."""
    if not len(moved):
        return np.zeros(moved.shape[1])
    ordered = np.sort(moved, axis=0)
    middle = len(moved) // 2
    if len(moved) % 2:
        return np.asarray(ordered[middle])
    # The lesser movement of the two in the middle: one sick peer must not speak for both.
    low, high = ordered[middle - 1], ordered[middle]
    return np.asarray(np.where(np.abs(low) < np.abs(high), low, high))
