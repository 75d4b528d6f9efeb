"""Pictures for people who compare models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

__all__ = ["confusion_figure"]


def confusion_figure(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> Any:
    """A confusion matrix as a matplotlib figure: counts in words, shares of each row in shade.

    Args:
        labels: C class names.
        confusion: (C, C) counts by true (rows) and predicted class.
    """
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.0 + 0.6 * len(labels)
    # Figure itself, not pyplot: no window system, no global state, nothing to close.
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row in range(len(labels)):
        for column in range(len(labels)):
            if counts[row, column]:
                axes.text(
                    column,
                    row,
                    str(counts[row, column]),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if share[row, column] > 0.5 else "black",
                )
    return figure
