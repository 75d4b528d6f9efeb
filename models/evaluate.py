"""Judging a model on labelled maps, whatever runs it: torch, ONNX Runtime or a server.

Pure numpy. The model is a function from canonical maps to probabilities.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from models.data import MapSet
from models.intervals import Intervals, Sums, confidence_bins, f1_scores, intervals

__all__ = [
    "EvaluationReport",
    "Predict",
    "ReliabilityBin",
    "calibration_error",
    "confusion_matrix",
    "decide",
    "evaluate",
    "f1_scores",
    "judge",
    "predict_all",
    "single_map_ms",
]

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""(N, S, S) uint8 canonical maps to (N, C) float32 probabilities."""

_NONE = "None"
# Maps before the clock starts (a runtime still allocates and plans), and maps timed.
_WARM_UP, _TIMED = 20, 200


class ReliabilityBin(NamedTuple):
    """Answers given with about one confidence.

    Attributes:
        answers: how many.
        confidence: their mean.
        accuracy: share of them that are right.
    """

    answers: int
    confidence: float
    accuracy: float


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
        reliability: the bins of `ece` that are not empty, by confidence.
        intervals: 95 % bootstrap intervals by lots of `accuracy`, `macro_f1`, `ece` and
            `exact_match`; empty unless asked for.
        per_class_intervals: the same of `per_class_f1`.
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
    reliability: tuple[ReliabilityBin, ...] = ()
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    per_class_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

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
    resamples: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Judge a model on a set; see `judge`.

    Args:
        predict: the model.
        card_labels: the C classes of its probabilities.
        multi_label: whether the model is.
        thresholds: (C,) for multi-label models.
        maps: what to judge it on.
        size: S, the model's canonical size.
        batch: maps per call of `predict`.
        resamples: bootstrap samples for the intervals; 0 for none.
        on_progress: called with (maps done, maps in all).

    Raises:
        DatasetError: data and model have no class in common.
    """
    _check_classes(card_labels, maps)
    probabilities = predict_all(predict, maps, size, batch=batch, on_progress=on_progress)
    return judge(probabilities, card_labels, multi_label, thresholds, maps, resamples=resamples)


def judge(
    probabilities: npt.NDArray[np.float32],
    card_labels: Sequence[str],
    multi_label: bool,
    thresholds: Sequence[float],
    maps: MapSet,
    *,
    resamples: int = 0,
) -> EvaluationReport:
    """Judge what a model said about a set. Labels are matched by name.

    A class the data lacks counts only if the model predicts it. A class the model lacks counts as
    an error on every map that shows it, with an F1 of 0. A single-label model on mixed patterns
    and the reverse are compared as mixed patterns, where 'None' means that no pattern is there.

    Args:
        probabilities: (N, C).
        card_labels: the C classes.
        multi_label: whether the model is.
        thresholds: (C,) for multi-label models.
        maps: the N maps.
        resamples: bootstrap samples for the intervals; 0 for none.

    Raises:
        DatasetError: data and model have no class in common.
    """
    _check_classes(card_labels, maps)
    unknown = tuple(
        name
        for name, count in maps.class_counts().items()
        if count and name not in card_labels and not (name == _NONE and multi_label)
    )
    mixed = multi_label or maps.multi_label
    names = tuple(name for name in (*card_labels, *unknown) if not (mixed and name == _NONE))
    truth = _columns(maps.one_hot(), maps.label_names, names)
    answer = _columns(decide(probabilities, multi_label, thresholds), card_labels, names)
    said = _columns(probabilities, card_labels, names)
    if mixed:  # every yes and every no is an answer
        same = truth == answer
        sums = Sums.of(
            truth,
            answer,
            right=same.mean(axis=1),
            exact=same.all(axis=1),
            confidence=np.maximum(said, 1.0 - said),
            correct=(said >= 0.5) == (truth == 1),
        )
    else:
        hit = (truth & answer).any(axis=1, keepdims=True)
        sums = Sums.of(
            truth,
            answer,
            right=hit[:, 0].astype(np.float64),
            exact=None,
            confidence=said.max(axis=1, keepdims=True),
            correct=hit,
        )
    ranges = intervals(sums, maps.lots(), resamples) if resamples else None
    return _report(sums, names, unknown, _confusion(truth, answer, mixed), ranges)


def _report(
    sums: Sums,
    names: tuple[str, ...],
    unknown: tuple[str, ...],
    confusion: tuple[tuple[int, ...], ...],
    ranges: Intervals | None,
) -> EvaluationReport:
    total = sums.table.sum(axis=0, keepdims=True)
    metrics = {name: float(values[0]) for name, values in sums.metrics(total).items()}
    f1 = dict(zip(names, sums.f1(total)[0].tolist(), strict=True))
    f1 = {name: value for name, value in f1.items() if not np.isnan(value)}
    per_class = {} if ranges is None else dict(zip(names, ranges.per_class_f1, strict=True))
    return EvaluationReport(
        n=len(sums.table),
        accuracy=metrics["accuracy"],
        macro_f1=metrics["macro_f1"],
        per_class_f1=f1,
        ece=metrics["ece"],
        labels=(*names, _NONE) if len(confusion) > len(names) else names,
        confusion=confusion,
        exact_match=metrics.get("exact_match"),
        unknown_labels=unknown,
        reliability=tuple(
            ReliabilityBin(int(count), float(confidence / count), float(right / count))
            for count, confidence, right in sums.bins(total)[0]
            if count
        ),
        intervals={} if ranges is None else ranges.metrics,
        per_class_intervals={name: per_class[name] for name in f1 if name in per_class},
    )


def _confusion(
    truth: npt.NDArray[np.uint8], answer: npt.NDArray[np.uint8], mixed: bool
) -> tuple[tuple[int, ...], ...]:
    classes = truth.shape[1]
    if mixed:
        single = (truth.sum(axis=1) <= 1) & (answer.sum(axis=1) <= 1)
        truth, answer, classes = truth[single], answer[single], classes + 1
    counts = confusion_matrix(_first_or_none(truth), _first_or_none(answer), classes)
    return tuple(tuple(int(count) for count in row) for row in counts)


def _check_classes(card_labels: Sequence[str], maps: MapSet) -> None:
    if not set(card_labels) & set(maps.label_names):
        raise DatasetError(
            f"{maps.source} has the classes {', '.join(maps.label_names)}, the model"
            f" {', '.join(card_labels)}: none in common"
        )


def single_map_ms(
    predict: Predict,
    maps: MapSet,
    size: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Milliseconds from one die grid to its probabilities: median and 95th percentile of 200.

    Args:
        predict: the model, called with one map at a time.
        maps: drawn from in order, again from the start where there are fewer.
        size: S, the model's canonical size.
        clock: seconds.
    """
    took = []
    for number in range(_WARM_UP + _TIMED):
        one = maps.subset(np.array([number % len(maps)]))
        began = clock()
        predict(one.canonical(size))
        took.append((clock() - began) * 1e3)
    median, high = np.percentile(took[_WARM_UP:], [50, 95])
    return {"median": float(median), "p95": float(high)}


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


def calibration_error(
    confidence: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_]
) -> float:
    """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017)."""
    bins = confidence_bins(confidence[:, None], correct[:, None]).sum(axis=0)
    return float(np.abs(bins[:, 1] - bins[:, 2]).sum() / bins[:, 0].sum())


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
