"""Bootstrap intervals: what another draw of lots might have given (Efron and Tibshirani, 1993).

Maps of one lot look alike, so lots are drawn, not maps. Every figure here is made of sums over
maps, so a resampled figure needs only how often each lot was drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Interval",
    "Intervals",
    "Sums",
    "confidence_bins",
    "f1_scores",
    "intervals",
    "lot_draws",
]

_ECE_BINS = 15  # Guo et al., ICML 2017
_SEED = 0
_PERCENTILES = (2.5, 97.5)
# Resamples worked on together: 100 of 10,000 lots take 4 MB.
_TOGETHER = 100

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


def f1_scores(
    hits: npt.NDArray[Any], truths: npt.NDArray[Any], answers: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """F1 = 2 TP / (true + predicted) per class; NaN where a class occurs in neither."""
    total = (truths + answers).astype(np.float64)
    scores: npt.NDArray[np.float64] = np.divide(
        2.0 * hits, total, out=np.full(total.shape, np.nan), where=total > 0
    )
    return scores


def confidence_bins(
    confidence: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]
) -> Floats:
    """What each map adds to 15 equal bins of confidence.

    Args:
        confidence: (N, A) of every answer about a map, 0 to 1.
        correct: (N, A).

    Returns:
        (N, 15, 3): answers, the sum of their confidence, and how many are right.
    """
    bins = np.zeros((len(confidence), _ECE_BINS, 3))
    place = np.minimum((confidence * _ECE_BINS).astype(np.int64), _ECE_BINS - 1)
    row = np.arange(len(confidence))[:, None]
    for number, values in enumerate((np.ones_like(confidence), confidence, correct)):
        np.add.at(bins[:, :, number], (row, place), values)
    return bins


@dataclass(frozen=True)
class Sums:
    """What every map adds to the sums that all figures are made of.

    Attributes:
        table: (N, K).
        classes: C.
        exact: whether the share of exact matches is one of the figures.
    """

    table: Floats
    classes: int
    exact: bool

    @classmethod
    def of(
        cls,
        truth: npt.NDArray[np.uint8],
        answer: npt.NDArray[np.uint8],
        *,
        right: Floats,
        exact: npt.NDArray[np.bool_] | None,
        confidence: npt.NDArray[np.floating[Any]],
        correct: npt.NDArray[np.bool_],
    ) -> "Sums":
        """The sums of N maps.

        Args:
            truth: (N, C) of 0 and 1.
            answer: (N, C) of 0 and 1.
            right: (N,) what each map adds to the accuracy.
            exact: (N,) whether every pattern is right; None for single labels.
            confidence: (N, A) of every answer.
            correct: (N, A) whether the answer it belongs to is right.
        """
        matches = np.zeros(len(truth)) if exact is None else exact
        bins = confidence_bins(confidence, correct).reshape(len(truth), -1)
        ones = np.ones(len(truth))
        table = np.column_stack([truth & answer, truth, answer, ones, right, matches, bins])
        return cls(table.astype(np.float64), truth.shape[1], exact is not None)

    def f1(self, sums: Floats) -> Floats:
        """F1 (B, C) of B rows of sums (B, K)."""
        c = self.classes
        return f1_scores(sums[:, :c], sums[:, c : 2 * c], sums[:, 2 * c : 3 * c])

    def bins(self, sums: Floats) -> Floats:
        """Bins of confidence (B, 15, 3) of B rows of sums (B, K), see `confidence_bins`."""
        return sums[:, 3 * self.classes + 3 :].reshape(len(sums), _ECE_BINS, 3)

    def metrics(self, sums: Floats) -> dict[str, Floats]:
        """The figures, (B,) each, of B rows of sums (B, K)."""
        maps, right, matches = sums[:, 3 * self.classes : 3 * self.classes + 3].T
        answers, said, was = np.moveaxis(self.bins(sums), 2, 0)
        found = {
            "accuracy": right / maps,
            "macro_f1": np.nanmean(self.f1(sums), axis=1),
            "ece": np.abs(said - was).sum(axis=1) / answers.sum(axis=1),
        }
        return {**found, "exact_match": matches / maps} if self.exact else found


class Intervals(NamedTuple):
    """Low and high ends, of each figure and of every class's F1."""

    metrics: dict[str, Interval]
    per_class_f1: tuple[Interval, ...]


def intervals(sums: Sums, lots: npt.NDArray[np.int64], resamples: int) -> Intervals:
    """95 % percentile intervals over seeded draws of as many lots as there are, with replacement.

    Args:
        sums: of N maps.
        lots: (N,) the lot of each.
        resamples: B, how many draws.
    """
    _, lot = np.unique(lots, return_inverse=True)
    per_lot = np.zeros((int(lot.max()) + 1, sums.table.shape[1]))
    np.add.at(per_lot, lot, sums.table)
    drawn = np.concatenate([counts @ per_lot for counts in lot_draws(len(per_lot), resamples)])
    return Intervals(
        {name: _ends(values) for name, values in sums.metrics(drawn).items()},
        tuple(_ends(values) for values in sums.f1(drawn).T),
    )


def _ends(values: Floats) -> Interval:
    # A class that a draw lacks altogether has no F1 there.
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, _PERCENTILES) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def lot_draws(lots: int, resamples: int, seed: int = _SEED) -> Iterator[Floats]:
    """How often each of `lots` lots was drawn, with replacement, in each resample.

    The same seed gives the same draws, so two models can be compared on the same lots.

    Yields:
        (b, lots), some resamples at a time; `resamples` in all.
    """
    random = np.random.default_rng(seed)
    for start in range(0, resamples, _TOGETHER):
        some = min(_TOGETHER, resamples - start)
        drawn = random.integers(lots, size=(some, lots)) + lots * np.arange(some)[:, None]
        yield np.bincount(drawn.ravel(), minlength=some * lots).reshape(some, lots).astype(float)
