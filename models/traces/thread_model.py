"""The model of one thread: features standardised, a Gaussian process, a ridge, and their blend."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from contracts.late_correction import COVERAGE
from models.traces.gaussian_process import GaussianProcess, fit_gaussian_process

__all__ = ["LARGEST_Z", "Standard", "ThreadModel", "fit_thread", "refit"]

FloatArray = npt.NDArray[np.float64]

# Standardised features are cut off here: one broken sensor must not move a prediction without end.
COUNTER_CLIP, SIGNAL_CLIP, LARGEST_Z = 6.0, 4.0, 10.0
# What novelty is the mean of: the twentieth of the features that are farthest from what is known.
_FARTHEST = 20
# Signals of the process: one for so many rows, within these. With more, few rows find some that go
# with the target by chance; with fewer, many rows leave something unsaid (docs/traces.md).
_ROWS_A_SIGNAL, _FEWEST_SIGNALS, _MOST_SIGNALS = 25, 12, 24
_ALIKE, _SAME = 0.85, 0.999
# A Cholesky factor of more rows takes minutes and megabytes; the latest rows say most.
_MAX_ROWS = 1500
_FOLDS, _LEAVE_ONE_OUT_BELOW = 5, 10
_BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Standard:
    """How the F features of a thread are made comparable.

    Attributes:
        median: put where a value is missing.
        mean: subtracted.
        scale: divided by; infinite for what never varied.
        reach: divided by for novelty; finite always.
        missing: the z, for novelty, of a value that is missing: large where it hardly ever was.
    """

    median: FloatArray
    mean: FloatArray
    scale: FloatArray
    reach: FloatArray
    missing: FloatArray

    @classmethod
    def of(cls, x: FloatArray) -> "Standard":
        """Of (N, F) features, NaN where missing."""
        absent = np.isnan(x)
        never = absent.all(axis=0)
        median = np.nanmedian(np.where(never, 0.0, x), axis=0)
        filled = np.where(absent, median, x)
        mean, spread = filled.mean(axis=0), filled.std(axis=0)
        # What varies in the last digits of float32 alone does not vary.
        floor = 1e-6 * np.abs(mean) + 1e-9
        return cls(
            median=median,
            mean=mean,
            scale=np.where(spread > floor, spread, np.inf),
            reach=np.maximum(spread, 1e-3 * np.abs(mean) + 1e-6),
            missing=np.where(absent.mean(axis=0) < 0.1, LARGEST_Z, 0.0),
        )

    def z(self, x: FloatArray) -> FloatArray:
        """(N, F), 0 for what is missing or never varied."""
        found: FloatArray = (np.where(np.isnan(x), self.median, x) - self.mean) / self.scale
        return found

    def novelty(self, x: FloatArray) -> FloatArray:
        """(N,): mean of the largest twentieth of the squared z."""
        z = np.where(np.isnan(x), self.missing, (x - self.mean) / self.reach)
        squares = np.minimum(z**2, LARGEST_Z**2)
        found: FloatArray = np.sort(squares, axis=1)[:, -self.farthest() :].mean(axis=1)
        return found

    def farthest(self) -> int:
        """How many features novelty is the mean of."""
        return -(-len(self.mean) // _FARTHEST)


@dataclass(frozen=True)
class ThreadModel:
    """A fitted thread.

    Attributes:
        standard: of its features.
        counters: columns the process takes as what wears.
        signals: columns it takes as what the traces show.
        process: the Gaussian process; rows in the order of time.
        ends: (n,) when each of its rows was measured.
        coefficients: (F,) of the ridge on z.
        intercept: of the ridge.
        weight: of the process in the blend; the rest is the ridge's.
        flat_spread: the spread where the process has no weight.
        quantile: half-width of the 90 % interval, in spreads.
        novelty_limit: what one of a hundred learned runs reaches.
    """

    standard: Standard
    counters: tuple[int, ...]
    signals: tuple[int, ...]
    process: GaussianProcess
    ends: FloatArray
    coefficients: FloatArray
    intercept: float
    weight: float = 1.0
    flat_spread: float = 1.0
    quantile: float = 1.645
    novelty_limit: float = 1.0

    def both(
        self, x: FloatArray, known_until: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(N,) each: what the process says, its spread, and what the ridge says."""
        z = self.standard.z(x)
        u = np.clip(z[:, self.counters], -COUNTER_CLIP, COUNTER_CLIP)
        s = np.clip(z, -SIGNAL_CLIP, SIGNAL_CLIP)
        known = None
        if known_until is not None:
            known = (self.ends[None, :] <= known_until[:, None]).astype(np.float64)
        process, spread = self.process.predict(u, s[:, self.signals], known)
        return process, spread, s @ self.coefficients + self.intercept

    def predict(
        self, x: FloatArray, known_until: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """(N,) each: the prediction and the half-width of its interval.

        Args:
            x: (N, F), NaN where missing.
            known_until: (N,) measurements of rows that ended later are not used; None uses all.
        """
        process, spread, ridge = self.both(x, known_until)
        spread = spread if self.weight > 0 else np.full(len(x), self.flat_spread)
        return self.weight * process + (1 - self.weight) * ridge, spread * self.quantile

    def novelty(self, x: FloatArray) -> FloatArray:
        """(N,): 1 is what one learned run in a hundred reaches."""
        return self.standard.novelty(x) / self.novelty_limit


def fit_thread(
    x: FloatArray,
    target: FloatArray,
    group: npt.NDArray[np.str_],
    order: FloatArray,
    counters: int,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[ThreadModel, FloatArray, FloatArray]:
    """Learn a thread, and what it would have said of each run had its group been left out.

    Blend, spread and quantile come from the runs left out, so they hold for runs never seen.

    Args:
        x: (N, F) features, the first `counters` of them the starts of counters, as many more their
            rises.
        target: (N,) finite.
        group: (N,) runs of one group are left out together.
        order: (N,) when each run was measured.
        counters: C.
        on_progress: called with the share that is done.

    Returns:
        The model on all runs, and (N,) predictions and half-widths for runs left out.
    """
    folds = _folds(group)
    process, spread, ridge = (np.zeros(len(x)) for _ in range(3))
    for number, (learn, judge) in enumerate(folds):
        part = _fit(x[learn], target[learn], order[learn], counters)
        process[judge], spread[judge], ridge[judge] = part.both(x[judge])
        on_progress((number + 1) / (len(folds) + 1))
    losses = [np.mean((w * process + (1 - w) * ridge - target) ** 2) for w in _BLENDS]
    weight = _BLENDS[int(np.argmin(losses))]
    blended = weight * process + (1 - weight) * ridge
    flat = float(np.sqrt(min(losses)))
    spreads = spread if weight > 0 else np.full(len(x), flat)
    quantile = _conformal(np.abs(blended - target) / spreads)
    whole = _fit(x, target, order, counters)
    model = replace(
        whole,
        weight=weight,
        flat_spread=flat,
        quantile=quantile,
        novelty_limit=max(float(np.quantile(whole.standard.novelty(x), 0.99)), 1e-9),
    )
    on_progress(1.0)
    return model, blended, spreads * quantile


def refit(
    model: ThreadModel, x: FloatArray, target: FloatArray, order: FloatArray, counters: int
) -> ThreadModel:
    """The same kind of model, its blend and quantile, learned from other runs of the thread."""
    part = _fit(x, target, order, counters)
    return replace(
        part,
        weight=model.weight,
        flat_spread=model.flat_spread,
        quantile=model.quantile,
        novelty_limit=model.novelty_limit,
    )


def _folds(group: npt.NDArray[np.str_]) -> list[tuple[npt.NDArray[np.int64], ...]]:
    """Each group out once where they are few (lots), else five folds of groups (wafers)."""
    groups = len(np.unique(group))
    if groups == 1:
        # One lot: what it says of others nobody knows; its runs are left out instead.
        group, groups = np.arange(len(group)).astype(np.str_), len(group)
    count = groups if groups <= _LEAVE_ONE_OUT_BELOW else _FOLDS
    return list(GroupKFold(count).split(group, groups=group))


def _conformal(scores: FloatArray) -> float:
    """The quantile that covers a new score with the wanted probability (Vovk et al., 2005)."""
    rank = int(np.ceil(COVERAGE * (len(scores) + 1)))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def _fit(x: FloatArray, target: FloatArray, order: FloatArray, counters: int) -> ThreadModel:
    sort = np.argsort(order, kind="stable")
    x, target, order = x[sort], target[sort], order[sort]
    standard = Standard.of(x)
    z = standard.z(x)
    s = np.clip(z, -SIGNAL_CLIP, SIGNAL_CLIP)
    ridge = RidgeCV(np.logspace(0, 4, 17)).fit(s, target)
    worn = _different(z, counters)
    u = np.clip(z[:, worn], -COUNTER_CLIP, COUNTER_CLIP)
    latest = slice(-_MAX_ROWS, None)
    left = target[latest] - target[latest].mean()
    if worn:
        bare = np.zeros((len(left), 0))
        left = fit_gaussian_process(u[latest], bare, target[latest]).left_out()
    signals = _telling(s[latest], left, range(2 * counters, x.shape[1]))
    process = fit_gaussian_process(u[latest], s[latest][:, signals], target[latest])
    return ThreadModel(
        standard=standard,
        counters=worn,
        signals=signals,
        process=process,
        ends=order[latest],
        coefficients=np.asarray(ridge.coef_, dtype=np.float64),
        intercept=float(ridge.intercept_),
    )


def _different(z: FloatArray, counters: int) -> tuple[int, ...]:
    """Counters that are not another one in other units (hours and wafers of one membrane)."""
    kept: list[int] = []
    for column in range(counters):
        if z[:, column].std() > 0 and all(
            abs(_correlation(z[:, column], z[:, other])) < _SAME for other in kept
        ):
            kept.append(column)
    return tuple(kept)


def _telling(z: FloatArray, left: FloatArray, columns: range) -> tuple[int, ...]:
    """Columns that go with what the counters left open, the most telling first, none alike."""
    says = {column: abs(_correlation(z[:, column], left)) for column in columns}
    most = min(max(len(left) // _ROWS_A_SIGNAL, _FEWEST_SIGNALS), _MOST_SIGNALS)
    kept: list[int] = []
    for column in sorted(says, key=lambda c: -says[c]):
        if len(kept) == most or says[column] == 0.0:
            break
        if all(abs(_correlation(z[:, column], z[:, other])) < _ALIKE for other in kept):
            kept.append(column)
    return tuple(kept)


def _correlation(left: FloatArray, right: FloatArray) -> float:
    a, b = left - left.mean(), right - right.mean()
    # A feature that differs in a few runs only says nothing that would hold for others.
    if a.std() < 0.1 or not b.any():
        return 0.0
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
