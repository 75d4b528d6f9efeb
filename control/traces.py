"""One trace becomes three numbers a variable: level, spread and slope of its main part."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["STATISTICS", "chart_name", "summarise"]

STATISTICS = ("level", "spread", "slope")

# Recipes begin with stabilising and end with purging; the middle 60 % of the samples is the part
# that treats the wafer.
_EDGE_SHARE = 5
MIN_SAMPLES = 5
# Beyond this a float32 reading is a broken sensor, and its square would overflow in sums.
_ABSURD = 1e15

Floats = npt.NDArray[np.float64]


def chart_name(variable: str, statistic: str) -> str:
    """What a chart is called in an alert: the variable itself where its level moved.

    >>> chart_name("rf_power_w", "level"), chart_name("rf_power_w", "spread")
    ('rf_power_w', 'rf_power_w:spread')
    """
    return variable if statistic == "level" else f"{variable}:{statistic}"


@lru_cache(maxsize=256)
def _time(samples: int) -> tuple[Floats, float]:
    """Time of the samples, from -1/2 to 1/2 over the main part, and its sum of squares."""
    time = np.linspace(-0.5, 0.5, samples)
    return time, float(time @ time)


def summarise(values: npt.NDArray[np.float32]) -> Floats:
    """Level, spread and slope of every variable over the main part of a trace.

    Args:
        values: (samples, variables); NaN, infinite and absurdly large readings are left out.

    Returns:
        (3 * variables,) float64, all levels first, then all spreads, then all slopes. Level is the
        mean; spread the standard deviation about the fitted line; slope the change of that line
        over the main part. All in the variable's unit. NaN where fewer than five samples are left.
    """
    samples, variables = values.shape
    out = np.full((3, variables), np.nan)
    edge = samples // _EDGE_SHARE
    main = values[edge : samples - edge].astype(np.float64)
    if main.shape[0] < MIN_SAMPLES:
        return out.ravel()
    good = np.abs(main) < _ABSURD  # False for NaN and infinity too
    time, energy = _time(main.shape[0])
    if good.all():
        level = main.sum(axis=0) / main.shape[0]
        rest = main - level
        slope = time @ rest / energy
        rest -= time[:, None] * slope
        out[0], out[1], out[2] = level, np.sqrt((rest * rest).sum(axis=0) / main.shape[0]), slope
        return out.ravel()
    for column in range(variables):
        mask = good[:, column]
        if np.count_nonzero(mask) < MIN_SAMPLES:
            continue
        x, t = main[mask, column], time[mask]
        t = t - t.mean()
        level_ = x.mean()
        slope_ = (t @ (x - level_)) / (t @ t)
        rest_ = x - level_ - slope_ * t
        out[:, column] = level_, np.sqrt(np.mean(rest_ * rest_)), slope_
    return out.ravel()
