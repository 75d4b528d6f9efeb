"""What fault detection learns of a recipe: its steps, and what the readings are like."""

from collections import Counter

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from contracts.trace_steps import (
    DURATION,
    ENOUGH,
    ONE_STEP,
    Feature,
    Layout,
    StepLayout,
    Trouble,
    about_a_line,
    main_part,
)
from contracts.trace_steps import measure as measure_run
from models.traces.data import Run, TraceSet

__all__ = ["DURATION", "Feature", "Layout", "Trouble", "learn_layout", "measure"]

# A step that fewer of the training runs have is no part of the recipe.
_IN_RECIPE = 0.8
_FEWEST_SAMPLES = 10
Floats = npt.NDArray[np.float64]


def learn_layout(traces: TraceSet) -> Layout:
    """The recipe's steps, and what the readings are like, from normal runs.

    Raises:
        DatasetError: no step that most runs have.
    """
    counts = Counter(
        int(step)
        for run in traces.runs
        for step, n in zip(*np.unique(_steps(run), return_counts=True), strict=True)
        if n >= _FEWEST_SAMPLES
    )
    common = sorted(step for step, runs in counts.items() if runs >= _IN_RECIPE * len(traces))
    if not common:
        raise DatasetError(
            f"{traces.name}: no step with {_FEWEST_SAMPLES} samples in {_IN_RECIPE:.0%} of the"
            " runs; fault detection needs traces of one recipe"
        )
    resolution = _resolution(traces)
    steps = []
    for step in common:
        parts = [run.values[_steps(run) == step] for run in traces.runs]
        usual = int(np.median([len(part) for part in parts if len(part) >= _FEWEST_SAMPLES]))
        noise = [_noise(part, usual) for part in parts if len(part) >= ENOUGH * usual]
        typical = np.nan_to_num(np.nanmedian(np.array(noise), axis=0))
        steps.append(StepLayout(step, usual, tuple(typical.tolist())))
    return Layout(traces.variables, tuple(resolution.tolist()), tuple(steps))


def measure(run: Run, layout: Layout) -> tuple[Floats, tuple[Trouble, ...]]:
    """The features (P,) of a run and its sensors' troubles; its variables are the layout's."""
    return measure_run(layout, run.values, run.times_s, run.step)


def _noise(values: npt.NDArray[np.float32], usual: int) -> Floats:
    return about_a_line(main_part(values.astype(np.float64), usual)[1])


def _resolution(traces: TraceSet) -> Floats:
    """(V,) the smallest difference between neighbouring samples that are not the same."""
    smallest = np.full(len(traces.variables), np.inf)
    for run in traces.runs:
        change = np.abs(np.diff(run.values.astype(np.float64), axis=0))
        scale = np.abs(run.values).max(axis=0, initial=0.0)
        # float32 has 7 digits: less is no step of a sensor.
        change = np.where(change > 1e-6 * np.maximum(scale, 1e-3), change, np.inf)
        smallest = np.minimum(
            smallest, np.nan_to_num(change, nan=np.inf).min(axis=0, initial=np.inf)
        )
    return np.where(np.isfinite(smallest), smallest, 0.0)


def _steps(run: Run) -> npt.NDArray[np.int64]:
    if run.step is None:
        return np.full(len(run.values), ONE_STEP, dtype=np.int64)
    return run.step
