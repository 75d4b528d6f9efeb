"""Calibration: probabilities that mean what they say, and thresholds that suit a threshold's cost.

Fitted on maps the network was not trained on, and which are not those it is reported on.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.evaluate import f1_scores

__all__ = ["best_thresholds", "fit_temperature"]

# Outside this range the validation part is too small or too easy to fit a temperature on.
_COLDEST, _HOTTEST = 0.25, 4.0


def fit_temperature(scores: Tensor, labels: Tensor, bias: Tensor, *, multi_label: bool) -> float:
    """The temperature that makes `scores / T + bias` likeliest (Guo et al., ICML 2017).

    One number, so a grid is as good as a gradient and never diverges.

    Args:
        scores: (N, C) raw scores.
        labels: (N,) int64, or (N, C) float for multi-label.
        bias: (C,) added after the division.
        multi_label: sigmoid and binary cross-entropy instead of softmax.
    """
    grid = torch.logspace(np.log10(_COLDEST), np.log10(_HOTTEST), 121).tolist()

    def loss(temperature: float) -> float:
        scaled = scores / temperature + bias
        if multi_label:
            return float(functional.binary_cross_entropy_with_logits(scaled, labels))
        return float(functional.cross_entropy(scaled, labels))

    return float(min(grid, key=loss))


def best_thresholds(
    probabilities: npt.NDArray[np.float32], truth: npt.NDArray[np.uint8]
) -> tuple[float, ...]:
    """Per class, the threshold with the best F1; the middle of the best stretch if several tie.

    Args:
        probabilities: (N, C).
        truth: (N, C) of 0 and 1.
    """
    grid = np.linspace(0.05, 0.95, 91)
    chosen = []
    for column in range(truth.shape[1]):
        answers = probabilities[:, column, None] >= grid
        true = truth[:, column, None].astype(bool)
        f1 = f1_scores((answers & true).sum(axis=0), true.sum(axis=0), answers.sum(axis=0))
        f1 = np.nan_to_num(f1, nan=0.0)
        # A class that validation lacks says nothing about its threshold.
        best = grid[f1 >= f1.max() - 1e-12] if f1.max() > 0 else np.array([0.5])
        chosen.append(float(np.median(best)))
    return tuple(chosen)
