"""Bosch plasma etch: lots of wafers, five signals at 5 Hz, etch depth measured afterwards.

Zenodo, doi 10.5281/zenodo.17122442 (CC BY 4.0).
"""

from pathlib import Path

import numpy as np

from contracts.errors import DatasetError
from models.npz import read_npz
from models.traces.data import ALL_PARTS, Run, TraceSet, check_part

__all__ = ["NEEDED", "load"]

NEEDED = frozenset({"data", "offsets", "lot", "wafer", "dt", "depth_um", "signals"})


def load(path: Path, part: str | None) -> TraceSet:
    """Read the file; its parts are `all` and one a lot, such as `lot-3`.

    Context: `lot` (str) and `place`, the wafer's number in its lot. Order is lot, then wafer: the
    file has no dates, and lots were etched in the order of their numbers.

    Raises:
        DatasetError: the file is damaged or contradicts itself.
    """
    arrays = read_npz(path)
    if missing := NEEDED - set(arrays):
        raise DatasetError(f"{path} lacks {', '.join(sorted(missing))}")
    offsets, data = arrays["offsets"].astype(np.int64), arrays["data"].astype(np.float32)
    lots, wafers = arrays["lot"].astype(np.int64), arrays["wafer"].astype(np.int64)
    n = len(lots)
    if len(offsets) != n + 1 or np.any(np.diff(offsets) < 0) or offsets[-1] > len(data):
        raise DatasetError(f"{path}: its offsets do not fit {n} wafers and {len(data)} rows")
    parts = (ALL_PARTS, *(f"lot-{lot}" for lot in np.unique(lots)))
    chosen = check_part(path, part, parts, ALL_PARTS)
    runs = tuple(
        Run(data[a:b], np.arange(b - a) * float(dt))
        for a, b, dt in zip(offsets[:-1], offsets[1:], arrays["dt"], strict=True)
    )
    names = np.array([f"lot-{lot}" for lot in lots])
    whole = TraceSet(
        name="bosch_etch",
        runs=runs,
        variables=tuple(str(name) for name in arrays["signals"]),
        group=names,
        order=(lots * 1000 + wafers).astype(np.float64),
        context={"lot": names, "place": wafers.astype(np.float64)},
        target=arrays["depth_um"].astype(np.float64),
        parts=parts,
        target_unit="um",
    )
    return whole if chosen == ALL_PARTS else whole.subset(names == chosen, chosen)
