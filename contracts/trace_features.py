"""What a run's traces say in numbers, step by step: computed alike for training and for serving.

A run is cut into sections: the whole of it, and each recipe step. A section is cut into phases by
a driver, the variable whose two levels explain most of the others (the pressure on a polishing
head): on and off; what is on is cut by a second one (a gas that is pulsed): high and low. Of every
phase, and of the whole section: level, spread, slope; of the section
also its ends, its total over time, how long a variable takes to settle and how often it crosses
its middle. Variables that only count up (hours of a dresser, wafers on a pad) give their start and
their rise.
"""

from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import TraceError

__all__ = ["Driver", "FeatureSpec", "feature_names", "trace_features"]

FloatArray = npt.NDArray[np.float64]

_SETTLED = 0.05
"""Settled is within so much of a variable's range around its last level (control theory)."""
_GAP = 5.0
"""A gap in the samples counts as at most so many sample periods: nobody knows what was in it."""
_STATISTICS = ("level", "spread", "slope")
_OF_A_SECTION = ("first", "last", "total", "settling_s", "crossings")


class Driver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variable that tells two phases apart.

    Attributes:
        column: of the variable.
        threshold: above it the phase is on (or high).
    """

    column: int
    threshold: float


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How features are computed from the traces of one thread (product, recipe, module).

    Attributes:
        variables: V names.
        counters: columns of variables that only count up.
        steps: recipe steps with features of their own.
        drivers: none, the one of on and off, or also the one of high and low.
    """

    variables: tuple[str, ...]
    counters: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    drivers: tuple[Driver, ...] = ()


@lru_cache(maxsize=64)
def feature_names(spec: FeatureSpec) -> tuple[str, ...]:
    """The F names, in the order of `trace_features`: 'step4.on.pressure.level'."""
    signals = [v for i, v in enumerate(spec.variables) if i not in spec.counters]
    names = [f"{spec.variables[i]}.{what}" for what in ("start", "rise") for i in spec.counters]
    for section in ("run", *(f"step{step}" for step in spec.steps)):
        names.append(f"{section}.duration_s")
        for phase in _phases(spec):
            if phase != "all":
                names.append(f"{section}.{phase}_s")
            names += [f"{section}.{phase}.{v}.{what}" for what in _STATISTICS for v in signals]
        names += [f"{section}.{v}.{what}" for what in _OF_A_SECTION for v in signals]
    return tuple(names)


def trace_features(
    spec: FeatureSpec,
    values: npt.NDArray[np.float32],
    times_s: FloatArray,
    step: npt.NDArray[np.int64] | None,
) -> npt.NDArray[np.float32]:
    """(F,) float32: the features of one run; NaN where the run has no sample to compute one from.

    Args:
        spec: of the run's thread.
        values: (T, V), NaN where a sample is missing.
        times_s: (T,), never falling.
        step: (T,) recipe step of each sample; None where there is none.

    Raises:
        TraceError: another number of variables than the spec's.
    """
    if values.ndim != 2 or values.shape[1] != len(spec.variables):
        raise TraceError(
            f"a trace of shape {values.shape} for a model of {len(spec.variables)} variables"
        )
    count = len(feature_names(spec))
    if not len(values):
        return np.full(count, np.nan, dtype=np.float32)
    filled = _held(values.astype(np.float64))
    signals = [i for i in range(filled.shape[1]) if i not in spec.counters]
    counters = filled[:, list(spec.counters)]
    parts = [counters[0], counters[-1] - counters[0]]
    lasted = _lasted(times_s)
    phases = _phases_of(spec, filled)
    x = filled[:, signals]
    sections = [np.ones(len(x), dtype=bool)]
    sections += [np.zeros(len(x), bool) if step is None else step == s for s in spec.steps]
    for mask in sections:
        parts += _section(x[mask], times_s[mask], lasted[mask], [p[mask] for p in phases])
    found = np.concatenate([np.atleast_1d(part) for part in parts])
    with np.errstate(over="ignore"):
        small = found.astype(np.float32)
    # A reading of 1e38 is a broken sensor; what is computed from it is as good as missing.
    small[~np.isfinite(small)] = np.nan
    return small


def _phases(spec: FeatureSpec) -> tuple[str, ...]:
    return ("all", *("on", "off", "high", "low")[: 2 * len(spec.drivers)])


def _phases_of(spec: FeatureSpec, x: FloatArray) -> list[npt.NDArray[np.bool_]]:
    """Masks (T,) of the phases after 'all'."""
    masks: list[npt.NDArray[np.bool_]] = []
    within = np.ones(len(x), dtype=bool)
    for driver in spec.drivers:
        above = x[:, driver.column] > driver.threshold
        masks += [within & above, within & ~above]
        within = masks[0]
    return masks


def _section(
    x: FloatArray,
    times_s: FloatArray,
    lasted: FloatArray,
    phases: list[npt.NDArray[np.bool_]],
) -> list[FloatArray]:
    parts: list[FloatArray] = [np.array(float(lasted.sum()))]
    parts += _statistics(x)
    for phase in phases:
        parts.append(np.array(float(lasted[phase].sum())))
        parts += _statistics(x[phase])
    return parts + _whole(x, times_s, lasted)


def _statistics(x: FloatArray) -> list[FloatArray]:
    """Level, spread and slope of each variable; the slope is the change from the middle to the end.

    The slope is the least-squares one over the samples' numbers, scaled to -1..1.
    """
    n = len(x)
    if n == 0:
        return [np.full(x.shape[1], np.nan)] * 3
    level = x.mean(axis=0)
    place = np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1)
    slope = place @ (x - level) / max(float(place @ place), 1.0)
    return [level, x.std(axis=0), slope]


def _whole(x: FloatArray, times_s: FloatArray, lasted: FloatArray) -> list[FloatArray]:
    n = len(x)
    if n == 0:
        return [np.full(x.shape[1], np.nan)] * len(_OF_A_SECTION)
    tenth = max(n // 10, 1)
    first, last = x[:tenth].mean(axis=0), x[-tenth:].mean(axis=0)
    low, high = x.min(axis=0), x.max(axis=0)
    unsettled = np.abs(x - last) > _SETTLED * (high - low)
    # Row of the last sample outside the band; -1 where there is none.
    outside = np.where(unsettled.any(axis=0), n - 1 - unsettled[::-1].argmax(axis=0), -1)
    settling = np.where(outside < 0, 0.0, times_s[np.maximum(outside, 0)] - times_s[0])
    above = x > (low + high) / 2
    crossings = (above[1:] != above[:-1]).sum(axis=0).astype(np.float64)
    return [first, last, lasted @ x, settling, crossings]


def _lasted(times_s: FloatArray) -> FloatArray:
    """(T,) how long each sample stands for."""
    if len(times_s) < 2:
        return np.zeros(len(times_s))
    gaps = np.diff(times_s)
    period = float(np.median(gaps))
    gaps = np.clip(gaps, 0.0, _GAP * period if period > 0 else None)
    return np.append(gaps, period)


def _held(x: FloatArray) -> FloatArray:
    """Missing samples hold the last value before them, or the first after."""
    missing = ~np.isfinite(x)
    if not missing.any():
        return x
    x[missing] = np.nan
    rows = np.where(missing, -1, np.arange(len(x))[:, None])
    held = np.maximum.accumulate(rows, axis=0)
    first = np.argmax(~missing, axis=0)
    held = np.where(held < 0, first, held)
    return np.take_along_axis(x, held, axis=0)
