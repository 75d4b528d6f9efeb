"""The gate: each rule alone, on numbers made up for it."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import f1_score

from models.gate import Candidate, GateDecision, pass_gate, refused
from models.paired import macro_f1, paired_interval

Answers = npt.NDArray[np.uint8]
LABELS = ("None", "Center", "Donut", "Scratch")
N = 2_000
GROUPS = np.arange(N) // 25


def one_hot(classes: npt.NDArray[np.integer[Any]]) -> Answers:
    return np.eye(len(LABELS), dtype=np.uint8)[classes]


TRUE_CLASSES = np.random.default_rng(0).integers(len(LABELS), size=N)
TRUTH = one_hot(TRUE_CLASSES)


def right(share: float, seed: int = 1) -> Answers:
    """Answers of which about `share` are right."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(N) >= share
    return one_hot(np.where(wrong, (TRUE_CLASSES + 1) % len(LABELS), TRUE_CLASSES))


def model(answers: Answers, **changes: Any) -> Candidate:
    numbers: dict[str, Any] = {
        "labels": LABELS,
        "answers": answers,
        "ece": 0.01,
        "latency_ms": 1.0,
        "parity": 1e-6,
        "robustness": {"flips": 0.8, "rotation": 0.85},
    }
    return Candidate(**(numbers | changes))


CHAMPION = model(right(0.9))
BETTER = right(0.95)


def decide(challenger: Candidate, champion: Candidate | None = CHAMPION) -> GateDecision:
    return pass_gate(TRUTH, GROUPS, challenger, champion)


def failed(decision: GateDecision) -> list[str]:
    return [check.name for check in decision.checks if not check.passed]


def test_a_better_model_passes_and_every_check_is_numbered_and_said() -> None:
    decision = decide(model(BETTER))
    assert decision.passed
    assert [check.number for check in decision.checks] == list(range(1, len(decision.checks) + 1))
    assert [check.name for check in decision.checks] == [
        "parity",
        "labels",
        "macro_f1",
        "speed",
        "calibration",
        "robustness: flips",
        "robustness: rotation",
    ]
    assert all(check.sentence for check in decision.checks)
    assert decision.interval is not None
    assert 0 < decision.interval[0] < decision.interval[1]
    assert "better" in decision.reason


def test_a_better_model_may_be_slow() -> None:
    assert decide(model(BETTER, latency_ms=20.0)).passed


def test_equal_answers_need_speed() -> None:
    assert failed(decide(model(CHAMPION.answers))) == ["speed"]
    assert failed(decide(model(CHAMPION.answers, latency_ms=1 / 1.19))) == ["speed"]
    faster = decide(model(CHAMPION.answers, latency_ms=1 / 1.21))
    assert faster.passed
    assert "faster" in faster.reason


def test_a_wide_interval_around_zero_is_not_equal() -> None:
    """As many errors, in other places: nothing is shown, and a loss is not ruled out."""
    other = decide(model(right(0.9, seed=2), latency_ms=0.1))
    assert other.interval is not None
    assert other.interval[0] < -0.005 < 0 < other.interval[1]
    assert failed(other) == ["macro_f1"]
    assert "not ruled out" in other.reason


def test_a_small_but_certain_loss_is_a_loss() -> None:
    worse = CHAMPION.answers.copy()
    hits = np.flatnonzero((worse & TRUTH).any(axis=1))[:: N // 6]
    worse[hits] = one_hot((TRUE_CLASSES[hits] + 1) % len(LABELS))
    many = np.tile(np.arange(N), 3)
    decision = pass_gate(
        TRUTH[many],
        np.arange(len(many)),
        model(worse[many], latency_ms=0.1),
        model(CHAMPION.answers[many]),
    )
    assert decision.interval is not None
    assert -0.005 < decision.interval[0] < decision.interval[1] < 0
    assert failed(decision) == ["macro_f1"]


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"parity": 0.021}, "parity"),
        ({"parity": float("nan")}, "parity"),
        ({"labels": LABELS[:3]}, "labels"),
        ({"ece": 0.021}, "calibration"),
        ({"ece": float("nan")}, "calibration"),
        ({"robustness": {"flips": 0.779, "rotation": 0.85}}, "robustness: flips"),
        ({"robustness": {"flips": 0.8, "rotation": 0.829}}, "robustness: rotation"),
        ({"int8_loss": 0.0031}, "int8"),
        ({"int8_loss": float("nan")}, "int8"),
    ],
)
def test_each_limit_refuses_a_better_model(changes: dict[str, Any], check: str) -> None:
    decision = decide(model(BETTER, **changes))
    assert failed(decision) == [check]
    assert not decision.passed


@pytest.mark.parametrize(
    "changes",
    [
        {"parity": 0.02},
        {"labels": (*LABELS, "Loc")},
        {"labels": LABELS[1:]},
        {"ece": 0.02},
        {"robustness": {"flips": 0.781, "rotation": 0.831}},
        {"int8_loss": 0.003},
        {"int8_loss": -0.01},
    ],
)
def test_at_its_limit_a_better_model_passes(changes: dict[str, Any]) -> None:
    assert decide(model(BETTER, **changes)).passed


def test_calibration_may_be_as_bad_as_the_champions() -> None:
    champion = model(right(0.9), ece=0.05)
    assert decide(model(BETTER, ece=0.05), champion).passed
    assert failed(decide(model(BETTER, ece=0.051), champion)) == ["calibration"]


def test_the_first_model_is_held_against_fixed_limits_alone() -> None:
    first = decide(model(right(0.3), latency_ms=100.0), None)
    assert first.passed
    assert [check.name for check in first.checks] == ["parity", "calibration"]
    assert first.champion_macro_f1 is None
    assert failed(decide(model(BETTER, ece=0.03), None)) == ["calibration"]


def test_the_interval_is_seeded_and_holds_the_difference() -> None:
    once = paired_interval(TRUTH, CHAMPION.answers, BETTER, GROUPS)
    assert paired_interval(TRUTH, CHAMPION.answers, BETTER, GROUPS) == once
    gain = macro_f1(TRUTH, BETTER) - macro_f1(TRUTH, CHAMPION.answers)
    assert once[0] < gain < once[1]
    backwards = paired_interval(TRUTH, BETTER, CHAMPION.answers, GROUPS)
    assert backwards == pytest.approx((-once[1], -once[0]))


def test_the_interval_is_that_of_a_bootstrap_written_out() -> None:
    """The counts of whole lots, added up, give what drawing their maps gives."""
    few = np.arange(400)
    truth, one, two = TRUTH[few], CHAMPION.answers[few], BETTER[few]
    lots = np.arange(400) // 20
    rng = np.random.default_rng(5)
    gains = []
    for _ in range(1_000):
        rows = np.concatenate([np.flatnonzero(lots == lot) for lot in rng.integers(20, size=20)])
        gains.append(macro_f1(truth[rows], two[rows]) - macro_f1(truth[rows], one[rows]))
    expected = np.quantile(gains, [0.025, 0.975])
    assert paired_interval(truth, one, two, lots) == pytest.approx(expected, abs=0.006)


def test_maps_that_go_together_widen_the_interval() -> None:
    """Lots that are right or wrong as a whole hold less evidence than their maps."""
    lot_is_wrong = np.random.default_rng(3).random(N // 25) < 0.1
    wrong = lot_is_wrong[GROUPS]
    clustered = one_hot(np.where(wrong, (TRUE_CLASSES + 1) % len(LABELS), TRUE_CLASSES))
    by_lot = paired_interval(TRUTH, CHAMPION.answers, clustered, GROUPS)
    by_map = paired_interval(TRUTH, CHAMPION.answers, clustered, np.arange(N))
    assert by_lot[1] - by_lot[0] > 2 * (by_map[1] - by_map[0])


def test_macro_f1_is_scikit_learns_over_the_classes_shown() -> None:
    answers = right(0.8)
    shown = TRUE_CLASSES != 3
    assert macro_f1(TRUTH, answers) == pytest.approx(f1_score(TRUTH, answers, average="macro"))
    assert macro_f1(TRUTH[shown], answers[shown]) == pytest.approx(
        f1_score(TRUTH[shown], answers[shown], average="macro", labels=[0, 1, 2])
    )


def test_mixed_patterns_are_judged_too() -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random((500, 3)) < 0.4).astype(np.uint8)
    noisy = truth ^ (rng.random((500, 3)) < 0.1).astype(np.uint8)
    decision = pass_gate(truth, np.arange(500), model(truth), model(noisy))
    assert decision.passed
    assert decision.challenger_macro_f1 == 1.0


def test_seven_thousand_maps_of_unknown_lots_take_no_time() -> None:
    rng = np.random.default_rng(0)
    eye = np.eye(9, dtype=np.uint8)
    truth = rng.integers(9, size=7_000)
    answers = [np.where(rng.random(7_000) < 0.05, 0, truth) for _ in range(2)]
    began = time.process_time()
    paired_interval(eye[truth], eye[answers[0]], eye[answers[1]], np.arange(7_000))
    assert time.process_time() - began < 2.0  # 0.3 s where nothing else runs


def test_a_refusal_keeps_what_the_other_checks_said() -> None:
    alone = refused("file", "cut off")
    assert (alone.passed, alone.reason, failed(alone)) == (False, "cut off", ["file"])
    after = refused("champion", "cannot be loaded", decide(model(BETTER)))
    assert failed(after) == ["champion"]
    assert after.checks[-1].number == len(after.checks)
    assert after.challenger_macro_f1 is not None
