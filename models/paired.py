"""Two models on the same maps: macro-F1 of each, and an interval of the difference."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.intervals import lot_draws

__all__ = ["Answers", "macro_f1", "paired_interval"]

Answers = npt.NDArray[np.uint8]
"""(N, C) of 0 and 1: which of C patterns each of N maps shows, or is said to show."""

_RESAMPLES = 1_000
_LEVEL = 0.95


def macro_f1(truth: Answers, answers: Answers) -> float:
    """Mean F1 over the classes that the truth (N, C) shows.

    `evaluate` also counts classes that the model alone names, as 0. Here two models are compared,
    and both must be averaged over the same classes; such an answer costs the class it missed.
    """
    return float(_macro_f1(*(part.sum(axis=0) for part in _counts(truth, answers))))


def paired_interval(
    truth: Answers,
    champion: Answers,
    challenger: Answers,
    groups: npt.NDArray[np.integer[Any]],
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of the challenger's macro-F1 minus the champion's, by the paired bootstrap.

    Groups are resampled whole, the same ones for both models: maps of one lot are right or wrong
    together, and resampled one by one they would promise an interval that is too narrow.
    F1 needs counts alone, so a resample is a sum of the groups' counts (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapters 8 and 13).

    Args:
        truth: (N, C) uint8 of 0 and 1.
        champion: what it answers, likewise.
        challenger: what it answers, likewise.
        groups: (N,).
        seed: of the resamples.
    """
    _, member = np.unique(groups, return_inverse=True)
    count = int(member.max()) + 1

    def resampled(answers: Answers) -> npt.NDArray[np.float64]:
        sums = []
        for part in _counts(truth, answers):
            per_group = np.zeros((count, truth.shape[1]))
            np.add.at(per_group, member, part)
            draws = lot_draws(count, _RESAMPLES, seed)
            sums.append(np.concatenate([times @ per_group for times in draws]))
        return _macro_f1(*sums)

    gain = resampled(challenger) - resampled(champion)
    low, high = np.quantile(gain, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _counts(truth: Answers, answers: Answers) -> tuple[Answers, Answers, Answers]:
    """Hits, truths and answers, (N, C) each: all that F1 needs."""
    return truth & answers, truth, answers


def _macro_f1(
    hits: npt.NDArray[Any], truths: npt.NDArray[Any], answers: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Mean over the last axis of 2 TP / (true + predicted), of the classes with a true map."""
    shown = truths > 0
    f1 = np.where(shown, 2.0 * hits / np.maximum(truths + answers.astype(np.float64), 1.0), 0.0)
    mean: npt.NDArray[np.float64] = f1.sum(axis=-1) / np.maximum(shown.sum(axis=-1), 1)
    return mean
