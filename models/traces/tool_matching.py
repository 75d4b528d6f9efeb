"""Tool matching: each run against what its module has shown so far, causally and without labels.

Modules, recipes and experiments differ in mean, and drift. So each feature is compared with a
running level of the same module, learned from earlier runs alone:

- of its first five runs the median, so that a fault among them is outvoted as soon as it can be;
- then an exponentially weighted mean whose steps are clipped (P. Huber): a fault moves it by a
  fraction of three standard deviations;
- five runs in a row beyond three standard deviations on one side are a new level (a maintenance, a
  new batch of parts), and their median is where it starts.

How much less is known after few runs, and how far such modules drift while they warm up, was
learned in training and widens what counts as normal. The spread runs too, from the one of training:
a module may be noisier than the one that was learned from.

The state is nine numbers a feature and module, however long it runs.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

__all__ = ["Matching", "Reference", "learn_matching"]

Floats = npt.NDArray[np.float64]

_CLIP = 3.0  # of a step of the level, in standard deviations
_CLIP_SPREAD = 2.5  # of what the running variance learns from
# E[min(z^2, c^2)] of a normal z, so that clipping does not shrink the variance.
_CLIPPED = float(
    1.0
    - 2.0 * (_CLIP_SPREAD * norm.pdf(_CLIP_SPREAD) + norm.sf(_CLIP_SPREAD))
    + 2.0 * _CLIP_SPREAD**2 * norm.sf(_CLIP_SPREAD)
)
_RECENT = 5
# Variance of the median of 1 to 5 normal values of variance 1.
_MEDIAN_VARIANCE = np.array([1.0, 0.5, 0.449, 0.298, 0.287])
# The spread of training counts as this many runs.
_PRIOR_RUNS = 20.0
_SLOWEST_SPREAD = 0.03
# Share of a warm-up's drift left after each run.
_WARM_UP = 0.7
_GAINS = (0.1, 0.2, 0.35, 0.6)
_WARM_UP_RUNS = 4
_ROUNDS = 4


@dataclass(frozen=True)
class Matching:
    """What training learned about P features.

    Attributes:
        gain: (P,) weight of the newest run in the running level.
        scale: (P,) standard deviation from run to run.
        warm_up: (P,) standard deviation of the drift after a module's first run.
        floor: (P,) below which no standard deviation falls.
    """

    gain: Floats
    scale: Floats
    warm_up: Floats
    floor: Floats


@dataclass
class Reference:
    """One module's running level and spread of each feature.

    Attributes:
        level: (P,) NaN before a feature's first run.
        variance: (P,).
        runs: (P,) that the level was made of.
        recent: (5, P) last values, the newest first, NaN before there were any.
        beyond: (P,) runs in a row beyond three standard deviations, negative where below.
    """

    matching: Matching
    level: Floats = field(init=False)
    variance: Floats = field(init=False)
    runs: Floats = field(init=False)
    recent: Floats = field(init=False)
    beyond: Floats = field(init=False)

    def __post_init__(self) -> None:
        p = len(self.matching.gain)
        self.level = np.full(p, np.nan)
        self.variance = self.matching.scale**2
        self.runs = np.zeros(p)
        self.recent = np.full((_RECENT, p), np.nan)
        self.beyond = np.zeros(p)

    def deviations(self, features: Floats) -> Floats:
        """How far a run is from the runs before it, in standard deviations; then learns from it.

        Args:
            features: (P,), NaN where unknown.

        Returns:
            (P,), NaN where the run or the level is unknown.
        """
        m = self.matching
        there, known = ~np.isnan(features), ~np.isnan(self.level)
        both = there & known
        off = np.where(both, features - self.level, 0.0)
        deviation = self.expected()
        z = off / deviation
        weight = np.maximum(1.0 / (_PRIOR_RUNS + self.runs), _SLOWEST_SPREAD)
        ratio = np.minimum(z**2, _CLIP_SPREAD**2) / _CLIPPED
        grown = np.maximum(self.variance * (1.0 + weight * (ratio - 1.0)), m.floor**2)
        self.variance = np.where(both, grown, self.variance)
        self._follow(features, z * both, deviation)
        return np.where(both, z, np.nan)

    def expected(self) -> Floats:
        """(P,) standard deviation of the next run about the level."""
        found: Floats = np.sqrt(
            self.variance * _widening(self.matching.gain, self.runs) + self._drift()
        )
        return found

    def _follow(self, features: Floats, z: Floats, deviation: Floats) -> None:
        """Move the level: by the median at first and at a new level, else by a clipped step."""
        there = ~np.isnan(features)
        shifted = np.concatenate([features[np.newaxis], self.recent[:-1]])
        self.recent = np.where(there, shifted, self.recent)
        self.runs = self.runs + there
        side = np.where(np.abs(z) > _CLIP, np.sign(z), 0.0)
        same = side * self.beyond > 0
        self.beyond = np.where(there, np.where(same, self.beyond + side, side), self.beyond)
        anew = np.abs(self.beyond) >= _RECENT
        self.runs = np.where(anew, float(_RECENT), self.runs)
        self.beyond = np.where(anew, 0.0, self.beyond)
        gain = np.maximum(self.matching.gain, 1.0 / np.maximum(self.runs, 1.0))
        stepped = self.level + gain * np.clip(z, -_CLIP, _CLIP) * deviation
        moved = np.where(self.runs <= _RECENT, _median(self.recent), stepped)
        self.level = np.where(there, moved, self.level)

    def _drift(self) -> Floats:
        found: Floats = self.matching.warm_up**2 * _WARM_UP ** (2.0 * np.maximum(self.runs - 1, 0))
        return found


def learn_matching(series: list[Floats], floor: Floats) -> Matching:
    """Learn from normal runs.

    Each feature takes the gain whose one-step-ahead error was the smallest.

    Args:
        series: of each module (N, P), in time.
        floor: (P,).
    """
    errors, scales = [], []
    for gain in _GAINS:
        scale = np.maximum(_first_guess(series), floor)
        for _ in range(_ROUNDS):
            trial = Matching(np.full(len(floor), gain), scale, np.zeros(len(floor)), floor)
            z = np.concatenate([_fixed(rows, trial)[_WARM_UP_RUNS + 1 :] for rows in series])
            clipped = _nanmean(np.minimum(z**2, _CLIP**2))
            scale = np.maximum(scale * np.sqrt(np.where(np.isnan(clipped), 1.0, clipped)), floor)
        scales.append(scale)
        errors.append(scale * np.sqrt(1.0 + gain / (2.0 - gain)))
    # Of equals the slowest: it forgets the least.
    error = np.array(errors)
    best = np.argmax(error <= error.min(axis=0) * 1.001, axis=0)
    column = np.arange(len(floor))
    gain_of = np.array(_GAINS)[best]
    scale_of = np.array(scales)[best, column]
    steady = Matching(gain_of, scale_of, np.zeros(len(floor)), floor)
    return Matching(gain_of, scale_of, _warm_up(series, steady), floor)


def _warm_up(series: list[Floats], steady: Matching) -> Floats:
    """(P,) what the first runs of the modules deviated more than later ones do."""
    weight = _WARM_UP ** (2.0 * np.arange(_WARM_UP_RUNS))[:, np.newaxis]
    excess = np.zeros(len(steady.gain))
    for rows in series:
        z = _fixed(rows, steady)[1 : _WARM_UP_RUNS + 1]
        after = np.arange(1.0, len(z) + 1.0)[:, np.newaxis]
        wide = _widening(steady.gain, after)
        more = np.where(np.isnan(z), 0.0, z**2 - 1.0) * wide
        excess += (more * weight[: len(z)]).sum(axis=0) / (weight**2).sum()
    return steady.scale * np.sqrt(np.maximum(excess / len(series), 0.0))


def _fixed(rows: Floats, matching: Matching) -> Floats:
    """Deviations of a module's runs with the spread held at that of training."""
    reference = Reference(matching)
    found = []
    for features in rows:
        reference.variance = matching.scale**2
        found.append(reference.deviations(features))
    return np.array(found).reshape(len(rows), len(matching.gain))


def _widening(gain: Floats, runs: Floats) -> Floats:
    """Variance of a run about the running level, in variances of a run."""
    few = np.clip(runs, 1.0, _RECENT).astype(np.int64)
    level = np.where(runs <= _RECENT, _MEDIAN_VARIANCE[few - 1], 1.0 / np.maximum(runs, 1.0))
    found: Floats = 1.0 + np.maximum(gain / (2.0 - gain), level)
    return found


def _median(recent: Floats) -> Floats:
    """(P,) of (5, P), NaN where there is nothing."""
    ordered = np.sort(recent, axis=0)  # NaN last
    n = (~np.isnan(recent)).sum(axis=0)
    column = np.arange(recent.shape[1])
    low, high = np.maximum(n - 1, 0) // 2, n // 2
    found: Floats = 0.5 * (ordered[low, column] + ordered[np.minimum(high, _RECENT - 1), column])
    return found


def _first_guess(series: list[Floats]) -> Floats:
    change = np.concatenate([np.abs(np.diff(rows, axis=0)) for rows in series])
    there = ~np.isnan(change)
    middle = np.array(
        [
            np.median(column[mask]) if mask.any() else 0.0
            for column, mask in zip(change.T, there.T, strict=True)
        ]
    )
    # Median of the absolute difference of two normal values: 0.954 standard deviations.
    return middle / 0.954


def _nanmean(values: Floats) -> Floats:
    there = ~np.isnan(values)
    n = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
