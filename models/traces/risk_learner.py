"""The probability that a wafer fails, from hundreds of signals, learned wafer by wafer.

Failures are rare and signals many, noisy, drifting and unnamed: whatever fits freely, fits noise.
So each part is as plain as it can be, and all of it is learned from earlier wafers alone:

1. each signal is compared with the last 200 wafers (median, and the range from the 10th to the 90th
   percentile): what drifts slowly is no sign of anything. Beside the deviation stands its size, for
   signals that are bad at both ends;
2. each says how much likelier such a value is among failures than among others: a log-likelihood
   ratio of two normals of equal variance (linear discriminant with a diagonal covariance, P. Bickel
   and E. Levina, Bernoulli 10, 2004), whose difference of means is shrunk towards 0 by two of its
   standard errors (soft threshold): a signal without evidence has no say;
3. their sum is added to the log-odds of failing lately (half-life 250 wafers), with a slope and a
   shift that are calibrated on what such sums were worth so far (J. Platt, 1999).

The state is a window of 200 wafers and sums: bounded however long it runs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.trace_risk import deviations_from, log_odds_of

__all__ = ["WINDOW", "Forecast", "RiskLearner", "Weights"]

WINDOW = 200
_FEWEST_IN_WINDOW = 20
_REFRESH = 10
# E|z| of a normal z: sizes are centred by it.
_MEAN_SIZE = 0.8
# The variance of a deviation is near 1: a little of that keeps dead signals from shouting.
_LEAST_VARIANCE = 0.05
_STANDARD_ERRORS = 2.0
_HALF_LIFE = 250.0
# What is believed before anything was seen: one failure in fourteen, worth two wafers.
_PRIOR_RATE, _PRIOR_WAFERS = 0.07, 2.0
_SLOPE, _SLOPE_SPREAD, _SHIFT_SPREAD = 0.5, 0.3, 0.5
_NEWTON_STEPS, _SMALLEST_STEP = 20, 1e-6
# Log-odds beyond these are certainty in float32.
_SURE = 15.0
_REMEMBERED = 2_000
_FEWEST_WAFERS, _FEWEST_FAILURES = 100, 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """What is said of a wafer before its result is known.

    Attributes:
        deviations: (V,) of its signals from recent wafers, 0 where unknown.
        evidence: sum of the log-likelihood ratios.
        prior: log-odds of failing lately.
        probability: of failing; NaN as long as too little was seen.
    """

    deviations: Floats
    evidence: float
    prior: float
    probability: float


@dataclass(frozen=True)
class Weights:
    """Log-odds of failing are prior + shift + slope (signed z + size |z| + offset).

    Attributes:
        signed: (V,) of deviations z.
        size: (V,) of their sizes.
        offset, slope, shift: numbers.
    """

    signed: Floats
    size: Floats
    offset: float
    slope: float
    shift: float

    def evidence(self, deviations: Floats) -> float:
        """What stands in the brackets."""
        return float(deviations @ self.signed + np.abs(deviations) @ self.size + self.offset)


class RiskLearner:
    """Learns from one wafer after the other; `forecast` before `learn`.

    Attributes:
        window: (W, V) raw signals of the last wafers, at most 200, NaN where missing.
        sums: (2, 1 + 4 V) of passed and failed wafers: how many, their deviations and sizes, and
            the squares of both.
        rate: (2,) decayed failures and wafers.
        remembered: (R, 3) evidence, prior and result of the last wafers that were forecast.
        wafers: learned from, with a result.
        middle: (V,) of the window when it was last looked at.
        spread: (V,) of it, infinite where a signal says nothing.
        since_refresh: wafers since then.
    """

    def __init__(self, signals: int):
        self.window = np.full((0, signals), np.nan)
        self.sums = np.zeros((2, 1 + 4 * signals))
        self.rate = np.array([_PRIOR_RATE, 1.0]) * _PRIOR_WAFERS
        self.remembered = np.zeros((0, 3))
        self.wafers = 0
        self.middle = np.zeros(signals)
        self.spread = np.full(signals, np.inf)
        self.since_refresh = _REFRESH
        self._weights: Weights | None = None

    @property
    def ready(self) -> bool:
        """Whether enough was seen to say anything."""
        failed = self.sums[1, 0]
        return self.wafers >= _FEWEST_WAFERS and failed >= _FEWEST_FAILURES

    def forecast(self, signals: Floats) -> Forecast:
        """What is to be expected of a wafer with these signals (V,), NaN where missing."""
        deviations = self._deviations(signals)
        prior = log_odds_of(self.rate)
        if not self.ready:
            return Forecast(deviations, 0.0, prior, float("nan"))
        weights = self.weights()
        evidence = weights.evidence(deviations)
        odds = prior + weights.shift + weights.slope * evidence
        return Forecast(deviations, evidence, prior, float(_logistic(np.array(odds))))

    def learn(self, signals: Floats, forecast: Forecast, failed: float) -> None:
        """Take a wafer in, with its forecast and its result (1, 0, NaN where it has none)."""
        self.window = np.concatenate([self.window, signals[np.newaxis]])[-WINDOW:]
        self.since_refresh += 1
        if np.isnan(failed):
            return
        z = forecast.deviations
        both = np.r_[z, np.abs(z) - _MEAN_SIZE]
        self.sums[int(failed)] += np.r_[1.0, both, both**2]
        self.rate = self.rate * 0.5 ** (1.0 / _HALF_LIFE) + (failed, 1.0)
        if not np.isnan(forecast.probability):
            row = (forecast.evidence, forecast.prior, failed)
            self.remembered = np.concatenate([self.remembered, [row]])[-_REMEMBERED:]
        self.wafers += 1
        self._weights = None

    def weights(self) -> Weights:
        """The evidence's weights, from all wafers so far."""
        if self._weights is None:
            self._weights = self._learned_weights()
        return self._weights

    def _learned_weights(self) -> Weights:
        v = self.window.shape[1]
        n0, n1 = self.sums[:, 0]
        m0, m1 = self.sums[:, 1 : 1 + 2 * v] / self.sums[:, :1]
        squares = self.sums[:, 1 + 2 * v :].sum(axis=0)
        variance = (squares - n0 * m0**2 - n1 * m1**2) / (n0 + n1) + _LEAST_VARIANCE
        error = np.sqrt(variance * (1.0 / n0 + 1.0 / n1))
        gap = m1 - m0
        shrunk = np.sign(gap) * np.maximum(np.abs(gap) - _STANDARD_ERRORS * error, 0.0)
        weight = shrunk / variance
        offset = -float((0.5 * (m0 + m1)) @ weight) - _MEAN_SIZE * float(weight[v:].sum())
        return Weights(weight[:v], weight[v:], offset, *_calibrated(self.remembered))

    def _deviations(self, signals: Floats) -> Floats:
        if self.since_refresh >= _REFRESH and len(self.window) >= _FEWEST_IN_WINDOW:
            self.middle, self.spread = _middle_and_spread(self.window)
            self.since_refresh = 0
        return deviations_from(signals, self.middle, self.spread)


def _middle_and_spread(window: Floats) -> tuple[Floats, Floats]:
    """(V,) median and robust standard deviation; infinite where a signal says nothing."""
    ordered = np.sort(window, axis=0)  # NaN last
    n = (~np.isnan(window)).sum(axis=0)
    low, middle, high = (_quantile(ordered, n, q) for q in (0.1, 0.5, 0.9))
    # The 10th and 90th percentile of a normal lie 2.563 standard deviations apart.
    spread = (high - low) / 2.563
    filled = np.where(np.isnan(window), middle, window)
    plain = np.sqrt(((filled - filled.mean(axis=0)) ** 2).mean(axis=0))
    tiny = 1e-6 * np.abs(middle) + 1e-12
    spread = np.where(spread > tiny, spread, plain)
    dead = (n < _FEWEST_IN_WINDOW) | ~(spread > tiny)
    return np.where(n > 0, middle, 0.0), np.where(dead, np.inf, spread)


def _quantile(ordered: Floats, n: npt.NDArray[np.int64], q: float) -> Floats:
    place = q * np.maximum(n - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(n - 1, 0))
    column = np.arange(ordered.shape[1])
    found: Floats = ordered[below, column] + (place - below) * (
        ordered[above, column] - ordered[below, column]
    )
    return found


def _calibrated(remembered: Floats) -> tuple[float, float]:
    """Slope and shift that made the forecasts so far likeliest.

    A normal prior holds them near one half and 0 while little is remembered. Newton's method, each
    step halved until it gains something: the loss is convex, whole steps may still overshoot.
    """
    evidence, prior, failed = remembered.T
    x = np.stack([evidence, np.ones(len(evidence))], axis=1)
    start = np.array([_SLOPE, 0.0])
    precision = np.array([_SLOPE_SPREAD, _SHIFT_SPREAD]) ** -2.0

    def loss(at: Floats) -> float:
        log_odds = prior + x @ at
        surprise = np.logaddexp(0.0, log_odds) - failed * log_odds
        return float(surprise.sum() + 0.5 * (precision * (at - start) ** 2).sum())

    found, now = start, loss(start)
    for _ in range(_NEWTON_STEPS):
        p = _logistic(prior + x @ found)
        gradient = x.T @ (failed - p) - precision * (found - start)
        curvature = (x * (p * (1.0 - p))[:, np.newaxis]).T @ x + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        while np.abs(step).max() > _SMALLEST_STEP and loss(found + step) > now:
            step = step / 2.0
        if np.abs(step).max() <= _SMALLEST_STEP:
            break
        found = found + step
        now = loss(found)
    # More evidence never means less risk, whatever chance says.
    return max(float(found[0]), 0.0), float(found[1])


def _logistic(log_odds: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -_SURE, _SURE)))
    return found
