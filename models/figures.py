"""Pictures for people who compare models.

Each function gives a matplotlib figure. They are made of `Figure` itself, not of pyplot: no window
system, no global state, nothing to close.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from models.evaluate import EvaluationReport, ReliabilityBin
from models.mistakes import Mistake

__all__ = ["class_figure", "confusion_figure", "mistakes_figure", "reliability_figure"]

# Off the wafer, pass, fail: told apart without colour vision too.
_DIES = ListedColormap(["#ffffff", "#cfd8e3", "#b3261e"])
_INK, _QUIET = "#1f4e79", "#9aa5b1"
# A bin with fewer answers says little; it is drawn pale.
_FEW = 30


def confusion_figure(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> Any:
    """A confusion matrix: counts in words, shares of each row in shade.

    Args:
        labels: C class names.
        confusion: (C, C) counts by true (rows) and predicted class.
    """
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.0 + 0.6 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("Maps by true and predicted class (shade: share of the row)", fontsize=9)
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


def reliability_figure(bins: Sequence[ReliabilityBin], ece: float) -> Any:
    """How often answers are right, by how sure the model was; on the diagonal it means it.

    Args:
        bins: of confidence, none empty.
        ece: the expected calibration error they give.
    """
    figure = Figure(figsize=(5.0, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    said = [item.confidence for item in bins]
    upper.plot(
        [0, 1], [0, 1], color=_QUIET, linestyle="--", linewidth=1, label="means what it says"
    )
    upper.plot(said, [item.accuracy for item in bins], color=_INK, linewidth=1)
    for few, label in ((False, "answers"), (True, f"fewer than {_FEW} answers")):
        some = [item for item in bins if (item.answers < _FEW) == few]
        if some:
            upper.scatter(
                [item.confidence for item in some],
                [item.accuracy for item in some],
                color="white" if few else _INK,
                edgecolors=_INK,
                zorder=3,
                label=label,
            )
    upper.set(xlim=(0, 1.03), ylim=(0, 1.02), ylabel="share that is right")
    upper.set_title(f"Reliability, ECE {ece:.3f}")
    upper.legend(frameon=False, loc="upper left", fontsize=8)
    lower.bar(said, [item.answers for item in bins], width=0.04, color=_INK)
    lower.set(yscale="log", ylabel="answers", xlabel="confidence")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure


def class_figure(report: EvaluationReport) -> Any:
    """F1 of every class with its 95 % interval, if the report has one, worst first."""
    scores = sorted(report.per_class_f1.items(), key=lambda item: item[1])
    figure = Figure(figsize=(6.0, 1.2 + 0.38 * len(scores)), layout="constrained")
    axes = figure.subplots()
    for place, (name, f1) in enumerate(scores):
        low, high = report.per_class_intervals.get(name, (f1, f1))
        axes.plot([low, high], [place, place], color=_INK, linewidth=2, alpha=0.5)
        axes.plot(f1, place, "o", color=_INK)
        axes.annotate(
            f"{f1:.3f}", (high, place), (8, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.axvline(report.macro_f1, color=_QUIET, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(scores)), [name for name, _ in scores])
    axes.set_ylim(-0.6, len(scores) - 0.3)
    axes.set_xlabel(f"F1 (line: 95 % interval; dashed: macro-F1 {report.macro_f1:.3f})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    return figure


def mistakes_figure(mistakes: Sequence[Mistake], columns: int = 6) -> Any:
    """The mistakes as wafer maps, surest first, each with what it is, what was said and how surely.

    Args:
        mistakes: at least one.
        columns: maps a row.
    """
    rows = math.ceil(len(mistakes) / columns)
    figure = Figure(figsize=(2.1 * columns, 2.45 * rows + 0.4), layout="constrained")
    figure.suptitle("Most surely wrong: the label, what the model said, and its probability")
    for axes, item in zip(
        figure.subplots(rows, columns, squeeze=False).flat,
        [*mistakes, *[None] * (rows * columns - len(mistakes))],
        strict=True,
    ):
        axes.axis("off")
        if item is None:
            continue
        # The bounding box of a grid is the wafer's bounding square, whatever the die's sides.
        axes.imshow(item.grid, cmap=_DIES, vmin=0, vmax=2, aspect="auto", interpolation="nearest")
        axes.set_box_aspect(1)
        axes.set_title(
            f"{item.true}\n→ {item.predicted}  {item.probability:.2f}", fontsize=9, loc="center"
        )
    return figure
