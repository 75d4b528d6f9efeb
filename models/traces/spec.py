"""Which features a thread of runs calls for: its steps, its phases, its counters."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contracts.trace_features import Driver, FeatureSpec
from models.traces.data import Run

__all__ = ["learn_spec"]

# A step in fewer of the runs than this is an exception, and has no features of its own.
_STEP_SHARE = 0.5
_MAX_STEPS = 12
# Runs to look at: their statistics need no more.
_LOOKED_AT = 200
# The share of the others' variance that two levels of a driver must explain on average.
_EXPLAINED = 0.1


def learn_spec(runs: Sequence[Run], variables: tuple[str, ...]) -> FeatureSpec:
    """The spec of a thread, from the traces of its runs alone.

    Args:
        runs: at least one.
        variables: V names.
    """
    rows = np.unique(np.linspace(0, len(runs) - 1, _LOOKED_AT).astype(np.int64))
    some = [runs[row] for row in rows if len(runs[row].values)]
    counters = _counters(some, len(variables))
    return FeatureSpec(
        variables=variables,
        counters=counters,
        steps=_steps(some),
        drivers=_drivers(some, counters),
    )


def _steps(runs: Sequence[Run]) -> tuple[int, ...]:
    found: dict[int, int] = {}
    for run in runs:
        for step in np.unique(run.step) if run.step is not None else ():
            found[int(step)] = found.get(int(step), 0) + 1
    often = sorted(step for step, count in found.items() if count >= _STEP_SHARE * len(runs))
    # One step alone is the run over again.
    return tuple(often[:_MAX_STEPS]) if len(often) > 1 else ()


def _counters(runs: Sequence[Run], width: int) -> tuple[int, ...]:
    """Variables that never fall in a run, and differ more between runs than they rise in one."""
    if len(runs) < 3:
        return ()
    falls = np.zeros(width)
    for run in runs:
        falls += (np.diff(run.values, axis=0) < 0).sum(axis=0)
    starts = np.stack([run.values[0] for run in runs]).astype(np.float64)
    ends = np.stack([run.values[-1] for run in runs]).astype(np.float64)
    samples = sum(len(run.values) for run in runs)
    rises = np.median(ends - starts, axis=0)
    often = (ends > starts).mean(axis=0)
    between = starts.std(axis=0)
    is_counter = (falls <= 1e-3 * samples) & (often > 0.1) & (between > 5 * np.maximum(rises, 0))
    return tuple(int(i) for i in np.flatnonzero(is_counter & (between > 0)))


def _drivers(runs: Sequence[Run], counters: tuple[int, ...]) -> tuple[Driver, ...]:
    """The variable that tells on from off, and the one that cuts in two what is on."""
    pooled = np.concatenate([run.values for run in runs]).astype(np.float64)
    pooled = pooled[np.all(np.isfinite(pooled), axis=1)]
    first = _driver(pooled, counters)
    if first is None:
        return ()
    on = pooled[pooled[:, first.column] > first.threshold]
    second = _driver(on, counters)
    return (first,) if second is None else (first, second)


def _driver(pooled: npt.NDArray[np.float64], counters: tuple[int, ...]) -> Driver | None:
    """The variable whose two levels explain most of the others, and the value between them."""
    columns = [i for i in range(pooled.shape[1]) if i not in counters]
    signals = [i for i in columns if len(pooled) and pooled[:, i].std() > 0]
    if len(signals) < 2:
        return None
    x = pooled[:, signals]
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    best, found = _EXPLAINED, None
    for place, column in enumerate(signals):
        low, high = np.quantile(x[:, place], (0.05, 0.95))
        threshold = float(low + high) / 2
        on: npt.NDArray[np.bool_] = x[:, place] > threshold
        share = float(on.mean())
        if not 0.05 < share < 0.95:
            continue
        gap = z[on].mean(axis=0) - z[~on].mean(axis=0)
        of_each = share * (1 - share) * gap**2
        # A set-point that is switched has two levels and nothing between; what only follows it has
        # more, and would put the border where the process is still on its way.
        explained = float(of_each[place] * np.mean(np.delete(of_each, place)))
        if explained > best:
            best, found = explained, Driver(column, threshold)
    return found
