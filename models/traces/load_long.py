"""A user's own traces: one Parquet file in long format, one row a sample.

| column | type | |
|---|---|---|
| `run` | text or integer | which run the row belongs to; required |
| `time_s` | number | seconds on any clock, the same for all rows of a run; required |
| `step` | integer | recipe step of the sample |
| `group` | text or integer | what must stay together in a split, as the lot; else the run |
| `order` | number or timestamp | when the run was; else the order of first appearance |
| `target` | number | what was measured afterwards; empty where nothing was |
| `fault` | text | label of an induced fault, or `normal`; empty where unknown |
| `part` | text | such as `train` and `validation`; else there is one part, `all` |
| `context_parameter` | text | what the target is called; needed to serve a metrology model |
| `context_NAME` | number or text | anything else known of the run: chamber, recipe |
| any other | number | a variable; empty where the sample is missing |

Columns of a run (`group` to `context_NAME`) are read from its first row.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import DatasetError
from models.traces.data import ALL_PARTS, Run, TraceSet, check_part

__all__ = ["MAX_CELLS", "load", "matches"]

_REQUIRED = frozenset({"run", "time_s"})
_OF_A_RUN = ("group", "order", "target", "fault", "part")
_CONTEXT = "context_"
# 1 GiB of float32; a table, a matrix and a sorted copy of it fit in the memory of a workstation.
MAX_CELLS = 256 * 1024**2
_MAX_COLUMNS = 4096


def matches(path: Path) -> bool:
    """Whether it is a Parquet file with `run` and `time_s`."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    try:
        return set(pq.read_schema(path).names) >= _REQUIRED
    except (OSError, pa.ArrowException):
        return False


def load(path: Path, part: str | None) -> TraceSet:
    """Read the file, or one of the parts its `part` column names.

    Raises:
        DatasetError: too large, a column of the wrong type, or no variable at all.
    """
    table = _read(path)
    names = _texts(table["run"])
    time = _numbers(path, table, "time_s")
    if not np.all(np.isfinite(time)):
        raise DatasetError(f"{path}: time_s is empty or not a number in some rows; fill it in")
    first, number = _first_rows(names)
    variables = tuple(
        name
        for name in table.column_names
        if name not in {*_REQUIRED, *_OF_A_RUN, "step"} and not name.startswith(_CONTEXT)
    )
    if not variables:
        raise DatasetError(f"{path} has no variable: add a numeric column for each sensor")
    sort = np.lexsort((time, number))
    bounds = np.r_[0, np.cumsum(np.bincount(number))]
    columns = [_numbers(path, table, name).astype(np.float32) for name in variables]
    values = np.stack(columns, axis=1)[sort]
    values[~np.isfinite(values)] = np.nan
    steps = _numbers(path, table, "step")[sort] if "step" in table.column_names else None
    when = time[sort]
    runs = tuple(
        Run(
            values[a:b],
            when[a:b] - when[a],
            None if steps is None else np.nan_to_num(steps[a:b], nan=-1.0).astype(np.int64),
        )
        for a, b in pairwise(bounds)
    )
    of_runs = table.take(pa.array(first))
    return _with_columns(path, of_runs, runs, variables, names[first], part)


def _with_columns(
    path: Path,
    of_runs: pa.Table,
    runs: tuple[Run, ...],
    variables: tuple[str, ...],
    names: npt.NDArray[np.str_],
    part: str | None,
) -> TraceSet:
    have = set(of_runs.column_names)
    order = (
        _numbers(path, of_runs, "order") if "order" in have else np.arange(len(runs), dtype=float)
    )
    if not np.all(np.isfinite(order)):
        raise DatasetError(f"{path}: order is empty for some runs; fill it in or leave it out")
    fault = tuple(of_runs["fault"].to_pylist()) if "fault" in have else ()
    whole = TraceSet(
        name=path.stem,
        runs=runs,
        variables=variables,
        group=_texts(of_runs["group"]) if "group" in have else names,
        order=order,
        context={
            name.removeprefix(_CONTEXT): _column(path, of_runs, name)
            for name in of_runs.column_names
            if name.startswith(_CONTEXT)
        },
        target=_numbers(path, of_runs, "target") if "target" in have else np.zeros(0),
        fault=tuple(None if label is None else str(label) for label in fault),
    )
    if "part" not in have:
        check_part(path, part, (ALL_PARTS,), ALL_PARTS)
        return whole
    of_part = _texts(of_runs["part"])
    parts = (*np.unique(of_part).tolist(), ALL_PARTS)
    chosen = check_part(path, part, parts, ALL_PARTS)
    rows = np.ones(len(runs), dtype=bool) if chosen == ALL_PARTS else of_part == chosen
    return replace(whole.subset(rows, chosen), parts=parts)


def _read(path: Path) -> pa.Table:
    try:
        facts = pq.read_metadata(path)
        if facts.num_columns > _MAX_COLUMNS or facts.num_rows * facts.num_columns > MAX_CELLS:
            raise DatasetError(
                f"{path} has {facts.num_rows:,} rows of {facts.num_columns:,} columns; at most"
                f" {_MAX_COLUMNS:,} columns and {MAX_CELLS:,} cells are read: split it by part"
            )
        if facts.num_rows == 0:
            raise DatasetError(f"{path} has no rows")
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _first_rows(names: npt.NDArray[np.str_]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Row of each run's first sample, and each row's run, runs in order of first appearance."""
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.sort(first), rank[inverse]


def _texts(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    coded = column.combine_chunks().dictionary_encode()
    values = [str(value) for value in coded.dictionary.to_pylist()]
    rows = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    found: npt.NDArray[np.str_] = np.array([*values, ""], dtype=np.str_)[rows]
    return found


def _numbers(path: Path, table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    column = table[name]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    if not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_boolean(column.type)
        or pa.types.is_null(column.type)
    ):
        raise DatasetError(
            f"{path}: column {name} holds {column.type}, a number is needed; rename it to"
            f" {_CONTEXT}{name} if it describes the run"
        )
    found: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


def _column(path: Path, table: pa.Table, name: str) -> npt.NDArray[Any]:
    kind = table[name].type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return _texts(table[name])
    return _numbers(path, table, name)
