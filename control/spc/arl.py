"""Average run length: how many points until the enabled rules speak, for a given shift.

Computed for independent normal points and a shift that is there from the first point on (zero
state):

- EWMA, with or without a limit on single points: W. H. Brook and D. A. Evans, Biometrika 59 (1972)
  539-549, and J. M. Lucas and M. S. Saccucci, Technometrics 32 (1990) 1-12;
- CUSUM: the same chain for each side; both together by 1/ARL = 1/ARL+ + 1/ARL- (K. W. Kemp, Applied
  Statistics 10 (1961));
- rules that count points in zones: C. W. Champ and W. H. Woodall, Technometrics 29 (1987) 393-399,
  whose chain is found here by following every zone from every state;
- rules that compare neighbours (Nelson 3 and 4), moving ranges, and mixtures that fit none of
  these: by following the charts themselves over drawn points, always the same ones.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, identity
from scipy.sparse.linalg import spsolve
from scipy.special import ndtr

from control.spc.rule_set import Monitor, RuleSet
from control.spc.rules import RULES, ZoneRule

__all__ = ["Arl", "average_run_length", "simulated_run_length"]

Floats = npt.NDArray[np.float64]

# States between the limits of an EWMA or below that of a CUSUM: the discretisation then changes
# the ARL by less than 0.5 % (EWMA) and 0.1 % (CUSUM).
_EWMA_STATES, _CUSUM_STATES = 401, 400
# After so many points the exact limits of an EWMA are those of infinity, to 1 in a million.
_SETTLED = 1e-6
# Alarms a simulation waits for: a standard error of 1 %.
_ALARMS, _CHARTS = 10_000, 500
# A set of rules that hardly ever speaks is not followed further than this many points in all.
_MOST_POINTS = 4_000_000


class Arl(NamedTuple):
    """An average run length.

    Attributes:
        points: until the first alarm, on average; infinite if no rule is enabled.
        how: it was found.
    """

    points: float
    how: Literal["markov", "simulated"]


@lru_cache(maxsize=64)
def average_run_length(rules: RuleSet, shift: float = 0.0) -> Arl:
    """Points until the rules speak, after a shift of the mean.

    Args:
        rules: what is looked at.
        shift: in sigmas of a point.

    >>> round(average_run_length(RuleSet(limit=3.0)).points, 1)
    370.4
    """
    zones = [RULES[name].zone for name in rules.run_rules]
    counted = [zone for zone in zones if zone is not None]
    if rules.limit is not None:
        counted.append(ZoneRule(1, 1, rules.limit))
    only_counts = len(counted) == len(zones) + (rules.limit is not None)
    if not rules.names:
        return Arl(np.inf, "markov")
    if rules.moving_range or not only_counts:
        return Arl(simulated_run_length(rules, shift), "simulated")
    if rules.ewma is None and rules.cusum is None:
        return Arl(_zones_arl(tuple(counted), shift), "markov")
    if rules.cusum is None and rules.ewma is not None and not rules.run_rules:
        return Arl(_ewma_arl(*rules.ewma, rules.ewma_exact, rules.limit, shift), "markov")
    if rules.cusum is not None and rules.ewma is None and not counted:
        upper = _cusum_arl(*rules.cusum, shift)
        lower = _cusum_arl(*rules.cusum, -shift)
        return Arl(1.0 / (1.0 / upper + 1.0 / lower), "markov")
    return Arl(simulated_run_length(rules, shift), "simulated")


def simulated_run_length(
    rules: RuleSet,
    shift: float = 0.0,
    *,
    alarms: int = _ALARMS,
    charts: int = _CHARTS,
    seed: int = 1,
    most_points: int = _MOST_POINTS,
) -> float:
    """The same by feeding the charts, the mean of whole runs.

    Each chart is followed until it has spoken `alarms / charts` times, starting again after each
    alarm. The standard error is 1/sqrt(alarms) at most: run lengths vary no more than geometric
    ones.

    Args:
        rules: what is looked at.
        shift: in sigmas of a point.
        alarms: over all charts.
        charts: followed side by side.
        seed: of the points.
        most_points: over all charts; where that is reached, what has been seen until then counts.
    """
    random = np.random.default_rng([seed, round(1000 * shift) % 2**32])
    monitor = Monitor(rules, charts)
    each = max(1, alarms // charts)
    spoken = np.zeros(charts, dtype=np.int64)
    points = 0
    while spoken.min() < each and points < most_points:
        going = spoken < each
        points += int(np.count_nonzero(going))
        fired = np.asarray(monitor.add(shift + random.normal(size=charts)).any(axis=0))
        spoken += fired & going
        monitor.reset(fired)
    return points / max(int(spoken.sum()), 1)


def _ewma_arl(
    weight: float, limit: float, exact: bool, single: float | None, shift: float
) -> float:
    """Brook and Evans' chain over the EWMA's value, `single` points beyond which are out too."""
    spread = float(np.sqrt(weight / (2.0 - weight)))
    reach = limit * spread
    width = 2.0 * reach / _EWMA_STATES
    centres = -reach + width * (np.arange(_EWMA_STATES) + 0.5)
    borders = -reach + width * np.arange(_EWMA_STATES + 1)
    # From each centre to each border: the single point that would lead there.
    needed = (borders[None, :] - (1.0 - weight) * centres[:, None]) / weight
    if single is not None:
        needed = np.clip(needed, -single, single)
    stay = np.diff(ndtr(needed - shift), axis=1)
    rest = np.linalg.solve(np.eye(_EWMA_STATES) - stay, np.ones(_EWMA_STATES))
    here = np.zeros(_EWMA_STATES)
    here[_EWMA_STATES // 2] = 1.0
    total, t = 0.0, 0
    while exact and (1.0 - weight) ** (2 * t) > _SETTLED and here.sum() > _SETTLED:
        t += 1
        total += float(here.sum())
        bound = limit * spread * np.sqrt(1.0 - (1.0 - weight) ** (2 * t))
        # A cell that the limit cuts is in by the part of it that is.
        inside = np.clip((bound - np.abs(centres)) / width + 0.5, 0.0, 1.0)
        here = (here @ stay) * inside
    return total + float(here @ rest)


def _cusum_arl(reference: float, limit: float, shift: float) -> float:
    """Brook and Evans' chain of one side, from 0."""
    width = 2.0 * limit / (2 * _CUSUM_STATES - 1)
    centres = width * np.arange(_CUSUM_STATES)
    borders = np.concatenate(([-np.inf], centres + 0.5 * width))
    stay = np.diff(ndtr(borders[None, :] - centres[:, None] + reference - shift), axis=1)
    return float(np.linalg.solve(np.eye(_CUSUM_STATES) - stay, np.ones(_CUSUM_STATES))[0])


# -- rules that count points in zones ---------------------------------------------------------

_Test = tuple[int, int, frozenset[int]]
"""Hits, of how many points, and the zones that count."""


def _zones_arl(rules: tuple[ZoneRule, ...], shift: float) -> float:
    """Champ and Woodall's chain: states are what of the past can still matter to a rule."""
    borders = sorted({b for rule in rules for b in (-_border(rule), _border(rule))} | {0.0})
    edges = np.array([-np.inf, *borders, np.inf])
    probabilities = np.diff(ndtr(edges - shift))
    tests = [test for rule in rules for test in _tests(rule, list(pairwise(edges.tolist())))]
    states: dict[tuple[int, ...], int] = {(0,) * len(tests): 0}
    todo = list(states)
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    while todo:
        state = todo.pop()
        for zone, probability in enumerate(probabilities):
            after = _follow(state, tests, zone)
            if after is None:
                continue
            if after not in states:
                states[after] = len(states)
                todo.append(after)
            rows.append(states[state])
            columns.append(states[after])
            values.append(float(probability))
    count = len(states)
    stay = csr_matrix((values, (rows, columns)), shape=(count, count))
    lengths = spsolve((identity(count) - stay).tocsc(), np.ones(count))
    return float(np.atleast_1d(lengths)[0])


def _border(rule: ZoneRule) -> float:
    return rule.beyond if rule.within is None else rule.within


def _tests(rule: ZoneRule, zones: Sequence[tuple[float, float]]) -> list[_Test]:
    """A rule as sets of zones: two of them where it is about one side at a time."""
    border = _border(rule)
    above = frozenset(n for n, (low, _) in enumerate(zones) if low >= border)
    below = frozenset(n for n, (_, high) in enumerate(zones) if high <= -border)
    if rule.within is not None:
        inner = frozenset(range(len(zones))) - above - below
        return [(rule.hits, rule.points, inner)]
    if rule.either == "any":
        return [(rule.hits, rule.points, above | below)]
    return [(rule.hits, rule.points, above), (rule.hits, rule.points, below)]


def _follow(state: tuple[int, ...], tests: Sequence[_Test], zone: int) -> tuple[int, ...] | None:
    """The state after a point in `zone`; None if a rule is broken. Bit 0 is the latest point."""
    after = []
    for bits, (hits, points, region) in zip(state, tests, strict=True):
        new = ((bits << 1) | (zone in region)) & ((1 << points) - 1)
        if zone in region and new.bit_count() >= hits:
            return None
        after.append(_what_matters(new, hits, points))
    return tuple(after)


@lru_cache(maxsize=4096)
def _what_matters(bits: int, hits: int, points: int) -> int:
    """Forget the points that can no longer help to break the rule."""
    kept = 0
    for age in range(1, points):
        bit = 1 << (age - 1)
        # At best, every point to come until this one leaves the window counts as well.
        best = (bits & ((bit << 1) - 1)).bit_count() + points - age
        if bits & bit and best >= hits:
            kept |= bit
    return kept
