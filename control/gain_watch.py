"""Is a run-to-run loop stable: how far the true gain may be off, and how far it seems to be.

xi is the true gain over the model's, beta / b; `control.run_to_run` has the loop.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["GainWatch", "stable_gain_ratio"]

Floats = npt.NDArray[np.float64]

# Gain ratios that are held against each other, and how the disturbance may move between runs
# (weight of the EWMA that would follow it best: hardly at all, somewhat, as a random walk).
_RATIOS: Floats = np.concatenate(
    ([-4.0, -2.0, -1.0, -0.5, -0.25, 0.0], np.arange(1, 16) / 8.0, np.geomspace(2.0, 64.0, 21))
)
_PACES: Floats = np.array([0.05, 0.3, 0.6, 1.0])
# Before any run: the model's sign is right with 95 %, and its size within a factor of two with
# 68 % (log-normal).
_RIGHT_SIGN, _FACTOR = 0.95, math.log(2.0)
# The evidence of a run is half gone after 50 further ones, for gains wear.
_FORGET = 0.5 ** (1.0 / 50.0)
# A run further off than this many deviations counts as one that far.
_WILD = 4.0


@lru_cache(maxsize=1024)
def stable_gain_ratio(weight: float, drift_weight: float, delay: int) -> float:
    """The gain ratio xi from which on the loop is unstable; below it, above 0, it is stable.

    Args:
        weight: w1.
        drift_weight: w2.
        delay: runs that are made before a run's measurement is used; 0 for none.

    >>> stable_gain_ratio(0.5, 0.0, 0), round(stable_gain_ratio(0.5, 0.0, 1), 6)
    (4.0, 3.0)
    """
    # Without delay 4 / (2 (w1 + w2) - w1 w2), by Jury's test; a delay only makes it less.
    low, high = 0.0, 4.0 / (2.0 * (weight + drift_weight) - weight * drift_weight)
    if delay == 0:
        return high
    for _ in range(50):
        middle = 0.5 * (low + high)
        if _radius(weight, drift_weight, delay, middle) < 1.0:
            low = middle
        else:
            high = middle
    return low


def _radius(weight: float, drift_weight: float, delay: int, ratio: float) -> float:
    """Largest modulus of the loop's poles; its state is (a, D), now and `delay` runs ago."""
    size = 2 * (delay + 1)
    loop = np.zeros((size, size))
    loop[2:, :-2] = np.eye(size - 2)
    # y - b u = (xi - 1) (target - a - D) + disturbance, with the a and D that u was made of.
    loop[0, 0] = 1.0 - weight
    if drift_weight > 0.0:
        loop[1, 0], loop[1, 1] = -drift_weight, 1.0 - drift_weight
    loop[0, -2:] -= weight * (ratio - 1.0)
    loop[1, -2:] -= drift_weight * (ratio - 1.0)
    return float(np.abs(np.linalg.eigvals(loop)).max())


def _prior() -> Floats:
    right = _RATIOS > 0.0
    logs = np.log(_RATIOS[right])
    prior = np.full(len(_RATIOS), (1.0 - _RIGHT_SIGN) / np.count_nonzero(~right))
    density = np.exp(-0.5 * (logs / _FACTOR) ** 2) * np.gradient(logs)
    prior[right] = _RIGHT_SIGN * density / density.sum()
    return prior


_LOG_PRIOR: Floats = np.log(_prior())


class GainWatch:
    """Which gain ratio explains the runs best, with how sure that is.

    In closed loop the set point follows the measurements, so a regression of one on the other is
    biased; the ratio is found by what it would have foretold instead. For each pair of a ratio xi
    and a pace of the disturbance, y - xi b u is followed by an EWMA of that pace; the squares of
    what it fails to foretell are their likelihood (an IMA(1,1) disturbance: G. E. P. Box, G. M.
    Jenkins and G. C. Reinsel, Time Series Analysis, chapter 5).

    Args:
        data: what `record` gave, or b"" to start.

    Raises:
        ValueError: bytes of another size.
    """

    def __init__(self, data: bytes = b"") -> None:
        shape = (2, len(_PACES), len(_RATIOS))
        self._level, self._squares = np.zeros(shape)
        self._count = 0.0
        if data:
            numbers = np.frombuffer(data, dtype="<f8")
            self._count = float(numbers[0])
            self._level, self._squares = numbers[1:].reshape(shape).copy()

    def record(self) -> bytes:
        """Its memory, as bytes."""
        return (
            np.concatenate(([self._count], self._level.ravel(), self._squares.ravel()))
            .astype("<f8")
            .tobytes()
        )

    def add(self, measured: float, set_point: float, gain: float) -> None:
        """One more run: what it measured, less the target, and what it was made with.

        Args:
            measured: in the output's unit.
            set_point: less the nominal one, in the parameter's unit.
            gain: of the model.
        """
        disturbance = measured - _RATIOS[None, :] * (gain * set_point)
        if self._count == 0.0:
            self._level[:] = disturbance
            self._count = 1.0
            return
        missed = disturbance - self._level
        if self._count > 5.0:
            spread = np.sqrt(self._squares / self._count)
            missed = np.clip(missed, -_WILD * spread, _WILD * spread)
        self._squares = _FORGET * self._squares + missed**2
        self._level += _PACES[:, None] * missed
        self._count = _FORGET * self._count + 1.0

    def probabilities(self) -> Floats:
        """Posterior of each ratio in the grid, (R,); whatever the pace and the noise are."""
        floor = 1e-12 * float(self._squares.max()) + 1e-300
        score = _LOG_PRIOR - 0.5 * self._count * np.log(self._squares + floor)
        likely = np.exp(score - score.max()).sum(axis=0)
        return np.asarray(likely / likely.sum())

    def estimate(self) -> tuple[float, float]:
        """Posterior mean and standard deviation of the ratio."""
        p = self.probabilities()
        mean = float(p @ _RATIOS)
        return mean, math.sqrt(max(0.0, float(p @ (_RATIOS - mean) ** 2)))

    def unstable(self, border: float) -> float:
        """Probability that the ratio is not between 0 and `border`."""
        outside = (_RATIOS <= 0.0) | (border <= _RATIOS)
        return float(self.probabilities()[outside].sum())
