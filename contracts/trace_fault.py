"""Fault detection in a model file: how a run becomes the graph's input, and what comes out.

The graph takes, for N runs, `deviations` float32 (N, P): how far each feature of
`contracts.trace_steps` is from what its thread (recipe, step, module) shows when all is well, in
standard deviations, NaN where unknown. It returns `score` (N,), over its limit: one normal run in a
hundred is beyond 1; and `contributions` (N, V), what each of `variable_names` adds to it; and more.

What a thread shows is followed from run to run while a model is judged (`models.traces`); the file
holds where each thread stood when training ended, and who serves it compares with that.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.errors import ModelFileError
from contracts.trace_steps import Layout, Trouble, measure

__all__ = [
    "INPUT",
    "KNOWN_SHARE",
    "FaultDetail",
    "FaultReference",
    "deviations_of_run",
    "variable_names",
]

INPUT = "deviations"
KNOWN_SHARE = 0.4
"""A run of whose features less is known is not judged."""


class FaultReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the runs of one thread look like.

    Attributes:
        thread: its name, as `contracts.trace_threads` has it.
        level: (P,) float32, NaN for a feature that was never known.
        deviation: (P,) float32, standard deviation of the next run about it.
    """

    thread: str
    level: Array
    deviation: Array


class FaultDetail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a fault model's card says beyond the graph.

    Attributes:
        layout: how features are computed.
        gain, scale, warm_up, floor: (P,) of tool matching, `models.traces.tool_matching`.
        univariate_limit: of the greatest deviation, for one false alarm in a hundred. The score is
            in units of its limit.
        learned: digests of the runs it was trained on, so that nobody judges it on them.
        references: where each thread stood at the end of training; none in files older than this.
    """

    layout: Layout
    gain: Array
    scale: Array
    warm_up: Array
    floor: Array
    univariate_limit: float
    learned: tuple[str, ...]
    references: tuple[FaultReference, ...] = ()

    @classmethod
    def read(cls, document: msgspec.Raw) -> "FaultDetail":
        """From a card.

        Raises:
            ModelFileError: it is none, or contradicts itself.
        """
        try:
            detail = msgspec.json.decode(document, type=cls)
        except msgspec.DecodeError as error:
            raise ModelFileError(f"the model's fault detection is not ours: {error}") from error
        p = len(detail.layout.features())
        known = [
            x for reference in detail.references for x in (reference.level, reference.deviation)
        ]
        if any(x.shape != (p,) for x in (detail.gain, detail.scale, detail.warm_up, detail.floor)):
            raise ModelFileError("the model's tool matching does not fit its features")
        if any(x.shape != (p,) or x.dtype != "<f4" for x in known):
            raise ModelFileError("the model's references do not fit its features")
        return detail


def variable_names(layout: Layout) -> tuple[str, ...]:
    """The variables that contributions name: those of the traces, and a step's duration."""
    return tuple(dict.fromkeys(feature.variable for feature in layout.features()))


def deviations_of_run(
    detail: FaultDetail,
    reference: FaultReference,
    values: npt.NDArray[np.float32],
    times_s: npt.NDArray[np.float64],
    step: npt.NDArray[np.int64] | None,
) -> tuple[npt.NDArray[np.float32], tuple[Trouble, ...]]:
    """A row of the graph's input, (P,) float32, and why parts of the run cannot be judged.

    Args:
        detail: of the model.
        reference: of the run's thread.
        values: (T, V) in the order of the layout's variables, NaN where a sample is missing.
        times_s: (T,), never falling.
        step: (T,) recipe step of each sample, from 1; None where there is none. A model that was
            learned without recipe steps does not look at them.
    """
    if not detail.layout.by_step:
        step = None
    features, troubles = measure(detail.layout, values, times_s, step)
    level, deviation = (
        x.numpy().astype(np.float64) for x in (reference.level, reference.deviation)
    )
    found = (features - level) / deviation
    # A reading of 1e38 is a broken sensor; float32 must still hold how far it is off.
    return np.clip(found, -1e6, 1e6).astype(np.float32), troubles
