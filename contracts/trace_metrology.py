"""Virtual metrology in a model file: how a run becomes the graph's input, and what comes out.

The graph takes, for N runs, `features` float32 (N, F) from `contracts.trace_features`, padded with
zeros to the widest thread's; `thread` (N, 1), the index of the run's thread; and `known_until`
(N, 1), seconds since `origin_s`: measurements of learned runs that ended later are not used. It
returns `predicted` (N,) in the target's unit, `half_width` (N,) of the interval that holds the
measured value in 90 % of cases, and `novelty` (N,): 1 is what one learned run in a hundred reaches.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import ModelFileError
from contracts.trace_features import FeatureSpec, feature_names, trace_features
from contracts.trace_model import TraceCard

__all__ = [
    "ALL_KNOWN",
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "MetrologyDetail",
    "ThreadDetail",
    "decode_detail",
    "features_of_run",
]

INPUT_NAMES = ("features", "thread", "known_until")
OUTPUT_NAMES = ("predicted", "half_width", "novelty")
ALL_KNOWN = 3.0e38
"""As `known_until`: every measurement that was learned from."""


class ThreadDetail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thread: runs that share product, recipe and module, and so a model.

    Attributes:
        name: such as 'A 4-6', or 'all'.
        spec: how its features are computed.
        learned: measured runs it was learned from.
        middle: median of their targets.
        reach: how far from `middle` a target may lie before it is taken for an outlier.
        losses: of `LateCorrection`, where it begins: what helped on learned runs left out.
    """

    name: str
    spec: FeatureSpec
    learned: int
    middle: float
    reach: float
    losses: tuple[float, ...]


class MetrologyDetail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The card's detail.

    Attributes:
        threads: in the order of their indices, the one with the most runs first.
        unit: of the target.
        origin_s: what `known_until` counts from, in the clock of the training set.
        parameter: what the target is called, with its unit as suffix; '' where nobody said.
    """

    threads: tuple[ThreadDetail, ...]
    unit: str
    origin_s: float
    parameter: str = ""

    def width(self) -> int:
        """F, the features of the widest thread."""
        return max(len(feature_names(thread.spec)) for thread in self.threads)

    def index(self, thread: str) -> int | None:
        """A thread's index; None for one that was never learned."""
        names = [known.name for known in self.threads]
        return names.index(thread) if thread in names else None


def decode_detail(card: TraceCard) -> MetrologyDetail:
    """The detail of a card.

    Raises:
        ModelFileError: it is no card of virtual metrology.
    """
    try:
        detail = msgspec.json.decode(card.detail, type=MetrologyDetail)
    except msgspec.DecodeError as error:
        raise ModelFileError(
            f"the model's card is not one of virtual metrology: {error}"
        ) from error
    if not detail.threads:
        raise ModelFileError("the model knows no thread")
    return detail


def features_of_run(
    detail: MetrologyDetail,
    thread: int,
    values: npt.NDArray[np.float32],
    times_s: npt.NDArray[np.float64],
    step: npt.NDArray[np.int64] | None,
) -> npt.NDArray[np.float32]:
    """(F,) float32, a row of the graph's `features`.

    Args:
        detail: of the model.
        thread: index of the run's thread.
        values: (T, V) in the order of the card's variables, NaN where a sample is missing.
        times_s: (T,), never falling.
        step: (T,), or None.

    Raises:
        TraceError: another number of variables than the model's.
    """
    row = np.zeros(detail.width(), dtype=np.float32)
    found = trace_features(detail.threads[thread].spec, values, times_s, step)
    row[: len(found)] = found
    return row
