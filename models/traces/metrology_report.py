"""How good predictions of measurements are, as they are and put right by late measurements."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.late_correction import LateCorrection
from models.traces.task import TraceReport

__all__ = ["DELAY_RUNS", "Predictions", "corrected_late", "report_of"]

FloatArray = npt.NDArray[np.float64]

DELAY_RUNS = 2
"""A run's measurement is known when the second run of its thread after it is predicted."""


@dataclass(frozen=True)
class Predictions:
    """What a model said of N measured runs.

    Attributes:
        predicted: (N,) in the target's unit.
        half_width: (N,) of the 90 % interval.
        target: (N,) what was measured.
        order: (N,) when.
        thread: (N,) str.
    """

    predicted: FloatArray
    half_width: FloatArray
    target: FloatArray
    order: FloatArray
    thread: npt.NDArray[np.str_]


def report_of(said: Predictions, more: dict[str, Any]) -> TraceReport:
    """The figures; those in `more` named `..._late` are with measurements two runs late."""
    error = said.predicted - said.target
    late = corrected_late(said, DELAY_RUNS)
    late_error = late.predicted - said.target
    threads = {str(name): _rmse(error[said.thread == name]) for name in np.unique(said.thread)}
    return TraceReport(
        task="metrology",
        n=len(error),
        rmse=_rmse(error),
        mse=float(np.mean(error**2)),
        coverage90=float(np.mean(np.abs(error) <= said.half_width)),
        more={
            "r2": 1.0 - float(np.mean(error**2) / max(float(np.var(said.target)), 1e-30)),
            "mean_half_width": float(said.half_width.mean()),
            "rmse_late": _rmse(late_error),
            "coverage90_late": float(np.mean(np.abs(late_error) <= late.half_width)),
            "delay_runs": DELAY_RUNS,
            "rmse_by_thread": threads,
            **more,
        },
    )


def corrected_late(said: Predictions, delay_runs: int) -> Predictions:
    """The same predictions, each put right by what had been measured by then.

    Args:
        said: as the model said them.
        delay_runs: how many runs of its thread later a run's measurement is known.
    """
    predicted, half = said.predicted.copy(), said.half_width.copy()
    for thread in np.unique(said.thread):
        rows = np.flatnonzero(said.thread == thread)
        rows = rows[np.argsort(said.order[rows], kind="stable")]
        state = LateCorrection()
        for place, row in enumerate(rows):
            if place >= delay_runs:
                known = rows[place - delay_runs]
                state = state.learned(
                    float(said.predicted[known]),
                    float(said.half_width[known]),
                    float(said.target[known]),
                )
            told = state.corrected(float(said.predicted[row]), float(said.half_width[row]))
            predicted[row], half[row] = told.predicted, (told.high - told.low) / 2
    return Predictions(predicted, half, said.target, said.order, said.thread)


def _rmse(error: FloatArray) -> float:
    return float(np.sqrt(np.mean(error**2)))
