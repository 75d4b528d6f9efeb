"""Sensor traces: set points with lag, steps of the recipe, and noise that is shared and remembers.

Everything here is sums and products of pairs of numbers, no matrix product and no reduction, so the
bytes are the same on every machine.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from fab_sim.kinds import KINDS
from fab_sim.sensor_faults import SensorFault, apply_fault

__all__ = [
    "MAX_SAMPLES",
    "DrawnTrace",
    "draw_trace",
    "phase_slices",
    "recipe_steps",
    "sample_count",
    "sample_period_ms",
    "variable_names",
]

# Enough for a recipe of two minutes at 2 Hz. Longer ones are sampled more slowly, as data
# collection plans do with furnaces; a log of the whole line must be able to carry it.
MAX_SAMPLES, _MIN_SAMPLES = 240, 40
# Noise inside a wafer, against its spread from wafer to wafer.
_NOISE = 0.6
# A disturbance fades with half the lag of a set point: sampled at 1 Hz a power then remembers 0.1
# to 0.4 of it, a pressure 0.6 and a temperature 0.8, about as in the LAM 9600 traces (powers -0.1
# to 0.3, pressure 0.5, tuner 0.6, chlorine flow 0.7, endpoint 0.9: medians of 70 wafers).
_FADES = 0.5
# A sensor of something that is off shows hardly any of it.
_FLOOR = 0.15
# Data collection asks late, never early: half-normal, as a share of the period.
_LATE, _LATEST = 0.04, 0.3
# Wafers after which the effect of a cold module has fallen to 1/e.
_WARM_UP_WAFERS = 2.5
# Of a recursion, what is less than float32 can tell is left out.
_FORGOTTEN = 1e-7

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]


class DrawnTrace(NamedTuple):
    """What the sensors said about one wafer.

    Attributes:
        values: (samples, variables) float32, in the variables' units; NaN where one said nothing.
        times_ms: (samples,) float32 from the start of the trace, rising.
    """

    values: Floats32
    times_ms: Floats32


class _Plan(NamedTuple):
    """What all traces of a kind and length have in common; (samples, variables) float32 or less.

    Attributes:
        course: of every variable as share of its level.
        slope: of `course`, to the next sample.
        amplitude: what one deviation is worth, in the variables' units.
        memory: (variables,) share of the noise that stays from sample to sample.
        fresh: (variables,) standard deviation of what is new in it.
        own: (variables,) share of a deviation that no other variable has.
        shared: for each physical cause: columns tied to it, and by how much.
        warm: (variables,) shift of a lot's first wafer, in spreads.
    """

    course: Floats32
    slope: Floats32
    amplitude: Floats32
    memory: Floats32
    fresh: Floats32
    own: Floats32
    shared: tuple[tuple[npt.NDArray[np.intp], Floats32], ...]
    warm: Floats32


@lru_cache(maxsize=32)
def variable_names(kind: str) -> tuple[str, ...]:
    """Columns of the traces of a kind of module."""
    return tuple(variable.name for variable in KINDS[kind].variables)


def sample_count(kind: str, minutes: float, most: int = MAX_SAMPLES) -> int:
    """Rows of a trace of a recipe that takes so long, `most` at most.

    >>> sample_count("etch", 1.0), sample_count("diffusion", 120.0), sample_count("etch", 1.0, 60)
    (120, 240, 60)
    """
    return min(max(int(minutes * 60.0 * KINDS[kind].rate_hz), _MIN_SAMPLES), most)


def sample_period_ms(kind: str, minutes: float, most: int = MAX_SAMPLES) -> float:
    """Nominal time between two rows of it: they cover the recipe."""
    return minutes * 60_000.0 / sample_count(kind, minutes, most)


@lru_cache(maxsize=512)
def phase_slices(kind: str, samples: int) -> dict[str, slice]:
    """Which rows of a trace belong to which step of the recipe, in order."""
    slices, begin, share = {}, 0, 0.0
    for phase in KINDS[kind].phases:
        share += phase.share
        end = round(share * samples)
        slices[phase.name] = slice(begin, end)
        begin = end
    return slices


@lru_cache(maxsize=512)
def recipe_steps(kind: str, samples: int) -> Array:
    """(samples,) uint8: the number of the recipe step that each row of a trace belongs to, from 1.

    >>> recipe_steps("litho", 8).numpy()
    array([1, 2, 2, 2, 2, 2, 2, 3], dtype=uint8)
    """
    found = np.zeros(samples, dtype=np.uint8)
    for number, rows in enumerate(phase_slices(kind, samples).values(), 1):
        found[rows] = number
    return Array.of(found)


def draw_trace(
    kind: str,
    minutes: float,
    levels: Floats,
    shifts: Floats,
    *,
    order: int,
    faults: Sequence[SensorFault],
    random: np.random.Generator,
    most: int = MAX_SAMPLES,
) -> DrawnTrace:
    """The trace of one wafer, or of one batch.

    Args:
        kind: of the module.
        minutes: of the recipe.
        levels: (variables,) set points in the main phase, in the variables' units.
        shifts: (variables,) of this wafer's mean, in wafer-to-wafer deviations.
        order: wafers of the same lot that the module has treated just before; 0 for the first,
            which finds the module cold.
        faults: of the module's sensors, those that show on this wafer.
        random: the trace's own stream.
        most: rows; a recipe that would need more is sampled more slowly.
    """
    samples = sample_count(kind, minutes, most)
    period_ms = sample_period_ms(kind, minutes, most)
    plan = _plan(kind, samples, period_ms)
    late = np.abs(random.standard_normal(samples, dtype=np.float32)) * np.float32(_LATE)
    late = np.minimum(late, np.float32(_LATEST))
    # Row 0 is the wafer's own deviation, the others are its noise.
    normal = random.standard_normal((samples + 1, len(levels)), dtype=np.float32)
    causes = random.standard_normal((samples + 1, len(plan.shared)), dtype=np.float32)
    normal *= plan.own
    for number, (columns, weights) in enumerate(plan.shared):
        normal[:, columns] += causes[:, number, None] * weights
    wafer = normal[0] + shifts.astype(np.float32)
    if order < 40:
        wafer += plan.warm * np.float32(_cooling(order))
    noise = normal[1:]
    noise[1:] *= plan.fresh
    noise[0] *= np.float32(_NOISE)
    _remember(noise, plan.memory)
    noise += wafer
    noise *= plan.amplitude
    values = plan.course + plan.slope * late[:, None]
    values *= levels.astype(np.float32)
    values += noise
    for fault in faults:
        column = variable_names(kind).index(fault.variable)
        spread = KINDS[kind].variables[column].spread
        apply_fault(fault, values[:, column], float(levels[column]), spread, random)
    times = (np.arange(samples, dtype=np.float64) + late) * period_ms
    return DrawnTrace(values, times.astype(np.float32))


def _decay(time: float, constant: float) -> float:
    """exp(-time / constant), rounded so that all libraries of mathematics agree on it."""
    return round(math.exp(-time / constant), 12)


@lru_cache(maxsize=64)
def _cooling(order: int) -> float:
    return _decay(order, _WARM_UP_WAFERS)


def _remember(values: npt.NDArray[np.floating], memory: npt.NDArray[np.floating]) -> None:
    """A first-order recursion down the rows, y[t] = x[t] + memory * y[t - 1], in place.

    By doubling: after k rounds each row holds the 2**k rows before it.

    Args:
        values: (rows, columns).
        memory: (columns,), 0 to 1.
    """
    reach, left = 1, memory.copy()
    while reach < len(values) and left.max() > _FORGOTTEN:
        values[reach:] += left * values[:-reach]
        left *= left
        reach *= 2


@lru_cache(maxsize=512)
def _plan(kind: str, samples: int, period_ms: float) -> _Plan:
    spec = KINDS[kind]
    variables = spec.variables
    shares = {"stabilise": "idle", "main": "", "over_etch": "over", "purge": "purge"}
    target = np.ones((samples, len(variables)))
    for name, rows in phase_slices(kind, samples).items():
        if shares[name]:
            target[rows] = [getattr(variable, shares[name]) for variable in variables]
    period_s = period_ms / 1000.0
    follow = np.array([_decay(period_s, variable.lag_s) for variable in variables])
    memory = np.array([_decay(period_s, _FADES * variable.lag_s) for variable in variables])
    # First-order lag: each sample goes a fixed share of the way to its set point.
    course = target * (1.0 - follow)
    course[0] = target[0]
    _remember(course, follow)
    slope = np.vstack([np.diff(course, axis=0), np.zeros((1, len(variables)))])
    spread = np.array([variable.spread for variable in variables])
    ties = [variable.tied or ("", 0.0) for variable in variables]
    shared = []
    for cause in sorted({cause for cause, _ in ties if cause}):
        columns = [column for column, (name, _) in enumerate(ties) if name == cause]
        weights = np.array([ties[column][1] for column in columns], dtype=np.float32)
        shared.append((np.array(columns, dtype=np.intp), weights))
    weight = np.array([weight for _, weight in ties])
    return _Plan(
        course.astype(np.float32),
        slope.astype(np.float32),
        (spread * (_FLOOR + (1.0 - _FLOOR) * course)).astype(np.float32),
        memory.astype(np.float32),
        (_NOISE * np.sqrt(1.0 - memory**2)).astype(np.float32),
        np.sqrt(1.0 - weight**2).astype(np.float32),
        tuple(shared),
        np.array([variable.warm for variable in variables], dtype=np.float32),
    )
