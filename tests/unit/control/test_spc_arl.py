"""Run lengths: computed ones are the published ones, and what the charts do when fed."""

import numpy as np
import pytest

from control.spc import NELSON, RULES, WESTERN_ELECTRIC, RuleSet, average_run_length
from control.spc.arl import simulated_run_length

# C. W. Champ and W. H. Woodall 1987; J. M. Lucas and M. S. Saccucci 1990; D. C. Montgomery.
PUBLISHED = [
    (RuleSet(limit=3.0), (370.4, 43.9, 6.30)),
    (RuleSet(run_rules=("western-electric-1",)), (370.4, 43.9, 6.30)),
    (RuleSet(run_rules=WESTERN_ELECTRIC[:2]), (225.44, 20.01, 3.65)),
    (RuleSet(run_rules=WESTERN_ELECTRIC), (91.75, 9.22, 3.13)),
    (RuleSet(ewma=(0.1, 2.814), ewma_exact=False), (500.0, 10.3, 4.36)),
    (RuleSet(ewma=(0.2, 2.86), ewma_exact=False), (371.0, 9.8, 3.59)),
    (RuleSet(cusum=(0.5, 4.0)), (168.0, 8.38, 3.34)),
    (RuleSet(cusum=(0.5, 5.0)), (465.0, 10.4, 4.01)),
    (RuleSet(run_rules=NELSON), (73.0, 9.6, 3.1)),
]


@pytest.mark.parametrize(("rules", "points"), PUBLISHED)
def test_run_lengths_are_the_published_ones(rules: RuleSet, points: tuple[float, ...]) -> None:
    found = [average_run_length(rules, shift).points for shift in (0.0, 1.0, 2.0)]
    assert found == pytest.approx(points, rel=0.05 if rules.run_rules == NELSON else 0.01)


@pytest.mark.parametrize(
    "rules",
    [
        *(RuleSet(run_rules=(name,)) for name, rule in RULES.items() if rule.zone is not None),
        RuleSet(run_rules=tuple(n for n, rule in RULES.items() if rule.zone is not None)),
        RuleSet(limit=2.0, ewma=(0.2, 2.2)),
        RuleSet(limit=2.3, run_rules=("nelson-2",)),
        RuleSet(ewma=(0.3, 2.0)),
        RuleSet(cusum=(0.5, 2.0)),
    ],
    ids=lambda rules: "+".join(rules.names),
)
def test_computed_run_lengths_are_those_of_the_charts_themselves(rules: RuleSet) -> None:
    # Half a sigma, so that both sides matter and runs are short enough to wait for.
    computed = average_run_length(rules, 0.5)
    assert computed.how == "markov"
    simulated = simulated_run_length(rules, 0.5, alarms=1500, charts=150, seed=3)
    # One standard error is 2.6 % at most.
    assert simulated == pytest.approx(computed.points, rel=0.09)


def test_a_shift_is_the_same_on_either_side() -> None:
    for rules, _ in PUBLISHED[:-1]:
        up, down = average_run_length(rules, 1.5), average_run_length(rules, -1.5)
        assert up.points == pytest.approx(down.points, rel=1e-6)


def test_mixtures_without_a_chain_are_followed_and_repeatable() -> None:
    rules = RuleSet(limit=2.0, ewma=(0.2, 2.0), cusum=(0.5, 3.0), moving_range=True)
    found = average_run_length(rules)
    assert found.how == "simulated"
    assert found.points < average_run_length(RuleSet(limit=2.0)).points
    assert found.points == simulated_run_length(rules)


def test_no_rules_never_speak() -> None:
    assert average_run_length(RuleSet()).points == np.inf
