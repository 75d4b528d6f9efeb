"""Sensor traces: set points with lag, phases of the recipe, and noise that remembers itself."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fab_sim.kinds import KINDS

__all__ = ["SAMPLE_PERIOD_MS", "render_trace", "variable_names"]

# 0.5 Hz: slow for etch tools (1 to 10 Hz is usual), enough for 40 to 80 samples a wafer.
SAMPLE_PERIOD_MS = 2000
_MIN_SAMPLES, _MAX_SAMPLES = 40, 80
# Shares of the recipe: stabilise, main, purge.
_STABILISE, _PURGE = 0.15, 0.12
# Noise inside a wafer, against its spread from wafer to wafer, and how much of it stays.
_NOISE, _MEMORY = 0.6, 0.7

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=32)
def variable_names(kind: str) -> tuple[str, ...]:
    """Columns of the traces of a kind of module."""
    return tuple(variable.name for variable in KINDS[kind].variables)


def _samples(minutes: float) -> int:
    """Rows of a trace of a recipe that takes so long."""
    return min(max(int(minutes * 60_000) // SAMPLE_PERIOD_MS, _MIN_SAMPLES), _MAX_SAMPLES)


def _remember(values: Floats, memory: float) -> Floats:
    """A first-order recursion down the rows, y[t] = x[t] + memory * y[t - 1].

    By doubling: after k rounds each row holds the 2**k rows before it. Sums of pairs alone, so the
    result is the same on every machine, which a matrix product does not promise.
    """
    out, reach = values.copy(), 1
    while reach < len(out):
        out[reach:] = out[reach:] + memory**reach * out[:-reach]
        reach *= 2
    return out


@lru_cache(maxsize=512)
def _profile(kind: str, samples: int) -> tuple[Floats, Floats]:
    """Course of every variable as share of its level, and spreads; (samples, variables) each."""
    variables = KINDS[kind].variables
    begin, end = round(_STABILISE * samples), round((1.0 - _PURGE) * samples)
    course = np.empty((samples, len(variables)))
    for column, variable in enumerate(variables):
        target = np.full(samples, 1.0)
        target[:begin], target[end:] = variable.idle, variable.purge
        follow = float(np.exp(-SAMPLE_PERIOD_MS / 1000.0 / variable.lag_s))
        # First-order lag: each sample goes a fixed share of the way to its set point.
        target *= 1.0 - follow
        target[0] += follow * variable.idle
        course[:, column] = _remember(target, follow)
    # A sensor of something that is off shows hardly any offset.
    spread = np.array([variable.spread for variable in variables]) * (0.15 + 0.85 * course)
    return course, np.asarray(spread)


def render_trace(
    kind: str,
    minutes: float,
    levels: Floats,
    shifts: Floats,
    random: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """The trace of one wafer.

    Args:
        kind: of the module.
        minutes: of the recipe.
        levels: (variables,) set points in the main phase, in the variables' units.
        shifts: (variables,) of this wafer's mean, in wafer-to-wafer deviations.
        random: the trace's own stream.

    Returns:
        (samples, variables) float32.
    """
    course, spread = _profile(kind, _samples(minutes))
    wafer = shifts + random.normal(size=len(levels))
    white = random.normal(size=course.shape) * (_NOISE * np.sqrt(1.0 - _MEMORY**2))
    noise = _remember(white, _MEMORY)
    values = course * levels + spread * (wafer + noise)
    return np.asarray(values, dtype=np.float32)
