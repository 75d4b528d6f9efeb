"""What really happened in a run, as Parquet files beside it.

`wafers.parquet` has a row for each tested wafer, `dies.parquet` one for each die that failed,
`module_hours.parquet` one for each module and hour, `hits.parquet` one for everything that happened
to a wafer. docs/fab.md lists their columns. They are written while the run goes on, in memory that
does not grow, and appear under their names only when it has come to its end.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from contracts.errors import ConfigError
from fab_sim import ModuleHour, WaferTruth
from fab_sim.maps import BY_CHANCE, BY_EDGE, BY_RETICLE, BY_TESTER

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:  # pragma: no cover
    raise ConfigError(
        "truth files need pyarrow: pip install 'fabpilot[fab]', or leave --out away"
    ) from error

__all__ = ["TruthFiles"]

_KILLERS = {BY_CHANCE: "chance", BY_EDGE: "edge", BY_RETICLE: "reticle", BY_TESTER: "test"}
# Rows that are kept before they are written together.
_ROWS = 50_000

_WAFERS = pa.schema(
    [
        ("site", pa.string()),
        ("substrate_id", pa.string()),
        ("lot_id", pa.string()),
        ("product", pa.string()),
        ("slot", pa.int16()),
        ("started_ms", pa.int64()),
        ("tested_ms", pa.int64()),
        ("dies", pa.int32()),
        ("good_dies", pa.int32()),
        ("patterns", pa.list_(pa.string())),
    ]
)
_DIES = pa.schema(
    [
        ("site", pa.string()),
        ("substrate_id", pa.string()),
        ("row", pa.int16()),
        ("column", pa.int16()),
        ("killed_by", pa.string()),
        ("cause", pa.string()),
    ]
)
_HITS = pa.schema(
    [
        ("site", pa.string()),
        ("substrate_id", pa.string()),
        ("time_ms", pa.int64()),
        ("mode", pa.string()),
        ("cause", pa.string()),
        ("strength", pa.float64()),
        ("shows", pa.bool_()),
    ]
)
_HOURS = pa.schema(
    [
        ("site", pa.string()),
        ("hour", pa.int32()),
        ("module", pa.string()),
        ("kind", pa.string()),
        ("state", pa.string()),
        ("inhibited", pa.bool_()),
        ("wafers_since_pm", pa.int32()),
        ("modes", pa.list_(pa.string())),
        ("progress", pa.list_(pa.float64())),
    ]
)


class _Table:
    """Rows that go to a file a few at a time."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.path = path
        self.part = path.with_suffix(".parquet.part")
        self._schema = schema
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._rows = 0
        self._writer = pq.ParquetWriter(self.part, schema, compression="zstd")

    def add(self, count: int, **columns: Sequence[Any]) -> None:
        for name, values in columns.items():
            self._columns[name].extend(values)
        self._rows += count
        if self._rows >= _ROWS:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(pa.table(self._columns, schema=self._schema))
        for values in self._columns.values():
            values.clear()
        self._rows = 0

    def close(self) -> None:
        if self._rows:
            self._write()
        self._writer.close()


class TruthFiles:
    """Writes the truth of a run. A context manager; on an error nothing is left behind.

    Args:
        folder: is made if it is not there.

    Raises:
        ConfigError: it cannot be written, or holds the truth of another run.
    """

    def __init__(self, folder: Path) -> None:
        names = {"wafers": _WAFERS, "dies": _DIES, "hits": _HITS, "module_hours": _HOURS}
        self._kept = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = [name for name in names if (folder / f"{name}.parquet").exists()]
            if there:
                raise ConfigError(
                    f"{folder} has {there[0]}.parquet of an earlier run: name another --out, or"
                    " remove it"
                )
            self._tables = {
                name: _Table(folder / f"{name}.parquet", schema) for name, schema in names.items()
            }
        except OSError as error:
            raise ConfigError(f"{folder} cannot be written: {error.strerror}") from error

    def __enter__(self) -> "TruthFiles":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for table in self._tables.values():
            table.close()
            if kind is None and self._kept:
                table.part.replace(table.path)
            else:
                table.part.unlink(missing_ok=True)

    def keep(self) -> None:
        """The run has come to its end: the files are whole."""
        self._kept = True

    def wafer(self, truth: WaferTruth) -> None:
        """A wafer was tested."""
        self._tables["wafers"].add(
            1,
            site=[truth.site],
            substrate_id=[truth.substrate_id],
            lot_id=[truth.lot_id],
            product=[truth.product],
            slot=[truth.slot],
            started_ms=[truth.started_ms],
            tested_ms=[truth.tested_ms],
            dies=[truth.dies],
            good_dies=[truth.good],
            patterns=[list(truth.patterns)],
        )
        hits = truth.hits
        self._tables["hits"].add(
            len(hits),
            site=[truth.site] * len(hits),
            substrate_id=[truth.substrate_id] * len(hits),
            time_ms=[hit.time_ms for hit in hits],
            mode=[hit.mode for hit in hits],
            cause=[hit.cause for hit in hits],
            strength=[hit.strength for hit in hits],
            shows=truth.guilty,
        )
        rows, columns = np.nonzero(truth.killed_by)
        codes = truth.killed_by[rows, columns].tolist()
        self._tables["dies"].add(
            len(codes),
            site=[truth.site] * len(codes),
            substrate_id=[truth.substrate_id] * len(codes),
            row=rows.tolist(),
            column=columns.tolist(),
            killed_by=[hits[code - 1].mode if code > 0 else _KILLERS[code] for code in codes],
            cause=[hits[code - 1].cause if code > 0 else "" for code in codes],
        )

    def hour(self, modules: Sequence[ModuleHour]) -> None:
        """An hour of the fab has passed."""
        self._tables["module_hours"].add(
            len(modules),
            **{
                name: [getattr(module, name) for module in modules]
                for name in ModuleHour.__struct_fields__
            },
        )
