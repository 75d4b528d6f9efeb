"""What bad wafers share: Fisher's exact test over module, equipment, recipe and step.

One-sided (more bad ones through it than chance would send there), corrected for all the places
compared by Holm's step-down method, which needs no independence between them: S. Holm, "A simple
sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import exp, lgamma, log
from typing import Literal, NamedTuple

from contracts.events import Commonality

__all__ = ["MIN_BAD", "PlaceKey", "commonalities", "fisher_p", "holm", "odds_ratio"]

Factor = Literal["module", "equipment", "recipe", "step"]
# Below this, two wafers that met by chance would accuse a tool.
MIN_BAD = 3
# Where the evidence is the same, the narrower place is the better answer.
_NARROWNESS: dict[str, int] = {"module": 0, "equipment": 1, "recipe": 2, "step": 3}


class PlaceKey(NamedTuple):
    """One thing a wafer can have in common with another."""

    factor: Factor
    value: str


@lru_cache(maxsize=65536)
def fisher_p(bad_through: int, bad_total: int, good_through: int, good_total: int) -> float:
    """P(at least `bad_through` of the wafers through a place are bad), margins fixed.

    The upper tail of the hypergeometric distribution (R. A. Fisher, 1935).

    >>> round(fisher_p(3, 3, 1, 4), 4)
    0.1143
    """
    through = bad_through + good_through
    total = bad_total + good_total
    top = min(bad_total, through)

    def log_choose(n: int, k: int) -> float:
        return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)

    whole = log_choose(total, through)
    tail = sum(
        exp(log_choose(bad_total, k) + log_choose(good_total, through - k) - whole)
        for k in range(max(bad_through, through - good_total), top + 1)
    )
    return min(1.0, tail)


def odds_ratio(bad_through: int, bad_total: int, good_through: int, good_total: int) -> float:
    """Odds of being bad through the place over those elsewhere, 0.5 added to each cell.

    The addition (Haldane 1956, Anscombe 1956) keeps it finite where a cell is empty.
    """
    bad_elsewhere, good_elsewhere = bad_total - bad_through, good_total - good_through
    return ((bad_through + 0.5) * (good_elsewhere + 0.5)) / (
        (good_through + 0.5) * (bad_elsewhere + 0.5)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-corrected p-values, in the order given.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [0.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = worst
    return corrected


def commonalities(
    bad: Iterable[frozenset[PlaceKey]], good: Iterable[frozenset[PlaceKey]], limit: int = 10
) -> tuple[Commonality, ...]:
    """Places the bad wafers have in common, best first.

    Args:
        bad: for each bad wafer, where it was.
        good: the same for wafers to compare with.
        limit: how many to return at most.

    Returns:
        Empty if fewer than three wafers are bad: inconclusive. Places that every wafer or no bad
        wafer went through say nothing and are left out; they are not comparisons.
    """
    bad_wafers, good_wafers = list(bad), list(good)
    if len(bad_wafers) < MIN_BAD:
        return ()
    bad_counts = Counter(key for wafer in bad_wafers for key in wafer)
    good_counts = Counter(key for wafer in good_wafers for key in wafer)
    n_bad, n_good = len(bad_wafers), len(good_wafers)
    keys = sorted(
        key for key, count in bad_counts.items() if count + good_counts[key] < n_bad + n_good
    )
    corrected = holm([fisher_p(bad_counts[k], n_bad, good_counts[k], n_good) for k in keys])
    found = [
        Commonality(
            factor=key.factor,
            value=key.value,
            bad_through=bad_counts[key],
            bad_total=n_bad,
            good_through=good_counts[key],
            good_total=n_good,
            odds_ratio=odds_ratio(bad_counts[key], n_bad, good_counts[key], n_good),
            p_value=p_value,
        )
        for key, p_value in zip(keys, corrected, strict=True)
    ]
    found.sort(key=lambda c: (c.p_value, -log(c.odds_ratio), _NARROWNESS[c.factor], c.value))
    return tuple(found[:limit])
