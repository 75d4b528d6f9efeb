"""Bernoulli CUSUM in whole numbers: has the share of what is beyond a limit grown?

M. R. Reynolds and Z. G. Stoumbos, J. of Quality Technology 31 (1999) 87-108: a hit adds
ln(p1 (1-p0) / (p0 (1-p1))) less r, every observation takes away r = ln((1-p0) / (1-p1)), and the
sum never falls below zero. Where the first is a whole multiple m of r, as theirs, the sum counted
in r is a whole number: a hit adds m - 1, a miss takes 1. So the state is one small number, and the
ARL is exact, from a Markov chain over `limit` states.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["BernoulliChart", "bernoulli_chart", "bernoulli_run_length"]


class BernoulliChart(NamedTuple):
    """A chart of hits and misses. No assumption is made of how anything is distributed.

    Attributes:
        hit: what a hit adds; a miss takes 1.
        limit: it signals from this value on.
    """

    hit: int
    limit: int

    def add(self, value: int, hit: bool) -> int:
        """The sum after one more, never above the limit, so that an episode can end.

        >>> chart = BernoulliChart(hit=5, limit=16)
        >>> chart.add(chart.add(0, True), False), chart.add(14, True)
        (4, 16)
        """
        return min(self.limit, value + self.hit) if hit else max(0, value - 1)


def bernoulli_chart(usual: float, sick: float, arl0: float) -> BernoulliChart:
    """The chart for shares of hits.

    Args:
        usual: share while all is well, 0 to 1.
        sick: share that is to be found, above `usual`.
        arl0: observations between two false alarms, at least, at the usual share; G. Lorden's bound
            (Annals of Mathematical Statistics 42 (1971)): the ARL is at least exp(limit).

    >>> bernoulli_chart(0.02, 0.48, 20_000.0)
    BernoulliChart(hit=5, limit=16)
    """
    taken = math.log((1.0 - usual) / (1.0 - sick))
    given = math.log(sick * (1.0 - usual) / (usual * (1.0 - sick)))
    return BernoulliChart(
        hit=max(1, round(given / taken) - 1), limit=max(1, math.ceil(math.log(arl0) / taken))
    )


@lru_cache(maxsize=64)
def bernoulli_run_length(chart: BernoulliChart, share: float) -> float:
    """Observations until the chart signals, on average, from zero on.

    Args:
        chart: the chart.
        share: of hits, independent of each other.

    >>> round(bernoulli_run_length(BernoulliChart(hit=1, limit=2), 0.5), 9)
    6.0
    """
    states = chart.limit
    stay = np.zeros((states, states))
    for state in range(states):
        stay[state, max(0, state - 1)] += 1.0 - share
        if state + chart.hit < states:
            stay[state, state + chart.hit] += share
    if share <= 0.0:
        return math.inf
    return float(np.linalg.solve(np.eye(states) - stay, np.ones(states))[0])
