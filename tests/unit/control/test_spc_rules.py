"""Each rule is broken by its pattern on either side, and by nothing one point short of it."""

import math

import numpy as np
import pytest

from contracts.errors import ConfigError
from control.spc import NELSON, RULES, WESTERN_ELECTRIC, Monitor, RuleSet
from control.spc.rule_set import MonitorRecord
from control.spc.rules import RunRules

UP_DOWN = [0.1, -0.1] * 7
# Patterns whose last point is the first to break the rule.
BROKEN = {
    "western-electric-1": [[3.01]],
    "western-electric-2": [[2.1, 2.1], [2.1, -5.0, 2.1], [2.1, 0.0, 2.1]],
    "western-electric-3": [[1.1] * 4, [1.1, 1.1, -2.0, 1.1, 1.1]],
    "western-electric-4": [[0.1] * 8],
    "nelson-1": [[3.01]],
    "nelson-2": [[0.1] * 9],
    "nelson-3": [[-1.0, -0.9, 0.0, 0.1, 0.2, 0.3]],
    "nelson-4": [UP_DOWN],
    "nelson-5": [[2.1, 2.1], [2.1, 0.0, 2.1]],
    "nelson-6": [[1.1] * 4, [1.1, 0.0, 1.1, 1.1, 1.1]],
    "nelson-7": [[1.0, -1.0, 0.2] * 5],
    "nelson-8": [[1.1, -1.1] * 4, [1.1] * 8],
}
# Nearly so.
WHOLE = {
    "western-electric-1": [[3.0]],
    "western-electric-2": [[2.1, -2.1], [2.1, 0.0, 0.0, 2.1], [2.0, 2.0], [2.1, 1.9, 1.9]],
    "western-electric-3": [[1.1, 1.1, 1.1, 0.9, -1.1], [1.0] * 5, [1.1, 1.1, -1.1, -1.1, 1.1]],
    "western-electric-4": [[0.1] * 7 + [0.0], [0.1] * 7 + [-0.1]],
    "nelson-1": [[3.0]],
    "nelson-2": [[0.1] * 8, [0.1] * 8 + [0.0]],
    "nelson-3": [[-1.0, 0.0, 0.1, 0.2, 0.3, 0.3], [0.0, 0.1, 0.2, 0.3, 0.4]],
    "nelson-4": [UP_DOWN[:13], [*UP_DOWN[:12], 0.2, 0.3], [*UP_DOWN[:13], 0.1]],
    "nelson-5": [[2.1, -2.1], [2.0, 2.0]],
    "nelson-6": [[1.1, 1.1, 1.1, 0.9], [1.1, 1.1, 0.0, 0.0, 1.1, 1.1]],
    "nelson-7": [[0.5] * 14, [1.1, *[0.5] * 14]],
    "nelson-8": [[1.1, -1.1] * 3 + [1.1, 1.0], [1.1] * 7],
}


def heard(name: str, points: list[float]) -> list[bool]:
    rules = RunRules((name,))
    return [bool(rules.broken(point)) for point in points]


def test_there_is_a_pattern_for_every_rule() -> None:
    assert set(BROKEN) == set(WHOLE) == set(RULES) == {*WESTERN_ELECTRIC, *NELSON}


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("name", "points"), [(n, p) for n, ps in BROKEN.items() for p in ps])
def test_a_rule_is_broken_by_the_point_that_completes_its_pattern(
    name: str, points: list[float], side: float
) -> None:
    assert heard(name, [side * point for point in points]) == [False] * (len(points) - 1) + [True]


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("name", "points"), [(n, p) for n, ps in WHOLE.items() for p in ps])
def test_a_rule_is_not_broken_by_what_only_looks_like_it(
    name: str, points: list[float], side: float
) -> None:
    assert not any(heard(name, [side * point for point in points]))


def test_a_pattern_is_not_reported_again_by_a_point_that_is_no_part_of_it() -> None:
    assert heard("western-electric-2", [2.1, 2.1, 0.0, 2.1]) == [False, True, False, True]


@pytest.mark.parametrize("name", RULES)
def test_a_repair_ends_every_pattern(name: str) -> None:
    rules = RunRules((name,))
    points = BROKEN[name][0]
    for point in points[:-1]:
        rules.broken(point)
    rules.reset()
    assert bool(rules.broken(points[-1])) == (len(points) == 1)


def test_charts_side_by_side_are_charts_alone() -> None:
    rules = RuleSet(
        limit=2.5, run_rules=NELSON, ewma=(0.2, 2.0), cusum=(0.5, 3.0), moving_range=True
    )
    points = np.random.default_rng(0).normal(size=(200, 3))
    points[50] = np.nan
    together = Monitor(rules, 3)
    alone = [Monitor(rules) for _ in range(3)]
    for row in points[:50]:
        fired = together.add(row)
        for chart, monitor in enumerate(alone):
            names = monitor.broken(float(row[chart]))
            assert names == tuple(n for n, f in zip(rules.names, fired[:, chart], strict=True) if f)


def test_a_saved_chart_goes_on_as_if_nothing_had_happened() -> None:
    rules = RuleSet(
        limit=2.5, run_rules=NELSON, ewma=(0.2, 2.0), cusum=(0.5, 3.0), moving_range=True
    )
    going, saved = Monitor(rules), Monitor(rules)
    for point in np.random.default_rng(1).normal(size=300).tolist():
        saved = Monitor.restore(rules, saved.record())
        assert saved.broken(point) == going.broken(point)
    assert len(going.record().window) <= 15
    assert Monitor.restore(rules, MonitorRecord()).record() == MonitorRecord()


def test_an_unknown_rule_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"nelson-9.*nelson-1"):
        Monitor(RuleSet(run_rules=("nelson-9",)))


def test_ewma_limits_are_those_of_its_own_time() -> None:
    chart = Monitor(RuleSet(ewma=(0.2, 3.0))).ewma
    assert chart is not None
    points = np.random.default_rng(2).normal(size=(30, 20_000))
    many = Monitor(RuleSet(ewma=(0.2, 99.0)), 20_000).ewma
    assert many is not None
    for row in points:
        many.add(row)
        assert many.value.std() == pytest.approx(many.sigma()[0], rel=0.03)
    assert many.sigma()[0] == pytest.approx(math.sqrt(0.2 / 1.8), rel=0.001)
