"""Run rules on control charts: Western Electric 1 to 4 and Nelson 1 to 8, as published.

Western Electric, Statistical Quality Control Handbook (1956), pp. 25-28; L. S. Nelson, "The
Shewhart control chart: tests for special causes", Journal of Quality Technology 16 (1984) 237-239.
Points are deviations from the centre in standard deviations. 'Beyond' is strictly beyond, zone C
includes its borders, and a point on the centre line is on neither side. A pattern is reported at
the point that completes it and at later ones only as long as they belong to it.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import ConfigError

__all__ = ["NELSON", "RULES", "WESTERN_ELECTRIC", "WINDOW", "Rule", "RunRules", "ZoneRule"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# The longest pattern (Nelson 7) has so many points.
WINDOW = 15


class ZoneRule(msgspec.Struct, frozen=True):
    """At least `hits` of the last `points` lie in a region, the latest one among them.

    Written T(k, m, a, b) by C. W. Champ and W. H. Woodall, Technometrics 29 (1987).

    Attributes:
        beyond: the region is further from the centre than so many sigmas.
        within: the region is at most so many sigmas from the centre; then `beyond` is not used.
        either: 'one' side at a time, or both together ('any').
    """

    hits: int
    points: int
    beyond: float = 0.0
    within: float | None = None
    either: str = "one"


class Rule(msgspec.Struct, frozen=True):
    """A rule.

    Attributes:
        name: as in `ChartPoint.rules`.
        says: the published wording in short.
        zone: what it counts; None where it compares neighbours ('trend' and 'alternating').
        points: of the pattern.
    """

    name: str
    says: str
    points: int
    zone: ZoneRule | None = None


def _zone(name: str, says: str, zone: ZoneRule) -> Rule:
    return Rule(name, says, zone.points, zone)


_TREND, _ALTERNATING = "nelson-3", "nelson-4"

_ALL = (
    _zone("western-electric-1", "one point beyond 3 sigmas", ZoneRule(1, 1, 3.0)),
    _zone("western-electric-2", "two of three beyond 2 sigmas on one side", ZoneRule(2, 3, 2.0)),
    _zone("western-electric-3", "four of five beyond 1 sigma on one side", ZoneRule(4, 5, 1.0)),
    _zone("western-electric-4", "eight in a row on one side", ZoneRule(8, 8, 0.0)),
    _zone("nelson-1", "one point beyond 3 sigmas", ZoneRule(1, 1, 3.0)),
    _zone("nelson-2", "nine in a row on one side", ZoneRule(9, 9, 0.0)),
    Rule(_TREND, "six in a row steadily rising or steadily falling", 6),
    Rule(_ALTERNATING, "fourteen in a row alternating up and down", 14),
    _zone("nelson-5", "two of three beyond 2 sigmas on one side", ZoneRule(2, 3, 2.0)),
    _zone("nelson-6", "four of five beyond 1 sigma on one side", ZoneRule(4, 5, 1.0)),
    _zone("nelson-7", "fifteen in a row within 1 sigma", ZoneRule(15, 15, within=1.0)),
    _zone(
        "nelson-8",
        "eight in a row beyond 1 sigma, on whichever side",
        ZoneRule(8, 8, 1.0, either="any"),
    ),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _ALL}
"""Every rule by its name."""

WESTERN_ELECTRIC = tuple(name for name in RULES if name.startswith("western-electric"))
NELSON = tuple(name for name in RULES if name.startswith("nelson"))


class RunRules:
    """Rules on one chart, or on many side by side. Memory: the last 15 points of each.

    Args:
        names: of the rules that are looked at.
        charts: how many charts.

    Attributes:
        window: (charts, 15) the latest points, the newest last; NaN where there is none yet.

    Raises:
        ConfigError: there is no such rule.

    >>> rules = RunRules(WESTERN_ELECTRIC)
    >>> [rules.broken(z) for z in (0.3, 2.1, -0.2, 2.2)][-1]
    ('western-electric-2',)
    """

    def __init__(self, names: Sequence[str], charts: int = 1) -> None:
        unknown = [name for name in names if name not in RULES]
        if unknown:
            raise ConfigError(
                f"there is no rule {unknown[0]!r}: choose from {', '.join(sorted(RULES))}"
            )
        self.names = tuple(names)
        self.window: Floats = np.full((charts, WINDOW), np.nan)

    def add(self, deviations: Floats) -> Bools:
        """One more point on each chart.

        Args:
            deviations: (charts,) from the centre, in sigmas. NaN ends every pattern.

        Returns:
            (rules, charts) whether the point breaks a rule, in the order of `names`.
        """
        self.window[:, :-1] = self.window[:, 1:]
        self.window[:, -1] = deviations
        broken = np.zeros((len(self.names), len(self.window)), dtype=np.bool_)
        for place, name in enumerate(self.names):
            rule = RULES[name]
            points = self.window[:, -rule.points :]
            broken[place] = _TESTS[name](points) if rule.zone is None else _fires(rule.zone, points)
        return broken

    def broken(self, deviation: float) -> tuple[str, ...]:
        """One more point on a single chart: names of the rules that it breaks."""
        fired = self.add(np.array([deviation]))[:, 0]
        return tuple(name for name, hit in zip(self.names, fired, strict=True) if hit)

    def reset(self, where: Bools | None = None) -> None:
        """Forget the points, as after a repair; of the charts in `where` (charts,) only."""
        self.window[slice(None) if where is None else where] = np.nan


def _fires(zone: ZoneRule, points: Floats) -> Bools:
    """Whether (charts, points) complete a zone rule. Comparisons with NaN are false."""
    if zone.within is not None:
        regions = [np.abs(points) <= zone.within]
    elif zone.either == "any":
        regions = [np.abs(points) > zone.beyond]
    else:
        regions = [points > zone.beyond, points < -zone.beyond]
    fired = np.zeros(len(points), dtype=np.bool_)
    for region in regions:
        fired |= region[:, -1] & (np.count_nonzero(region, axis=1) >= zone.hits)
    return fired


def _trend(points: Floats) -> Bools:
    steps = np.diff(points, axis=1)
    return np.asarray(np.all(steps > 0, axis=1) | np.all(steps < 0, axis=1))


def _alternating(points: Floats) -> Bools:
    steps = np.sign(np.diff(points, axis=1))
    return np.asarray(np.all(steps[:, 1:] * steps[:, :-1] < 0, axis=1))


_TESTS: dict[str, Callable[[Floats], Bools]] = {_TREND: _trend, _ALTERNATING: _alternating}
