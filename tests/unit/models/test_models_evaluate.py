import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from contracts.errors import DatasetError
from models.data import MapSet, from_lists
from models.evaluate import calibration_error, decide, evaluate

LABELS = ("None", "Center", "Donut", "Scratch")


def _grids(count: int) -> list[npt.NDArray[np.uint8]]:
    """Maps that a fake model can tell apart: map i has i failing dies."""
    grids = []
    for index in range(count):
        grid = np.ones((16, 16), dtype=np.uint8)
        grid.ravel()[:index] = 2
        grids.append(grid)
    return grids


def _model(answers: npt.NDArray[Any]) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """Says `answers[i]` about the map with i failing dies."""

    def predict(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return answers[(maps == 255).sum(axis=(1, 2))].astype(np.float32)

    return predict


def _softmax(rng: np.random.Generator, n: int, c: int) -> npt.NDArray[np.float32]:
    scores = np.exp(rng.normal(size=(n, c)) * 2)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def test_single_label_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = [LABELS[n] for n in rng.integers(4, size=100)]
    probabilities = _softmax(rng, 100, 4)
    maps = from_lists(_grids(100), truth, list(range(100)), "x")
    seen: list[tuple[int, int]] = []
    report = evaluate(
        _model(probabilities), LABELS, False, [0.5] * 4, maps, 16,
        batch=30, on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    answer = [LABELS[n] for n in probabilities.argmax(axis=1)]
    assert report.n == 100
    assert report.accuracy == pytest.approx(accuracy_score(truth, answer))
    assert report.macro_f1 == pytest.approx(f1_score(truth, answer, average="macro"))
    each = f1_score(truth, answer, labels=list(LABELS), average=None)
    assert report.per_class_f1 == pytest.approx(dict(zip(LABELS, each, strict=True)))
    assert np.array_equal(report.confusion, confusion_matrix(truth, answer, labels=list(LABELS)))
    assert seen == [(30, 100), (60, 100), (90, 100), (100, 100)]
    assert set(report.metrics()) == {"accuracy", "macro_f1", "ece"}


def test_mixed_pattern_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, size=(60, 3)).astype(np.uint8)
    probabilities = rng.random((60, 3)).astype(np.float32)
    thresholds = (0.3, 0.5, 0.7)
    maps = MapSet(_grids(60), truth, LABELS[1:], np.arange(60), "x", multi_label=True)
    report = evaluate(_model(probabilities), LABELS[1:], True, thresholds, maps, 16)
    answer = decide(probabilities, True, thresholds)
    assert report.exact_match == pytest.approx(accuracy_score(truth, answer))
    assert report.macro_f1 == pytest.approx(f1_score(truth, answer, average="macro"))
    assert report.accuracy == pytest.approx((truth == answer).mean())


def test_a_class_that_neither_data_nor_answers_show_does_not_count() -> None:
    answers = np.eye(4, dtype=np.float32)[[0, 1, 0, 1]]
    maps = from_lists(_grids(4), ["None", "Center", "None", "Center"], [0, 1, 2, 3], "x")
    report = evaluate(_model(answers), LABELS, False, [0.5] * 4, maps, 16)
    assert (report.macro_f1, report.accuracy) == (1.0, 1.0)
    assert set(report.per_class_f1) == {"None", "Center"}


def test_a_class_the_model_cannot_name_counts_as_errors() -> None:
    answers = np.eye(4, dtype=np.float32)[[0, 1, 2, 0]]
    maps = from_lists(_grids(4), ["None", "Center", "Mousebite", "None"], [0, 1, 2, 3], "x")
    report = evaluate(_model(answers), LABELS, False, [0.5] * 4, maps, 16)
    assert report.unknown_labels == ("Mousebite",)
    assert report.accuracy == 0.75
    assert report.per_class_f1 == {"None": 1.0, "Center": 1.0, "Donut": 0.0, "Mousebite": 0.0}
    assert report.macro_f1 == 0.5
    assert sum(map(sum, report.confusion)) == 4


def test_a_single_label_model_is_judged_on_mixed_patterns() -> None:
    answers = np.eye(4, dtype=np.float32)[[0, 1, 3, 1]]
    truth = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.uint8)
    maps = MapSet(_grids(4), truth, ("Center", "Scratch"), np.arange(4), "x", multi_label=True)
    report = evaluate(_model(answers), LABELS, False, [0.5] * 4, maps, 16)
    assert report.exact_match == 0.75


def test_a_multi_label_model_is_judged_on_single_patterns() -> None:
    answers = np.array([[0.1, 0.2], [0.9, 0.1], [0.6, 0.7]])
    maps = from_lists(_grids(3), ["None", "Center", "Scratch"], [0, 1, 2], "x")
    report = evaluate(_model(answers), ("Center", "Scratch"), True, (0.5, 0.5), maps, 16)
    assert report.exact_match == pytest.approx(2 / 3)
    assert report.unknown_labels == ()


def test_nothing_in_common_is_an_error() -> None:
    maps = from_lists(_grids(2), ["Mousebite", "Starfish"], [0, 1], "other.npz")
    with pytest.raises(DatasetError, match=r"other\.npz has the classes Mousebite"):
        evaluate(_model(np.eye(4)), LABELS, False, [0.5] * 4, maps, 16)


def test_calibration_error_of_known_cases() -> None:
    sure = np.full(100, 0.9)
    assert calibration_error(sure, np.arange(100) < 90) == pytest.approx(0.0)
    assert calibration_error(sure, np.arange(100) < 60) == pytest.approx(0.3)
    assert calibration_error(np.ones(4), np.array([True, True, False, True])) == pytest.approx(0.25)


def test_data_and_judgement_need_no_torch() -> None:
    code = (
        "import sys, models.data, models.splits, models.evaluate; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
