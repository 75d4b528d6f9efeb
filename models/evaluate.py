"""Judging a model on labelled maps, whatever runs it: torch, ONNX Runtime or a server.

Pure numpy. The model is a function from canonical maps to probabilities.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from models.data import MapSet

__all__ = [
    "EvaluationReport",
    "Predict",
    "calibration_error",
    "confusion_matrix",
    "decide",
    "evaluate",
    "f1_scores",
    "predict_all",
]

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""(N, S, S) uint8 canonical maps to (N, C) float32 probabilities."""

_NONE = "None"
_ECE_BINS = 15  # Guo et al., ICML 2017


@dataclass(frozen=True)
class EvaluationReport:
    """How good a model is on one set.

    Attributes:
        n: maps judged.
        accuracy: share of maps with the right class; for mixed patterns, share of right yes/no
            answers over maps and classes.
        macro_f1: mean F1 over the classes that occur in the labels or the predictions.
        per_class_f1: the same classes, one by one.
        ece: expected calibration error, 15 bins: of the top label, or of every yes/no answer for
            mixed patterns.
        labels: names of the rows and columns of `confusion`.
        confusion: maps by true class (rows) and predicted class (columns). For mixed patterns, of
            the maps that show exactly one pattern and got exactly one (or none).
        exact_match: share of maps with every pattern right (mixed patterns only).
        unknown_labels: classes of the data the model cannot name; their maps count as errors.
    """

    n: int
    accuracy: float
    macro_f1: float
    per_class_f1: dict[str, float]
    ece: float
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    exact_match: float | None = None
    unknown_labels: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """The numbers alone, for a model card or a tracking run."""
        numbers = {"accuracy": self.accuracy, "macro_f1": self.macro_f1, "ece": self.ece}
        if self.exact_match is not None:
            numbers["exact_match"] = self.exact_match
        return numbers


def evaluate(
    predict: Predict,
    card_labels: Sequence[str],
    multi_label: bool,
    thresholds: Sequence[float],
    maps: MapSet,
    size: int,
    *,
    batch: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Judge a model on a set. Labels are matched by name.

    A class the data lacks counts only if the model predicts it. A class the model lacks counts as
    an error on every map that shows it, with an F1 of 0. A single-label model on mixed patterns
    and the reverse are compared as mixed patterns, where 'None' means that no pattern is there.

    Args:
        predict: the model.
        card_labels: the C classes of its probabilities.
        multi_label: whether the model is.
        thresholds: (C,) for multi-label models.
        maps: what to judge it on.
        size: S, the model's canonical size.
        batch: maps per call of `predict`.
        on_progress: called with (maps done, maps in all).

    Raises:
        DatasetError: data and model have no class in common.
    """
    if not set(card_labels) & set(maps.label_names):
        raise DatasetError(
            f"{maps.source} has the classes {', '.join(maps.label_names)}, the model"
            f" {', '.join(card_labels)}: none in common"
        )
    probabilities = predict_all(predict, maps, size, batch=batch, on_progress=on_progress)
    unknown = tuple(
        name
        for name, count in maps.class_counts().items()
        if count and name not in card_labels and not (name == _NONE and multi_label)
    )
    names = (*card_labels, *unknown)
    answers = decide(probabilities, multi_label, thresholds)
    if multi_label or maps.multi_label:
        patterns = tuple(name for name in names if name != _NONE)
        return _judge_mixed(
            _columns(maps.one_hot(), maps.label_names, patterns),
            _columns(answers, card_labels, patterns),
            _columns(probabilities, card_labels, patterns),
            patterns,
            unknown,
        )
    number = {name: index for index, name in enumerate(names)}
    renumber = np.array([number.get(name, -1) for name in maps.label_names])
    return _judge_single(renumber[maps.labels], probabilities, names, unknown)


def predict_all(
    predict: Predict,
    maps: MapSet,
    size: int,
    *,
    batch: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Probabilities (N, C) of a whole set, canonicalised and predicted batch by batch."""
    parts = []
    for start in range(0, len(maps), batch):
        part = maps.subset(np.arange(start, min(start + batch, len(maps))))
        parts.append(np.asarray(predict(part.canonical(size)), dtype=np.float32))
        if on_progress is not None:
            on_progress(min(start + batch, len(maps)), len(maps))
    return np.concatenate(parts)


def decide(
    probabilities: npt.NDArray[np.floating[Any]], multi_label: bool, thresholds: Sequence[float]
) -> npt.NDArray[np.uint8]:
    """What probabilities (N, C) say, (N, C) uint8: the likeliest class, or all above threshold."""
    if multi_label:
        return (probabilities >= np.asarray(thresholds)).astype(np.uint8)
    hot: npt.NDArray[np.uint8] = np.eye(probabilities.shape[1], dtype=np.uint8)[
        probabilities.argmax(axis=1)
    ]
    return hot


def confusion_matrix(
    truth: npt.NDArray[np.integer[Any]], answer: npt.NDArray[np.integer[Any]], classes: int
) -> npt.NDArray[np.int64]:
    """Counts (C, C) by true class (rows) and predicted class (columns)."""
    counts = np.bincount(truth * classes + answer, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def f1_scores(
    hits: npt.NDArray[Any], truths: npt.NDArray[Any], answers: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """F1 = 2 TP / (true + predicted) per class; NaN where a class occurs in neither."""
    total = (truths + answers).astype(np.float64)
    scores: npt.NDArray[np.float64] = np.divide(
        2.0 * hits, total, out=np.full(total.shape, np.nan), where=total > 0
    )
    return scores


def calibration_error(
    confidence: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]
) -> float:
    """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017)."""
    bins = np.minimum((confidence * _ECE_BINS).astype(np.int64), _ECE_BINS - 1)
    size = np.bincount(bins, minlength=_ECE_BINS)
    said = np.bincount(bins, weights=confidence, minlength=_ECE_BINS)
    was = np.bincount(bins, weights=correct.astype(np.float64), minlength=_ECE_BINS)
    return float(np.abs(said - was).sum() / size.sum())


def _judge_single(
    truth: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    names: tuple[str, ...],
    unknown: tuple[str, ...],
) -> EvaluationReport:
    answer = probabilities.argmax(axis=1)
    confusion = confusion_matrix(truth, answer, len(names))
    f1 = f1_scores(np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))
    return EvaluationReport(
        n=len(truth),
        accuracy=float((truth == answer).mean()),
        macro_f1=float(np.nanmean(f1)),
        per_class_f1=_named(f1, names),
        ece=calibration_error(probabilities.max(axis=1), truth == answer),
        labels=names,
        confusion=_rows(confusion),
        unknown_labels=unknown,
    )


def _judge_mixed(
    truth: npt.NDArray[np.uint8],
    answer: npt.NDArray[np.uint8],
    probabilities: npt.NDArray[np.float32],
    patterns: tuple[str, ...],
    unknown: tuple[str, ...],
) -> EvaluationReport:
    f1 = f1_scores((truth & answer).sum(axis=0), truth.sum(axis=0), answer.sum(axis=0))
    single = (truth.sum(axis=1) <= 1) & (answer.sum(axis=1) <= 1)
    confusion = confusion_matrix(
        _first_or_none(truth[single]), _first_or_none(answer[single]), len(patterns) + 1
    )
    return EvaluationReport(
        n=len(truth),
        accuracy=float((truth == answer).mean()),
        macro_f1=float(np.nanmean(f1)),
        per_class_f1=_named(f1, patterns),
        ece=calibration_error(
            np.maximum(probabilities, 1.0 - probabilities).ravel(),
            ((probabilities >= 0.5) == (truth == 1)).ravel(),
        ),
        labels=(*patterns, _NONE),
        confusion=_rows(confusion),
        exact_match=float((truth == answer).all(axis=1).mean()),
        unknown_labels=unknown,
    )


def _columns(
    values: npt.NDArray[Any], have: Sequence[str], want: Sequence[str]
) -> npt.NDArray[Any]:
    """Columns of `values` (N, C) by name; zeros for a name that is not there."""
    zeros = np.zeros(len(values), dtype=values.dtype)
    where = {name: index for index, name in enumerate(have)}
    return np.stack([values[:, where[name]] if name in where else zeros for name in want], axis=1)


def _first_or_none(answers: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    empty = answers.sum(axis=1) == 0
    first: npt.NDArray[np.int64] = answers.argmax(axis=1).astype(np.int64)
    first[empty] = answers.shape[1]
    return first


def _named(f1: npt.NDArray[np.float64], names: Sequence[str]) -> dict[str, float]:
    return {
        name: float(score) for name, score in zip(names, f1, strict=True) if not np.isnan(score)
    }


def _rows(confusion: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(count) for count in row) for row in confusion)
