"""A challenger that was taught a new pattern: it must know it, and have forgotten no other."""

import numpy as np
import numpy.typing as npt

from models.gate import Candidate, GateDecision, pass_gate

CLASSES = ("None", "Center", "Half moon")
# 400 lots' worth of known wafers, and twelve of the new pattern, all of one lot.
TRUE = np.array([0] * 6000 + [1] * 4000 + [2] * 12)
TRUTH = np.eye(3, dtype=np.uint8)[TRUE]
GROUPS = np.arange(len(TRUE)) // 25
Classes = npt.NDArray[np.int64]


def model(said: Classes, *, knows_new: bool) -> Candidate:
    return Candidate(
        labels=CLASSES if knows_new else CLASSES[:2],
        answers=np.eye(3, dtype=np.uint8)[said],
        ece=0.01,
        latency_ms=1.0,
        parity=0.0,
    )


def said(*, wrong_centers: int = 100, new: int = 12) -> Classes:
    """Answers with so many Center maps taken for None, and so many new ones recognised."""
    answers = TRUE.copy()
    answers[6000 : 6000 + wrong_centers] = 0
    answers[10_000 + new :] = 1
    return answers


def decide(challenger: Classes) -> GateDecision:
    return pass_gate(
        TRUTH,
        GROUPS,
        model(challenger, knows_new=True),
        model(said(new=0), knows_new=False),
        classes=CLASSES,
    )


def failed(decision: GateDecision) -> list[str]:
    return [check.name for check in decision.checks if not check.passed]


def test_it_passes_as_good_as_the_champion_on_the_rest_and_no_faster() -> None:
    decision = decide(said())
    assert decision.passed, decision.reason
    assert "forgotten none" in decision.reason
    names = [check.name for check in decision.checks]
    assert "new pattern: Half moon" in names
    assert any(name.startswith("known pattern") for name in names)


def test_a_new_pattern_that_is_hardly_recognised_is_not_worth_a_swap() -> None:
    decision = decide(said(new=6))
    assert failed(decision) == ["new pattern: Half moon"]
    assert "more labels" in decision.reason


def test_a_known_pattern_that_loses_more_than_a_point_is_named() -> None:
    decision = decide(said(wrong_centers=200))
    assert failed(decision) == ["known pattern: Center"]
    assert "Center loses 100 and wins 0 of 4,000 maps" in decision.reason


def test_less_than_a_point_is_allowed() -> None:
    assert decide(said(wrong_centers=130)).passed


def test_a_loss_that_chance_explains_is_none() -> None:
    few = np.concatenate([np.arange(10), 6000 + np.arange(40), 10_000 + np.arange(12)])
    challenger, champion = said(wrong_centers=3), said(wrong_centers=0, new=0)
    decision = pass_gate(
        TRUTH[few],
        np.arange(len(few)) // 5,
        model(challenger[few], knows_new=True),
        model(champion[few], knows_new=False),
        classes=CLASSES,
    )
    assert decision.passed, decision.reason


def test_without_a_new_pattern_the_gate_is_as_it_was() -> None:
    both = model(said(), knows_new=True)
    decision = pass_gate(TRUTH, GROUPS, both, both, classes=CLASSES)
    assert failed(decision) == ["speed"]
