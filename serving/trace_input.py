"""A trace on the log as what features are computed from; refuses what is no trace at all."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import TraceError
from contracts.events import Trace
from contracts.recipe_steps import recipe_steps_of

__all__ = ["Samples", "samples_of"]


class Samples(NamedTuple):
    """What a model is given of a trace.

    Attributes:
        values: (T, V) float32 in the order of the model's variables, NaN where there is none.
        times_s: (T,) float64, from the start of the trace, never falling.
        missing: variables of the model that the trace does not have.
        recipe_steps: (T,) int64, the recipe step of each sample; None where the trace does not say.
    """

    values: npt.NDArray[np.float32]
    times_s: npt.NDArray[np.float64]
    missing: tuple[str, ...]
    recipe_steps: npt.NDArray[np.int64] | None


def samples_of(trace: Trace, variables: tuple[str, ...]) -> Samples:
    """The samples of these variables.

    Args:
        trace: as it came.
        variables: of the model; it need not have all of them.

    Raises:
        TraceError: the array does not fit the names, there is no sample, times that fall or are no
            numbers, recipe steps that are not one a sample, or none of the variables is there.
        CodecError: an array that lies about its size.
    """
    where = f"trace {trace.event_id} of {trace.key}"
    given = trace.values.numpy()
    if given.ndim != 2 or given.shape[1] != len(trace.variables) or given.dtype != np.float32:
        raise TraceError(
            f"{where}: values must be (samples, {len(trace.variables)} variables) float32, they are"
            f" {given.shape} of {given.dtype}"
        )
    if not len(given):
        raise TraceError(f"{where} has no sample")
    column = {name: place for place, name in enumerate(trace.variables)}
    missing = tuple(name for name in variables if name not in column)
    if len(missing) == len(variables):
        raise TraceError(
            f"{where} has none of the variables that the model was learned from, such as"
            f" {', '.join(variables[:3])}"
        )
    values = np.full((len(given), len(variables)), np.nan, dtype=np.float32)
    for place, name in enumerate(variables):
        if name in column:
            values[:, place] = given[:, column[name]]
    values[~np.isfinite(values)] = np.nan
    steps = recipe_steps_of(trace, len(given))
    times_s = _times_s(trace, len(given), where)
    return Samples(values, times_s, missing, None if steps is None else steps.astype(np.int64))


def _times_s(trace: Trace, samples: int, where: str) -> npt.NDArray[np.float64]:
    if trace.times_ms is None:
        # Not a number compares false with everything; ask for what must hold.
        if not 0.0 < trace.sample_period_ms < np.inf:
            raise TraceError(f"{where}: a sample period of {trace.sample_period_ms} ms")
        return np.arange(samples, dtype=np.float64) * (trace.sample_period_ms / 1000.0)
    times = trace.times_ms.numpy()
    if times.shape != (samples,) or not np.all(np.isfinite(times)):
        raise TraceError(f"{where}: its times are not {samples} numbers")
    found: npt.NDArray[np.float64] = np.divide(times, 1000.0, dtype=np.float64)
    if np.any(np.diff(found) < 0.0):
        raise TraceError(f"{where}: its times fall")
    return found
