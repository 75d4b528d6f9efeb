"""What evidence was worth so far: rates of bad wafers after each kind of it, learned on line.

A wafer is bad if at least one of its sources spoilt it: something odd at a step, each with its own
probability, or none of them (the base rate). That is a noisy-or (J. Pearl, Probabilistic Reasoning
in Intelligent Systems, 1988, 4.3.2). A test result teaches each source by its share of the blame,
which is one step of EM on line (O. Cappe, E. Moulines, J. Royal Statistical Society B 71, 2009).

The probability of a source starts from the rate of its level of evidence and is multiplied by what
is known about its sign (this variable, in this direction, on any module of the kind) and about its
episode (this module, since it went out of its limits). Each factor is (bad + c) / (expected + c), a
Gamma-Poisson estimate that begins at 1 and moves with evidence. Old results fade.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from control.foresight_state import Episode, Rate, RiskRecord

__all__ = ["LEVELS", "MAX_SIGNS", "Level", "Rates", "Source"]

# Old wafers fade so that at most so many count: of a level, of a sign, of an episode, of the base.
_LEVEL_WAFERS, _SIGN_WAFERS, _EPISODE_WAFERS, _BASE_WAFERS = 400.0, 200.0, 60.0, 3000.0
# Weight of what is believed beforehand: wafers for a level, bad wafers for a factor.
_PRIOR_WAFERS, _PRIOR_BAD = 10.0, 2.0
_PRIOR_BASE, _PRIOR_BASE_WAFERS = 0.02, 100.0
# Weight of the list of failure modes, and of "any pattern", in bad wafers.
_PRIOR_MODES, _PRIOR_ANY = 3.0, 1.0
# No source is certain, and none that was looked at is quite harmless.
_MOST, _LEAST = 0.98, 1e-4
MAX_PATTERNS, MAX_SIGNS = 24, 300


class Level(NamedTuple):
    """A strength of evidence and how often it is believed to mean a bad wafer."""

    name: str
    prior: float


# Priors are an engineer's guesses; ten wafers outweigh them. Order is saved: append, never reorder.
LEVELS = (
    Level("odd wafer, module in its limits", 0.02),
    Level("far wafer, module in its limits", 0.15),
    Level("normal wafer, module out of its limits", 0.05),
    Level("odd wafer, module out of its limits", 0.3),
    Level("far wafer, module out of its limits", 0.4),
    Level("normal wafer, module out for long", 0.05),
    Level("odd wafer, module out for long", 0.5),
    Level("far wafer, module out for long", 0.6),
    Level("module blamed for a pattern", 0.5),
    Level("module blamed for a pattern, but the wafer's trace is normal", 0.1),
    Level("odd measurement", 0.2),
    Level("odd measurement of a lot mate", 0.1),
    Level("in a slot that the failure mode spares", 0.03),
)


class Source(NamedTuple):
    """Something that may spoil a wafer.

    Attributes:
        probability: that it does.
        patterns: what it would show, by index into `RiskRecord.patterns`; adds up to 1 at most.
        level: its evidence.
        sign: index into `RiskRecord.signs`; -1 for none.
        episode: the stretch it belongs to, if any.
        module: where.
        before: probability before each of level, sign and episode had their say.
    """

    probability: float
    patterns: Mapping[int, float]
    level: int
    sign: int
    episode: Episode | None
    module: str
    before: tuple[float, float, float]


class Rates:
    """Learned rates in a `RiskRecord`.

    Args:
        record: changed in place.
        known: patterns to begin with.
    """

    def __init__(self, record: RiskRecord, known: Sequence[str]) -> None:
        self._record = record
        while len(record.levels) < len(LEVELS):
            record.levels.append(Rate())
        self._base: tuple[float, dict[int, float]] | None = None
        for name in known:
            self.pattern(name)

    def pattern(self, name: str) -> int:
        """Index of a pattern, -1 where there is no room for another."""
        patterns = self._record.patterns
        if name in patterns:
            return patterns.index(name)
        if len(patterns) >= MAX_PATTERNS:
            return -1
        patterns.append(name)
        self._base = None
        return len(patterns) - 1

    def sign(self, name: str) -> int:
        """Index of a sign; where the list is full, the one that taught least makes room."""
        signs = self._record.signs
        if name in signs:
            return signs.index(name)
        if len(signs) < MAX_SIGNS:
            signs.append(name)
            return len(signs) - 1
        seen = self._record.by_sign
        least = min(range(len(signs)), key=lambda place: seen[place].wafers if place in seen else 0)
        seen.pop(least, None)
        signs[least] = name
        return least

    def source(
        self,
        level: int,
        sign: int,
        episode: Episode | None,
        module: str,
        *,
        foreseen: Mapping[int, float],
        prior: float | None = None,
    ) -> Source:
        """What a piece of evidence means, as far as it is known.

        Args:
            level: index into `LEVELS`.
            sign: what was odd, -1 for nothing.
            episode: the stretch it belongs to, if any.
            module: 'equipment/module'.
            foreseen: patterns that the failure modes foresee for it, by index, adding up to 1;
                empty where nothing is foreseen.
            prior: rate to use instead of the level's own.
        """
        rate = self._record.levels[level]
        start = LEVELS[level].prior if prior is None else prior
        if prior is None:
            learned = (rate.bad + _PRIOR_WAFERS * start) / (rate.wafers + _PRIOR_WAFERS)
        else:
            learned = start * _factor(rate)
        learned = _bounded(learned)
        of_sign = self._record.by_sign.get(sign)
        signed = _bounded(learned * _factor(of_sign))
        last = _bounded(signed * _factor(episode.rate if episode else None))
        weights = dict(foreseen)
        scale = _PRIOR_MODES
        if not weights:
            share = 1.0 / max(1, len(self._record.patterns))
            weights = dict.fromkeys(range(len(self._record.patterns)), share)
            scale = _PRIOR_ANY
        for pattern in weights:
            weights[pattern] *= scale
        for known in (of_sign, episode.rate if episode else None):
            for pattern, count in known.patterns.items() if known else ():
                weights[pattern] = weights.get(pattern, 0.0) + count
        total = sum(weights.values())
        patterns = {pattern: weight / total for pattern, weight in weights.items()}
        return Source(last, patterns, level, sign, episode, module, (start, learned, signed))

    def base(self) -> tuple[float, dict[int, float]]:
        """Probability that a wafer without any evidence is bad, and what it shows then."""
        if self._base is not None:
            return self._base
        rate = self._record.base
        share = (rate.bad + _PRIOR_BASE * _PRIOR_BASE_WAFERS) / (rate.wafers + _PRIOR_BASE_WAFERS)
        names = range(len(self._record.patterns))
        total = rate.bad + 1.0
        each = 1.0 / max(1, len(names))
        self._base = share, {k: (rate.patterns.get(k, 0.0) + each) / total for k in names}
        return self._base

    def learn(self, sources: Sequence[Source], shown: Sequence[int]) -> None:
        """A wafer was tested.

        Args:
            sources: what was odd about it, as foreseen just before.
            shown: its patterns, by index; empty if it is good.
        """
        base, base_patterns = self.base()
        guilt = [dict[int, float]() for _ in range(len(sources) + 1)]
        for pattern in shown:
            weights = [s.probability * s.patterns.get(pattern, 0.0) for s in sources]
            weights.append(base * base_patterns.get(pattern, 0.0))
            total = sum(weights)
            for place, weight in enumerate(weights):
                if weight > 0.0:
                    guilt[place][pattern] = weight / total
        for source, blame in zip(sources, guilt, strict=False):
            start, learned, signed = source.before
            _add(self._record.levels[source.level], start, blame, _LEVEL_WAFERS)
            if source.sign >= 0:
                rate = self._record.by_sign.setdefault(source.sign, Rate())
                _add(rate, learned, blame, _SIGN_WAFERS)
            if source.episode is not None:
                _add(source.episode.rate, signed, blame, _EPISODE_WAFERS)
        _add(self._record.base, base, guilt[-1], _BASE_WAFERS)
        self._base = None


def _factor(rate: Rate | None) -> float:
    return 1.0 if rate is None else (rate.bad + _PRIOR_BAD) / (rate.expected + _PRIOR_BAD)


def _bounded(probability: float) -> float:
    return min(_MOST, max(_LEAST, probability))


def _add(rate: Rate, expected: float, blame: Mapping[int, float], most: float) -> None:
    """Count one wafer, for whose patterns it is to blame by these shares."""
    innocent = 1.0
    for pattern, share in blame.items():
        innocent *= 1.0 - share
        rate.patterns[pattern] = rate.patterns.get(pattern, 0.0) + share
    rate.bad += 1.0 - innocent
    rate.expected += expected
    rate.wafers += 1.0
    if rate.wafers > most:
        fade = most / rate.wafers
        rate.bad *= fade
        rate.expected *= fade
        rate.wafers = most
        rate.patterns = {k: count * fade for k, count in rate.patterns.items() if count > 1e-3}
