"""SECOM: one row a wafer, hundreds of anonymous sensor signals, and whether it failed at test.

M. McCann and A. Johnston, UCI Machine Learning Repository 179, 2008. A Parquet file with
`timestamp`, `label` (-1 passed, 1 failed; empty where unknown) and the signals `V*`.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import DatasetError
from models.traces.data import ALL_PARTS, Run, TraceSet, check_part

__all__ = ["load", "matches"]

_NEEDED = frozenset({"timestamp", "label"})
# The set has 1,567 rows of 590 signals; a thousand times that is another one.
_MAX_CELLS = 1024**3


def matches(path: Path) -> bool:
    """Whether it is a Parquet file with `timestamp`, `label` and columns named V1, V2 and so on."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    try:
        names = set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return False
    return names >= _NEEDED and any(_is_signal(name) for name in names)


def load(path: Path, part: str | None) -> TraceSet:
    """Read the file, earliest row first. A run is one sample of all signals.

    Target: 1 for a wafer that failed, 0 for one that passed, NaN where the label is empty. Order is
    seconds since 1970.

    Raises:
        DatasetError: the file is damaged, or a label is neither -1 nor 1.
    """
    chosen = check_part(path, part, (ALL_PARTS,), ALL_PARTS)
    try:
        facts = pq.read_metadata(path)
        if facts.num_rows * facts.num_columns > _MAX_CELLS:
            raise DatasetError(f"{path} has more than {_MAX_CELLS:,} cells; this is another set")
        table = pq.read_table(path)
        signals = tuple(name for name in table.column_names if _is_signal(name))
        when = table["timestamp"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy() / 1e6
        label = table["label"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        columns = [table[name].cast(pa.float32()).to_numpy() for name in signals]
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if not len(when) or not np.all(np.isfinite(when)):
        raise DatasetError(f"{path} has no rows, or rows without a timestamp")
    known = np.isfinite(label)
    if not np.all(np.isin(label[known], (-1.0, 1.0))):
        raise DatasetError(f"{path}: a label must be -1 (passed) or 1 (failed), or empty")
    values = np.stack(columns, axis=1)
    values[~np.isfinite(values)] = np.nan
    start = np.zeros(1)
    whole = TraceSet(
        name="secom",
        runs=tuple(Run(row[np.newaxis], start) for row in values),
        variables=signals,
        group=np.arange(len(when)).astype(np.str_),
        order=when,
        target=np.where(known, (label + 1) / 2, np.nan),
        part=chosen,
    )
    return whole.in_time()


def _is_signal(name: str) -> bool:
    return name.startswith("V") and name[1:].isdigit()
