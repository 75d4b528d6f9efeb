"""PHM Society data challenge 2016: removal rate of chemical mechanical planarisation (CMP).

A folder of parts, each `PART_traces.parquet` (one row a sample) and `PART_removalrate.csv` (one row
a run). A run is one wafer at one stage; a wafer may come twice, even in two parts.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from contracts.errors import DatasetError
from models.traces.data import ALL_PARTS, Run, TraceSet, check_part

__all__ = ["VARIABLES", "load", "matches"]

_TRACES, _TARGETS = "_traces.parquet", "_removalrate.csv"

VARIABLES = (
    "USAGE_OF_BACKING_FILM",
    "USAGE_OF_DRESSER",
    "USAGE_OF_POLISHING_TABLE",
    "USAGE_OF_DRESSER_TABLE",
    "PRESSURIZED_CHAMBER_PRESSURE",
    "MAIN_OUTER_AIR_BAG_PRESSURE",
    "CENTER_AIR_BAG_PRESSURE",
    "RETAINER_RING_PRESSURE",
    "RIPPLE_AIR_BAG_PRESSURE",
    "USAGE_OF_MEMBRANE",
    "USAGE_OF_PRESSURIZED_SHEET",
    "SLURRY_FLOW_LINE_A",
    "SLURRY_FLOW_LINE_B",
    "SLURRY_FLOW_LINE_C",
    "WAFER_ROTATION",
    "STAGE_ROTATION",
    "HEAD_ROTATION",
    "DRESSING_WATER_STATUS",
    "EDGE_AIR_BAG_PRESSURE",
)
_KEYS = ("WAFER_ID", "STAGE", "TIMESTAMP", "CHAMBER", "MACHINE_ID", "MACHINE_DATA")
# The whole challenge has 1.2 million rows; fifty times that is another data set.
_MAX_ROWS = 60_000_000


def matches(path: Path) -> bool:
    """Whether it is a folder with at least one part."""
    return path.is_dir() and any(path.glob(f"*{_TRACES}"))


def load(path: Path, part: str | None) -> TraceSet:
    """Read a part; the parts are those present, and `all`.

    A run's recipe step is the chamber that the wafer was in, its order the time of its last sample.
    Context: `stage` and `wafer` (str), `machine`, `start_s`, and `thread`, the stage and the
    chambers the run went through: 'A 1-3', 'A 4-6' or 'B 4-6'.

    Raises:
        DatasetError: a file is missing, damaged or of another layout.
    """
    present = tuple(sorted(file.name.removesuffix(_TRACES) for file in path.glob(f"*{_TRACES}")))
    chosen = check_part(path, part, (*present, ALL_PARTS), _default(present))
    sets = [_load_part(path, name) for name in present if chosen in (name, ALL_PARTS)]
    whole = sets[0] if len(sets) == 1 else _joined(sets)
    return TraceSet(
        name="phm2016_cmp",
        runs=whole.runs,
        variables=VARIABLES,
        group=whole.group,
        order=whole.order,
        context=whole.context,
        target=whole.target,
        part=chosen,
        parts=(*present, ALL_PARTS),
        target_unit="nm/min",
    )


def _default(present: tuple[str, ...]) -> str:
    return present[0] if len(present) == 1 else ALL_PARTS


def _load_part(path: Path, part: str) -> TraceSet:
    table = _read_traces(path / f"{part}{_TRACES}")
    rates = _read_rates(path / f"{part}{_TARGETS}")
    wafer = table["WAFER_ID"].to_numpy().astype(np.int64)
    stage = np.asarray(table["STAGE"].to_pylist(), dtype=np.str_)
    when = table["TIMESTAMP"].to_numpy().astype(np.float64)
    # Runs as blocks of rows, in time inside each: the files are sorted by neither.
    sort = np.lexsort((when, stage, wafer))
    wafer, stage, when = wafer[sort], stage[sort], when[sort]
    new = np.flatnonzero((np.diff(wafer) != 0) | (stage[1:] != stage[:-1])) + 1
    starts, ends = np.r_[0, new], np.r_[new, len(wafer)]
    values = np.stack(
        [table[name].to_numpy().astype(np.float32)[sort] for name in VARIABLES], axis=1
    )
    chamber = np.nan_to_num(table["CHAMBER"].to_numpy().astype(np.float64)[sort], nan=-1.0)
    machine = table["MACHINE_ID"].to_numpy().astype(np.float64)[sort]
    runs = tuple(
        Run(values[a:b], when[a:b] - when[a], chamber[a:b].astype(np.int64))
        for a, b in zip(starts, ends, strict=True)
    )
    keys = [(int(w), str(s)) for w, s in zip(wafer[starts], stage[starts], strict=True)]
    return TraceSet(
        name=part,
        runs=runs,
        variables=VARIABLES,
        group=wafer[starts].astype(np.str_),
        order=when[ends - 1],
        context={
            "stage": stage[starts],
            "wafer": wafer[starts].astype(np.str_),
            "machine": machine[starts],
            "thread": np.array(
                [f"{key[1]} {_bank(run)}" for key, run in zip(keys, runs, strict=True)]
            ),
            "start_s": when[starts],
        },
        target=np.array([rates.get(key, np.nan) for key in keys]),
    )


def _bank(run: Run) -> str:
    """The half of the machine a run went through; samples outside any chamber have number 0."""
    assert run.step is not None
    chambers = run.step[run.step > 0]
    return "1-3" if len(chambers) and np.median(chambers) <= 3 else "4-6"


def _read_traces(file: Path) -> dict[str, pa.ChunkedArray]:
    try:
        if pq.read_metadata(file).num_rows > _MAX_ROWS:
            raise DatasetError(f"{file} has more than {_MAX_ROWS:,} rows; this is another data set")
        table = pq.read_table(file)
        if missing := set(_KEYS + VARIABLES) - set(table.column_names):
            raise DatasetError(f"{file} lacks the columns {', '.join(sorted(missing))}")
        return {name: table[name] for name in _KEYS + VARIABLES}
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error


def _read_rates(file: Path) -> dict[tuple[int, str], float]:
    """Removal rate by wafer and stage; a part may come without, to be predicted only."""
    if not file.exists():
        return {}
    try:
        table = pc.read_csv(file)
        wafers = table["WAFER_ID"].to_pylist()
        stages, rates = table["STAGE"].to_pylist(), table["AVG_REMOVAL_RATE"].to_pylist()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DatasetError(
            f"{file} needs the columns WAFER_ID, STAGE and AVG_REMOVAL_RATE: {error}"
        ) from error
    return {
        (int(wafer), str(stage)): float("nan") if rate is None else float(rate)
        for wafer, stage, rate in zip(wafers, stages, rates, strict=True)
    }


def _joined(sets: list[TraceSet]) -> TraceSet:
    def column(name: str) -> npt.NDArray[np.str_]:
        return np.concatenate([part.context[name] for part in sets])

    return TraceSet(
        name="all",
        runs=tuple(run for part in sets for run in part.runs),
        variables=VARIABLES,
        group=np.concatenate([part.group for part in sets]),
        order=np.concatenate([part.order for part in sets]),
        context={name: column(name) for name in sets[0].context},
        target=np.concatenate([part.target for part in sets]),
    )
