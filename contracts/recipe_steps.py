"""The recipe step of each row of a trace, checked: whoever reads a trace asks here."""

from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import TraceError
from contracts.events import Trace

__all__ = ["recipe_steps_of"]


def recipe_steps_of(trace: Trace, samples: int) -> npt.NDArray[np.uint8] | None:
    """(samples,) uint8: the recipe step that each row was read in; None where the trace says none.

    Args:
        trace: as it came.
        samples: rows of its values.

    Raises:
        TraceError: it has not one step for each row.
        CodecError: an array that lies about its size.
    """
    if trace.recipe_steps is None:
        return None
    steps: npt.NDArray[Any] = trace.recipe_steps.numpy()
    if steps.shape != (samples,) or steps.dtype != np.uint8:
        raise TraceError(
            f"trace {trace.event_id} of {trace.key}: its recipe steps must be {samples} of uint8,"
            f" one a sample; they are {steps.shape} of {steps.dtype}"
        )
    return steps
