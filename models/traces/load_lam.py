"""LAM 9600 metal etch: wafers of some experiments, a few of them with an induced fault.

B. M. Wise et al., J. Chemometrics 13 (1999) 379-396. The file is an .npz with `data` (rows,
variables), `offsets`, `wafer` such as 'l2915.txm' (experiment 29, its 15th wafer), `fault`
('normal', or what was changed, such as 'TCP +50') and `variables`.

Two things of this set must be known to whoever reads a figure about it:

- The last row of nearly every wafer is the first row of the next: Time jumps back there. Only the
  longest stretch in which Time rises is read, so that row is dropped. The file is sorted by label,
  not by time; what the order was is told by the wafers' names.
- After the faults had been induced, the authors moved the changed sensor's readings back to their
  normal mean, as if the sensor were off and not the process. So the changed variable mostly looks
  normal and its consequences do not. The moved readings are no whole numbers any more, while all
  others are: that gives every fault away, is an artefact, and nothing here looks at it.
"""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from models.npz import read_npz
from models.traces.data import ALL_PARTS, Run, TraceSet, check_part

__all__ = ["NEEDED", "NORMAL", "load"]

NEEDED = frozenset({"data", "offsets", "wafer", "fault", "variables"})
NORMAL = "normal"
_TIME, _STEP = "Time", "Step Number"
_WAFER = re.compile(r"\D*(\d\d)(\d\d)\b")


def load(path: Path, part: str | None) -> TraceSet:
    """Read the file, or one of its parts: an experiment ('29'), or its normal wafers ('normal-29').

    Context: `experiment` and `wafer` (str). Order is the experiment, then the wafer's number.

    Raises:
        DatasetError: the file is damaged or contradicts itself.
    """
    arrays = read_npz(path)
    if missing := NEEDED - set(arrays):
        raise DatasetError(f"{path} lacks {', '.join(sorted(missing))}")
    names = [str(name) for name in arrays["variables"]]
    data, offsets = arrays["data"].astype(np.float64), arrays["offsets"].astype(np.int64)
    wafers = arrays["wafer"].astype(np.str_)
    faults = tuple(str(label) for label in arrays["fault"])
    n = len(wafers)
    if {_TIME, _STEP} - set(names):
        raise DatasetError(f"{path}: its variables must include {_TIME!r} and {_STEP!r}")
    if data.ndim != 2 or data.shape[1] != len(names) or len(faults) != n:
        raise DatasetError(f"{path}: its arrays do not fit each other")
    if len(offsets) != n + 1 or np.any(np.diff(offsets) < 0) or offsets[-1] > len(data):
        raise DatasetError(f"{path}: its offsets do not fit {n} wafers and {len(data)} rows")
    experiment, number = _numbered(path, wafers)
    time, step = names.index(_TIME), names.index(_STEP)
    kept = [column for column in range(len(names)) if column not in (time, step)]
    whole = TraceSet(
        name="lam9600",
        runs=tuple(_run(data[a:b], time, step, kept) for a, b in pairwise(offsets)),
        variables=tuple(names[column] for column in kept),
        group=wafers,
        order=experiment.astype(np.float64) * 1000 + number,
        context={"experiment": experiment, "wafer": wafers},
        fault=faults,
    )
    is_normal = np.array([label == NORMAL for label in faults])
    rows = {ALL_PARTS: np.ones(n, dtype=bool)}
    for name in np.unique(experiment).tolist():
        rows[name] = experiment == name
        rows[f"{NORMAL}-{name}"] = rows[name] & is_normal
    chosen = check_part(path, part, tuple(rows), ALL_PARTS)
    return replace(whole, parts=tuple(rows)).subset(rows[chosen], chosen)


def _numbered(
    path: Path, wafers: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]:
    """Experiment and number of each wafer, from its name."""
    found = [_WAFER.match(name) for name in wafers]
    if any(match is None for match in found):
        strange = next(name for name, match in zip(wafers, found, strict=True) if match is None)
        raise DatasetError(
            f"{path}: wafer {strange!r} is not named like 'l2915.txm' (experiment 29, wafer 15);"
            " without it the order of the wafers is unknown"
        )
    parts = [match.groups() for match in found if match is not None]
    return np.array([a for a, _ in parts]), np.array([int(b) for _, b in parts])


def _run(rows: npt.NDArray[np.float64], time: int, step: int, kept: list[int]) -> Run:
    """The longest stretch of a wafer's rows in which Time rises."""
    bounds = np.r_[0, np.flatnonzero(np.diff(rows[:, time]) <= 0) + 1, len(rows)]
    longest = int(np.argmax(np.diff(bounds)))
    own = rows[bounds[longest] : bounds[longest + 1]]
    values = own[:, kept].astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    start = own[0, time] if len(own) else 0.0
    return Run(values, own[:, time] - start, own[:, step].astype(np.int64))
