"""How good predictions of measurements are, as they are and put right by late measurements."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.late_correction import LateCorrection
from models.traces.task import TraceReport

__all__ = ["DELAY_RUNS", "Predictions", "corrected_late", "losses_of", "report_of"]

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
        group: (N,) str, the lot.
    """

    predicted: FloatArray
    half_width: FloatArray
    target: FloatArray
    order: FloatArray
    thread: npt.NDArray[np.str_]
    group: npt.NDArray[np.str_]


def report_of(
    said: Predictions, more: dict[str, Any], begin: Mapping[str, LateCorrection] | None = None
) -> TraceReport:
    """The figures; those in `more` named `..._late` are with measurements two runs late.

    Args:
        said: as the model said them.
        more: further figures.
        begin: per thread, where late correction begins.
    """
    error = said.predicted - said.target
    late = corrected_late(said, begin)
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


def corrected_late(
    said: Predictions, begin: Mapping[str, LateCorrection] | None = None
) -> Predictions:
    """The same predictions, each put right by what had been measured by then.

    Args:
        said: as the model said them.
        begin: per thread, where late correction begins.
    """
    predicted, half = said.predicted.copy(), said.half_width.copy()
    for thread, rows in _by_thread(said):
        states = _states(said, rows, (begin or {}).get(thread, LateCorrection()))
        for row, state in zip(rows, states, strict=True):
            told = state.corrected(
                float(said.predicted[row]), float(said.half_width[row]), str(said.group[row])
            )
            predicted[row], half[row] = told.predicted, (told.high - told.low) / 2
    return replace(said, predicted=predicted, half_width=half)


def losses_of(said: Predictions) -> tuple[float, ...]:
    """How well each estimate of late correction would have done on these runs of one thread."""
    _, rows = next(_by_thread(said))
    return _states(said, rows, LateCorrection())[-1].losses


def _states(said: Predictions, rows: list[int], state: LateCorrection) -> list[LateCorrection]:
    """The state at each run of a thread: what was measured `DELAY_RUNS` runs before is known."""
    states: list[LateCorrection] = []
    for place in range(len(rows)):
        if place >= DELAY_RUNS:
            row = rows[place - DELAY_RUNS]
            state = state.learned(
                float(said.predicted[row]),
                float(said.half_width[row]),
                float(said.target[row]),
                str(said.group[row]),
                states[place - DELAY_RUNS],
            )
        states.append(state)
    return states


def _by_thread(said: Predictions) -> Iterator[tuple[str, list[int]]]:
    """Each thread with its rows, earliest first."""
    for thread in np.unique(said.thread):
        rows = np.flatnonzero(said.thread == thread)
        yield str(thread), rows[np.argsort(said.order[rows], kind="stable")].tolist()


def _rmse(error: FloatArray) -> float:
    return float(np.sqrt(np.mean(error**2)))
