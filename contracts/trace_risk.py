"""Defect risk in a model file: how a run becomes the graph's inputs, and what comes out.

The graph takes, for N runs, `deviations` float32 (N, V), how far the mean of each variable is from
that of recent runs, and `prior` (N,), the log-odds of failing lately. It returns `probability` (N,)
of failing, and `contributions` (N, V), what each variable adds to its log-odds.

A learner goes on with each result (`models.traces`); the file holds where it stood when training
ended, and who serves it compares with that.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.errors import ModelFileError
from contracts.trace_model import TraceCard

__all__ = [
    "INPUTS",
    "OUTPUTS",
    "SHARED_SIGNALS",
    "RiskState",
    "deviations_from",
    "log_odds_of",
    "means_of_run",
    "read_risk",
]

INPUTS = ("deviations", "prior")
OUTPUTS = ("probability", "contributions")
SHARED_SIGNALS = 0.5
"""A run may lack some of the signals that were learned from, not most."""
# Beyond it a deviation says no more.
_CLIP = 4.0

Floats = npt.NDArray[np.float64]


class RiskState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a learner stood when its file was written; arrays as in `models.traces.risk_learner`.

    Attributes:
        last_order: of the newest wafer it knows.
        threads: of recipe, step and module that it was learned from; none in older files.
    """

    window: Array
    sums: Array
    rate: Array
    remembered: Array
    middle: Array
    spread: Array
    wafers: int
    since_refresh: int
    last_order: float
    threads: tuple[str, ...] = ()


def read_risk(card: TraceCard) -> RiskState:
    """The state in a card.

    Raises:
        ModelFileError: it is none of ours.
    """
    try:
        return msgspec.json.decode(card.detail, type=RiskState)
    except msgspec.DecodeError as error:
        raise ModelFileError(f"the model's state is not ours: {error}") from error


def means_of_run(values: npt.NDArray[np.float32]) -> Floats:
    """(V,) the mean of each variable of (T, V); NaN where no sample is."""
    there = ~np.isnan(values)
    n = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0, dtype=np.float64)
    found: Floats = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    return found


def deviations_from(signals: Floats, middle: Floats, spread: Floats) -> Floats:
    """(V,) how far signals are from the middle of recent ones; 0 where unknown."""
    z = (signals - middle) / spread
    found: Floats = np.clip(np.nan_to_num(z, nan=0.0), -_CLIP, _CLIP)
    return found


def log_odds_of(rate: Floats) -> float:
    """Log-odds of failing lately, from (2,) decayed failures and wafers."""
    return float(np.log(rate[0] / (rate[1] - rate[0])))
