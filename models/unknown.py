"""How well a score tells maps of a pattern nobody has taught the model from maps it knows."""

from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError

__all__ = ["auroc", "unsureness"]


def auroc(known: npt.NDArray[np.floating[Any]], unknown: npt.NDArray[np.floating[Any]]) -> float:
    """Area under the ROC curve: how often an unknown map scores above a known one.

    The rank statistic of Mann and Whitney (1947) over all pairs; a tie counts half. 0.5 is chance.

    Args:
        known: (K,) scores of maps of known classes.
        unknown: (U,) scores of maps of the unknown class; larger means more unlike.

    Raises:
        DatasetError: one side is empty, or a score is no number.

    >>> auroc(np.array([0.1, 0.2]), np.array([0.2, 0.9]))
    0.875
    """
    if not len(known) or not len(unknown):
        raise DatasetError(f"{len(known)} known and {len(unknown)} unknown maps: both are needed")
    if not (np.isfinite(known).all() and np.isfinite(unknown).all()):
        raise DatasetError("a score is no number; the model has diverged")
    ordered = np.sort(known)
    below = np.searchsorted(ordered, unknown, side="left")
    not_above = np.searchsorted(ordered, unknown, side="right")
    return float((below + not_above).mean() / (2.0 * len(known)))


def unsureness(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """1 - the largest probability (N,): the score of a model without one of its own.

    Hendrycks and Gimpel, ICLR 2017.

    Args:
        probabilities: (N, C).
    """
    return np.asarray(1.0 - probabilities.max(axis=1), dtype=np.float64)
