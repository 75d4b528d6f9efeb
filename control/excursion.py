"""A pattern that recurs on one module more than chance explains: when, and on which module?

Wafers through a module, ordered by when it treated them, are a row of good and bad. A Bernoulli
CUSUM (M. R. Reynolds and Z. G. Stoumbos, J. of Quality Technology 31 (1999)) adds ln(p1/p0) for a
bad one and ln((1-p1)/(1-p0)) for a good one, never falling below zero. Its highest value is the
log-likelihood ratio of "this module began to spoil wafers then" against "nothing happened", so the
values of different modules can be compared: that is the attribution.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from math import comb, exp, log
from typing import NamedTuple

from control.commonality import PlaceKey
from control.lineage import Lineage
from control.policy import Detection

__all__ = ["Finding", "Run", "at_most", "bernoulli_cusum", "find_excursion", "places_of"]

# Wafers of one module that a chart looks back over; wafers elsewhere that say what is usual of
# late; and over all.
LOOK_BACK = 150
RECENT = 80
MEMORY = 1000
# Background before anything is known: 5 %, worth as much as forty wafers; never below 1 %.
PRIOR_RATE, PRIOR_WAFERS, LEAST_RATE = 0.05, 40, 0.01
# Share of a sick module's wafers that show the pattern, as the chart assumes it.
SICK_RATE = 0.5
# Charts a tested wafer touches beside the modules of its route: patterns other than 'None'.
PATTERNS = 8
# A trace fault on a module is worth this much evidence (ln 20) when modules are compared, and
# lets three bad wafers (ln 1000) speak where otherwise more are needed.
TRACE_BONUS = log(20.0)
MERGE_SCORE = log(1000.0)


class Run(NamedTuple):
    """The stretch of a row with the highest CUSUM; `start` and `stop` as in a slice."""

    score: float
    start: int
    stop: int


class Finding(NamedTuple):
    """An excursion.

    Attributes:
        module: the culprit, or '' if it cannot be told apart from others.
        since_ms: when the culprit treated the first bad wafer.
        baseline_rate: how often the pattern is seen elsewhere.
        confidence: posterior probability of `module` among the modules of the wafer's route.
        bad: wafers of the run that show the pattern.
        good: those that do not.
    """

    module: str
    since_ms: int
    baseline_rate: float
    confidence: float
    bad: tuple[str, ...]
    good: tuple[str, ...]


def at_most(bad: int, wafers: int, rate: float) -> float:
    """P(at most `bad` of `wafers` are bad) where each is with probability `rate`: the binomial.

    >>> round(at_most(1, 2, 0.5), 4)
    0.75
    """
    return sum(comb(wafers, k) * rate**k * (1.0 - rate) ** (wafers - k) for k in range(bad + 1))


def bernoulli_cusum(bad: Sequence[bool], p0: float, p1: float) -> Run:
    """The stretch of `bad` that speaks most for rate `p1` against `p0`.

    >>> bernoulli_cusum([False, True, True, True], 0.02, 0.5)[1:]
    (1, 4)
    """
    gain, loss = log(p1 / p0), log((1.0 - p1) / (1.0 - p0))
    best, score, start = Run(0.0, 0, 0), 0.0, 0
    for index, is_bad in enumerate(bad):
        if score <= 0.0:
            score, start = 0.0, index
        score += gain if is_bad else loss
        if score > best.score:
            best = Run(score, start, index + 1)
    return best


def places_of(lineage: Lineage, substrate_id: str) -> frozenset[PlaceKey]:
    """Everything a wafer may have in common with another."""
    wafer = lineage.wafer(substrate_id)
    keys: set[PlaceKey] = set()
    for visit in wafer.visits if wafer else ():
        place = lineage.place(visit)
        keys.add(PlaceKey("module", place.module))
        keys.add(PlaceKey("equipment", place.equipment_id))
        keys.add(PlaceKey("recipe", place.recipe_id))
        keys.add(PlaceKey("step", place.step))
    return frozenset(keys)


def _shows(lineage: Lineage, substrate_id: str, pattern: str) -> bool:
    wafer = lineage.wafer(substrate_id)
    return wafer is not None and pattern in wafer.patterns


def find_excursion(
    lineage: Lineage,
    substrate_id: str,
    pattern: str,
    *,
    explained: Mapping[str, Collection[str]],
    fresh_ms: Mapping[str, int],
    faulty: Collection[str],
    detection: Detection,
) -> Finding | None:
    """Does this bad wafer complete the evidence against a module of its route?

    Args:
        lineage: where the tested wafers went.
        substrate_id: a tested wafer that shows `pattern`.
        pattern: what it shows.
        explained: wafers a known cause explains, to the modules of the causes; such a wafer
            accuses no other module.
        fresh_ms: per module, the time before which its wafers are explained.
        faulty: modules with a trace fault.
        detection: how sure to be.
    """
    free = {
        name: _shows(lineage, name, pattern)
        for name in islice(reversed(lineage.tested), MEMORY)
        if name not in explained
    }
    scores: dict[str, tuple[float, Run, list[tuple[int, str]], float]] = {}
    for module in lineage.modules_of(substrate_id):
        since = fresh_ms.get(module, -1)
        row = [
            entry
            for entry in lineage.through(module)[-LOOK_BACK:]
            # A wafer that came here before as well may have been spoilt then.
            if entry[0] > since
            and (since < 0 or lineage.first_at(entry[1], module) > since)
            and (entry[1] in free or set(explained.get(entry[1], ())) == {module})
        ]
        mine = {name for _, name in row}
        if substrate_id not in mine:
            continue
        flags = [_shows(lineage, name, pattern) for _, name in row]
        p0 = _rate_elsewhere(free, mine)
        p1 = max(SICK_RATE, min(0.9, p0 + 0.4))
        run = bernoulli_cusum(flags, p0, p1)
        bonus = TRACE_BONUS if module in faulty else 0.0
        scores[module] = (run.score + bonus, run, row, p0)
    if not scores:
        return None
    # Ties are broken by name, so that the result does not depend on the order of events.
    module = min(scores, key=lambda name: (-scores[name][0], name))
    score, run, row, p0 = scores[module]
    stretch = row[run.start : run.stop]
    shown = [(time, name) for time, name in stretch if _shows(lineage, name, pattern)]
    bad = tuple(name for _, name in shown)
    needed = (
        MERGE_SCORE
        if module in faulty
        else log(detection.wafers_per_false_alert * PATTERNS * max(1, len(scores)))
    )
    if run.score < needed or len(bad) < detection.min_bad_wafers:
        return None
    if not _beyond_one_lot(lineage, stretch, set(bad), free):
        return None
    others = sum(exp(value[0] - score) for name, value in scores.items() if name != module)
    return Finding(
        module=module,
        since_ms=shown[0][0],
        baseline_rate=p0,
        confidence=1.0 / (1.0 + others),
        bad=bad,
        good=tuple(name for _, name in stretch if name not in set(bad)),
    )


def _rate_elsewhere(free: Mapping[str, bool], mine: Collection[str]) -> float:
    """How often wafers that did not come this way show the pattern, of late or over all memory.

    The larger of the two: an excursion elsewhere must not make this module look special, nor may
    a quiet hour make chance look like an excursion. `free` has the newest first.
    """
    elsewhere = [bad for name, bad in free.items() if name not in mine]

    def rate(values: Sequence[bool]) -> float:
        return (sum(values) + PRIOR_RATE * PRIOR_WAFERS) / (len(values) + PRIOR_WAFERS)

    return min(0.5, max(LEAST_RATE, rate(elsewhere), rate(elsewhere[:RECENT])))


def _beyond_one_lot(
    lineage: Lineage,
    stretch: Sequence[tuple[int, str]],
    bad: Collection[str],
    free: Mapping[str, bool],
) -> bool:
    """Whether the run is more than one bad lot: two lots, or a contrast within the one.

    A lot may have been bad before it came here; then its wafers on other modules are bad as well.
    """
    lots: dict[str, int] = {}
    for name in bad:
        wafer = lineage.wafer(name)
        if wafer is not None:
            lots[wafer.lot_id] = lots.get(wafer.lot_id, 0) + 1
    # A second lot with one bad wafer may be background; two are not.
    if sum(count >= 2 for count in lots.values()) >= 2 or len(lots) >= 3:
        return True
    lot = max(lots, key=lambda name: (lots[name], name))
    mine = {name for _, name in stretch}
    rest = [
        shows
        for name, shows in free.items()
        if name not in mine and (wafer := lineage.wafer(name)) and wafer.lot_id == lot
    ]
    return len(rest) >= 5 and sum(rest) <= 0.2 * len(rest)
