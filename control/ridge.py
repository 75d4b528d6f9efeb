"""A straight line learned on line: ridge regression with forgetting and examples to begin with."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from control.foresight_state import VirtualLine

__all__ = ["RidgeLine"]

# A weight is believed to be about a tenth of the noise per spread of a sensor: what ten spreads do
# is then of the size of the noise before anything was measured.
_PRIOR_PRECISION = 100.0
# Share of what was learned that stays with each measurement: the latest 500 count.
_KEPT = 0.998
# A wafer is ordinary while all sensors are within so many spreads. There the weights are believed
# as far as they proved right; before that by a half, worth so much.
_ORDINARY, _HALF, _WORTH = 5.0, 0.5, 1.0
# Beyond it is one in 10,000 of a standard normal.
_NORMAL_9999 = 3.719
# Measured wafers that an example is worth.
_EXAMPLE = 3.0
# A single measurement is no further off than this, in deviations.
_MOST = 10.0

Floats = npt.NDArray[np.float64]


class RidgeLine:
    """The weights in a `VirtualLine`, made quick to ask.

    The posterior of Bayesian linear regression with noise 1: information A = A0 + sum of x x',
    weights inv(A) b with b = sum of x y (C. M. Bishop, Pattern Recognition and Machine Learning,
    2006, eq. 3.50 and 3.51). A0 is the prior's and is not forgotten.

    Args:
        record: changed in place; what it holds is what is used, so a restart changes nothing.
        examples: readings (F,) in spreads and the value they make, in deviations; each is worth
            three measurements that are never forgotten.
    """

    def __init__(self, record: VirtualLine, examples: Sequence[tuple[Floats, float]]) -> None:
        size = len(record.variables)
        self._record = record
        self._triangle = np.triu_indices(size)
        self._prior = _PRIOR_PRECISION * np.eye(size)
        self._aim = np.zeros(size)
        for reading, value in examples:
            self._prior += _EXAMPLE * np.outer(reading, reading)
            self._aim += _EXAMPLE * reading * value
        self._information, self._target = np.zeros((size, size)), np.zeros(size)
        self._load()

    def value(self, reading: Floats) -> float:
        """What a reading (F,) adds to the mean, in deviations.

        Among ordinary wafers the sensors may tell nothing, and then the weights would only add
        noise: their word is multiplied by the slope of what was measured over it (stacking:
        L. Breiman, Machine Learning 24, 1996).
        """
        word = float(self._weights @ reading)
        if not _is_ordinary(reading):
            return word
        record = self._record
        slope = (record.agreed + _WORTH * _HALF) / (record.spoken + _WORTH)
        return min(max(slope, 0.0), 1.0) * word

    def stretch(self, reading: Floats) -> float:
        """How much wider than the noise the doubt about a reading is, 1 or more."""
        return math.sqrt(1.0 + max(0.0, float(reading @ self._covariance @ reading)))

    def is_unlike(self, reading: Floats) -> bool:
        """Whether a reading is far from all that was learned from.

        Mahalanobis' distance from readings learned from, of which the prior is worth a hundred with
        spread 1, beyond what one normal reading in 10,000 reaches (chi-square's quantile by
        E. B. Wilson and M. M. Hilferty, PNAS 17, 1931).
        """
        size = len(reading)
        wafers = (1.0 - _KEPT**self._record.learned) / (1.0 - _KEPT)
        distance = float(reading @ self._covariance @ reading) * (_PRIOR_PRECISION + wafers)
        part = 2.0 / (9.0 * size)
        return distance > size * (1.0 - part + _NORMAL_9999 * math.sqrt(part)) ** 3

    def learn(self, reading: Floats, value: float) -> None:
        """Take in a measurement, `value` deviations from the mean."""
        value = min(max(value, -_MOST), _MOST)
        if _is_ordinary(reading):
            word = float(self._weights @ reading)
            self._record.agreed = _KEPT * self._record.agreed + word * value
            self._record.spoken = _KEPT * self._record.spoken + word * word
        self._information = _KEPT * self._information + np.outer(reading, reading)
        self._target = _KEPT * self._target + reading * value
        numbers = np.concatenate([self._information[self._triangle], self._target])
        self._record.numbers = numbers.astype("<f4").tobytes()
        self._record.learned += 1
        self._load()

    def _load(self) -> None:
        numbers = np.frombuffer(self._record.numbers, dtype="<f4").astype(np.float64)
        size = len(self._target)
        if len(numbers):
            upper = np.zeros((size, size))
            upper[self._triangle] = numbers[:-size]
            self._information = upper + np.triu(upper, 1).T
            self._target = numbers[-size:]
        # An example says where to begin, and takes no doubt away: it was never measured here.
        doubt = _PRIOR_PRECISION * np.eye(size)
        self._covariance = np.linalg.inv(doubt + self._information)
        self._weights = np.linalg.solve(self._prior + self._information, self._aim + self._target)


def _is_ordinary(reading: Floats) -> bool:
    return bool(np.abs(reading).max(initial=0.0) < _ORDINARY)
