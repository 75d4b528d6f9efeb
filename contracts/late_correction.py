"""Predictions put right by measurements that come late: bounded state, no data from the future.

Two things are tracked for every thread (product, recipe, module).

The offset of the predictions, by a bank of estimates: none at all, exponentially weighted means of
different gains, and the mean of the lot (group) alone, drawn towards 0. The one that would have
erred least lately is used, if it erred clearly less than none: where there is nothing to put right
nothing is done.

The width of the intervals, which grows by each miss and shrinks by each hit so that in the long run
the nominal share is met, whatever the data do (quantile tracking: Angelopoulos, Candes and
Tibshirani, Conformal PID Control, 2023, equation 2, in logarithms).
"""

import math
from dataclasses import dataclass

__all__ = ["COVERAGE", "GAINS", "Interval", "LateCorrection"]

COVERAGE = 0.9
GAINS = (0.0, 0.1, 0.2, 0.4, 0.7)
_ESTIMATES = len(GAINS) + 1
# Measurements of a lot that its mean is drawn to 0 by: as many as make up for lots that differ by
# as much as the wafers in one.
_DRAWN = 1
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
        losses: one per estimate, discounted mean of its squared errors in interval half-widths.
        widening: of the intervals; 1 is as learned.
        group: the lot measured last.
        group_mean: of measured less predicted over it.
        group_count: its measurements.
    """

    offsets: tuple[float, ...] = (0.0,) * len(GAINS)
    losses: tuple[float, ...] = (0.0,) * _ESTIMATES
    widening: float = 1.0
    group: str = ""
    group_mean: float = 0.0
    group_count: int = 0

    def offset(self, group: str = "") -> float:
        """What is added to a prediction for a run of this lot."""
        best = min(self.losses)
        if best >= _BETTER * self.losses[0]:
            return 0.0
        return self._estimates(group)[self.losses.index(best)]

    def corrected(self, predicted: float, half_width: float, group: str = "") -> Interval:
        """A prediction as it is told.

        Args:
            predicted: what the model says.
            half_width: of its 90 % interval.
            group: the run's lot.
        """
        middle, half = predicted + self.offset(group), half_width * self.widening
        return Interval(middle, middle - half, middle + half)

    def learned(
        self,
        predicted: float,
        half_width: float,
        measured: float,
        group: str = "",
        then: "LateCorrection | None" = None,
    ) -> "LateCorrection":
        """The state after a measurement; they come in the order of the runs.

        Args:
            predicted: what the model had said of that run, uncorrected.
            half_width: of the model's 90 % interval, more than 0.
            measured: the value; one that is not finite teaches nothing.
            group: the run's lot.
            then: the state when the run was predicted: estimates are judged by what they said then,
                not by what they say since. None: the state now, as if nothing were late.
        """
        if not (math.isfinite(predicted) and math.isfinite(measured) and half_width > 0):
            return self
        largest = _LARGEST * half_width * self.widening
        error = measured - predicted
        then = then or self
        erred = [min(max(error - e, -largest), largest) for e in then._estimates(group)]
        missed = abs(error - then.offset(group)) > half_width * then.widening
        moves = [min(max(error - offset, -largest), largest) for offset in self.offsets]
        same = group == self.group
        count = self.group_count + 1 if same else 1
        before = self.group_mean if same else 0.0
        return LateCorrection(
            offsets=tuple(o + g * m for o, g, m in zip(self.offsets, GAINS, moves, strict=True)),
            losses=tuple(
                _FORGET * loss + (1 - _FORGET) * (m / half_width) ** 2
                for loss, m in zip(self.losses, erred, strict=True)
            ),
            widening=self.widening * math.exp(_STEP * (missed - (1 - COVERAGE))),
            group=group,
            group_mean=before + (min(max(error, -largest), largest) - before) / count,
            group_count=count,
        )

    def _estimates(self, group: str) -> tuple[float, ...]:
        drawn = self.group_count / (self.group_count + _DRAWN) * self.group_mean
        return (*self.offsets, drawn if group == self.group else 0.0)
