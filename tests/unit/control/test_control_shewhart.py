"""The Western Electric rules, and how often they cry wolf."""

import numpy as np
import pytest

from control.shewhart import ARL0, WesternElectric


def first_alarm(points: list[float]) -> tuple[int, int]:
    """Which point breaks a rule, and which rule; (-1, 0) if none does."""
    chart = WesternElectric()
    for place, point in enumerate(points):
        rule = chart.add(point)
        if rule:
            return place, rule
    return -1, 0


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([0.0, 3.1], (1, 1)),
        ([2.1, 0.0, 2.1], (2, 2)),
        ([2.1, -2.1, 0.0, 0.5, 2.1], (-1, 0)),
        ([1.1, 1.2, 0.0, 1.3, 1.1], (4, 3)),
        ([0.5] * 7, (-1, 0)),
        ([0.5] * 8, (7, 4)),
        ([0.5] * 7 + [-0.1] + [0.5] * 7, (-1, 0)),
    ],
)
def test_each_rule_is_broken_by_its_pattern_on_either_side(
    points: list[float], found: tuple[int, int], side: float
) -> None:
    assert first_alarm([side * point for point in points]) == found


def test_the_false_alarm_rate_is_the_published_one() -> None:
    random = np.random.default_rng(5)
    chart = WesternElectric()
    points = alarms = 0
    while alarms < 2500:
        points += 1
        if chart.add(float(random.normal())):
            alarms += 1
            chart.reset()
    # 2,500 runs: one standard error is 2 %.
    assert points / alarms == pytest.approx(ARL0, rel=0.06)
