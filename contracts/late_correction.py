"""Predictions put right by measurements that come late: bounded state, no data from the future.

Two things are tracked for every thread (product, recipe, module). The offset of the predictions, by
a bank of exponentially weighted means with different gains, of which the one that would have erred
least lately is used, if it erred clearly less than no correction at all: where there is nothing to
put right nothing is done. And the width of the intervals, which grows by each miss and
shrinks by each hit so that in the long run the nominal share is met, whatever the data do (quantile
tracking: Angelopoulos, Candes and Tibshirani, Conformal PID Control, 2023, equation 2, in
logarithms).
"""

import math
from dataclasses import dataclass

__all__ = ["COVERAGE", "GAINS", "Interval", "LateCorrection"]

COVERAGE = 0.9
GAINS = (0.0, 0.1, 0.2, 0.4, 0.7)
# Fifty measurements: enough to tell gains apart, shorter than a maintenance interval.
_FORGET = 0.98
# A gain must have erred so much less than no correction before it is believed: a choice among five
# on few measurements is right by chance too often.
_BETTER = 0.85
_STEP = 0.05
# What a single measurement may count for, in interval half-widths: outliers happen.
_LARGEST = 4.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A prediction with the interval that holds the measured value in 90 % of cases."""

    predicted: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LateCorrection:
    """What late measurements have taught about one thread.

    Attributes:
        offsets: one per gain, measured less predicted, in the target's unit.
        losses: one per gain, discounted mean of its squared errors.
        widening: of the intervals; 1 is as learned.
    """

    offsets: tuple[float, ...] = (0.0,) * len(GAINS)
    losses: tuple[float, ...] = (0.0,) * len(GAINS)
    widening: float = 1.0

    @property
    def offset(self) -> float:
        """What is added to a prediction."""
        best = min(self.losses)
        if best >= _BETTER * self.losses[0]:
            return 0.0
        return self.offsets[self.losses.index(best)]

    def corrected(self, predicted: float, half_width: float) -> Interval:
        """A prediction as it is told.

        Args:
            predicted: what the model says.
            half_width: of its 90 % interval.
        """
        middle, half = predicted + self.offset, half_width * self.widening
        return Interval(middle, middle - half, middle + half)

    def learned(self, predicted: float, half_width: float, measured: float) -> "LateCorrection":
        """The state after a measurement.

        Args:
            predicted: what the model had said of that run, uncorrected.
            half_width: of the model's 90 % interval, more than 0.
            measured: the value; one that is not finite teaches nothing.
        """
        if not (math.isfinite(predicted) and math.isfinite(measured) and half_width > 0):
            return self
        largest = _LARGEST * half_width * self.widening
        error = measured - predicted
        misses = [min(max(error - offset, -largest), largest) for offset in self.offsets]
        missed = abs(error - self.offset) > half_width * self.widening
        return LateCorrection(
            tuple(o + g * m for o, g, m in zip(self.offsets, GAINS, misses, strict=True)),
            tuple(
                _FORGET * loss + (1 - _FORGET) * m**2
                for loss, m in zip(self.losses, misses, strict=True)
            ),
            self.widening * math.exp(_STEP * (missed - (1 - COVERAGE))),
        )
