"""Root cause over the genealogy of good and bad wafers: where, when, in which order, and together.

Single places come first (`control.commonality`). Around the modules that stand out it is asked
besides: soon after their maintenance? early or late in the lot, or low or high in the boat? right
after another bad wafer? and two of all these together? Every question that could have been asked
counts in the correction, so that looking closer at what stands out is not held in its favour.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import exp, log
from typing import NamedTuple

from contracts.events import Commonality
from control.commonality import MIN_BAD, PlaceKey, commonalities, fisher_p, odds_ratio
from control.excursion import places_of
from control.lineage import Lineage
from control.state import ModuleRecord

__all__ = ["RootCause", "root_cause"]

# Modules that are looked at more closely, and single findings that are paired.
CLOSER, PAIRED = 3, 6
# A module's own questions: soon after maintenance, three thirds of the lot, after a bad one.
QUESTIONS = 5
# Hours after a maintenance that count as soon after it.
SOON_H = 24
# What is found by looking closer must be so much less likely by chance to come before the module.
CLEARLY = 0.01
# Below this the most probable one is not named.
CONCLUSIVE = 0.5
LIMIT = 10
_HOUR_MS = 3_600_000


class RootCause(NamedTuple):
    """What the bad wafers share.

    Attributes:
        found: best first, p-values corrected for every comparison that could have been made.
        probabilities: of each being what matters, one of them or nothing: they add up to 1 at most.
        inconclusive: none of them is more likely than all else together.
    """

    found: tuple[Commonality, ...]
    probabilities: tuple[float, ...]
    inconclusive: bool


def root_cause(
    lineage: Lineage,
    modules: Mapping[str, ModuleRecord],
    bad: Sequence[str],
    good: Sequence[str],
) -> RootCause:
    """Compare bad wafers with good ones.

    Args:
        lineage: where they went.
        modules: when each was maintained.
        bad: substrate ids that show what is to be explained.
        good: those to compare with, as many as are bounded by the caller.
    """
    keys_of = {name: places_of(lineage, name) for name in (*bad, *good)}
    single = commonalities([keys_of[name] for name in bad], [keys_of[name] for name in good], LIMIT)
    if not single or len(bad) < MIN_BAD:
        return RootCause((), (), True)
    suspects = [found.value for found in single if found.factor == "module"][:CLOSER]
    closer = _closer(lineage, modules, suspects, set(bad), list(keys_of))
    places = {key for keys in keys_of.values() for key in keys}
    all_modules = sum(key.factor == "module" for key in places)
    asked = len(places) + QUESTIONS * all_modules
    asked += asked * (asked - 1) // 2
    groups = {
        (found.factor, found.value): {
            name
            for name in keys_of
            if PlaceKey(found.factor, found.value) in keys_of[name]  # type: ignore[arg-type]
        }
        for found in single[:PAIRED]
    }
    further: list[Commonality] = []
    for (factor, value), members in closer.items():
        further.append(_compared(factor, value, members, bad, good, asked))
    ranked = sorted(further, key=lambda found: (found.p_value, found.value))[:PAIRED]
    groups |= {(found.factor, found.value): closer[found.factor, found.value] for found in ranked}
    for (one, members), (other, others) in combinations(groups.items(), 2):
        both = members & others
        if len(both) in (0, len(members), len(others)):
            continue  # the one is part of the other
        value = f"{one[1]} & {other[1]}"
        further.append(_compared("interaction", value, both, bad, good, asked))
    best = single[0].p_value
    # Whatever goes on for a while makes neighbours alike: that alone never comes first.
    notable = [
        found
        for found in further
        if found.p_value < CLEARLY * best and "after a bad wafer" not in found.value
    ]
    others_found = [found for found in further if found not in notable and found.p_value <= 0.05]
    notable.sort(key=lambda found: (found.p_value, found.value))
    others_found.sort(key=lambda found: (found.p_value, found.value))
    shown = (*notable, *single, *others_found)[:LIMIT]
    probabilities = _probabilities(shown, len(places))
    return RootCause(shown, probabilities, max(probabilities, default=0.0) < CONCLUSIVE)


def _closer(
    lineage: Lineage,
    modules: Mapping[str, ModuleRecord],
    suspects: Sequence[str],
    bad: set[str],
    names: Sequence[str],
) -> dict[tuple[str, str], set[str]]:
    """Further groups of wafers around a few modules, by (factor, value)."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module in suspects:
        record = modules.get(module)
        repaired_ms = record.repaired_ms if record is not None else -1
        rows: list[tuple[int, int, str, str]] = []
        for name in names:
            time_ms = lineage.modules_of(name).get(module)
            wafer = lineage.wafer(name)
            if time_ms is not None and wafer is not None:
                rows.append((time_ms, wafer.slot, wafer.lot_id, name))
        rows.sort()
        lots: dict[str, list[str]] = defaultdict(list)
        before = ""
        for time_ms, _, lot_id, name in rows:
            if 0 <= repaired_ms <= time_ms < repaired_ms + SOON_H * _HOUR_MS:
                found["maintenance", f"{module} within {SOON_H} h of its maintenance"].add(name)
            if before in bad:
                found["neighbour", f"{module} after a bad wafer"].add(name)
            lots[lot_id].append(name)
            before = name
        for members in lots.values():
            for place, name in enumerate(members):
                third = ("first", "middle", "last")[3 * place // len(members)]
                found["order", f"{third} third of a lot at {module}"].add(name)
    return found


def _compared(
    factor: str, value: str, members: set[str], bad: Sequence[str], good: Sequence[str], asked: int
) -> Commonality:
    bad_through = sum(name in members for name in bad)
    good_through = sum(name in members for name in good)
    cells = bad_through, len(bad), good_through, len(good)
    return Commonality(
        factor=factor,  # type: ignore[arg-type]
        value=value,
        bad_through=bad_through,
        bad_total=len(bad),
        good_through=good_through,
        good_total=len(good),
        odds_ratio=odds_ratio(*cells),
        # Bonferroni over everything that could have been asked.
        p_value=min(1.0, asked * fisher_p(*cells)),
    )


def _probabilities(found: Sequence[Commonality], places: int) -> tuple[float, ...]:
    """Posterior of each being what matters, against the others and against nothing at all.

    The log-likelihood ratio of two rates against one, less half the logarithm of the wafers for the
    second rate (BIC; G. Schwarz, Annals of Statistics 6 (1978)), all places equally likely before.
    """
    weights = [_ratio(c) - log(places) for c in found]
    top = max(0.0, *weights) if weights else 0.0
    whole = exp(-top) + sum(exp(weight - top) for weight in weights)
    return tuple(round(exp(weight - top) / whole, 4) for weight in weights)


def _ratio(c: Commonality) -> float:
    through = c.bad_through + c.good_through
    total = c.bad_total + c.good_total

    def likelihood(bad: int, wafers: int) -> float:
        if wafers == 0 or bad in (0, wafers):
            return 0.0
        rate = bad / wafers
        return bad * log(rate) + (wafers - bad) * log(1.0 - rate)

    apart = likelihood(c.bad_through, through)
    apart += likelihood(c.bad_total - c.bad_through, total - through)
    return apart - likelihood(c.bad_total, total) - 0.5 * log(max(2, total))
