"""The layouts of trace sets that can be read: one entry each, one file each; and reading one."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import DatasetError
from models.traces import load_bosch, load_lam, load_long, load_phm, load_secom
from models.traces.data import TraceSet

__all__ = ["LAYOUTS", "Layout", "load_traces", "npz_names"]


@dataclass(frozen=True)
class Layout:
    """A layout on disk.

    Attributes:
        looks_like: how a person knows it, for messages.
        matches: whether a path has it, told from names alone.
        load: reads a part of it, or raises DatasetError.
    """

    looks_like: str
    matches: Callable[[Path], bool]
    load: Callable[[Path, str | None], TraceSet]


def npz_names(path: Path) -> frozenset[str]:
    """Names of the arrays in an .npz file; none if it is no such file."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return frozenset()
    with zipfile.ZipFile(path) as archive:
        return frozenset(name.removesuffix(".npy") for name in archive.namelist())


# The first that matches reads it: the more particular one stands first.
LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "a folder with PART_traces.parquet and PART_removalrate.csv (PHM 2016 CMP)",
        load_phm.matches,
        load_phm.load,
    ),
    Layout(
        "an .npz with data, offsets, lot, wafer, depth_um and signals (Bosch etch)",
        lambda path: npz_names(path) >= load_bosch.NEEDED,
        load_bosch.load,
    ),
    Layout(
        "an .npz with data, offsets, wafer, fault and variables (LAM 9600 etch)",
        lambda path: npz_names(path) >= load_lam.NEEDED,
        load_lam.load,
    ),
    Layout(
        "a .parquet with timestamp, label and signals V1, V2... (SECOM)",
        load_secom.matches,
        load_secom.load,
    ),
    Layout(
        "a .parquet in long format with the columns run and time_s (docs/traces.md)",
        load_long.matches,
        load_long.load,
    ),
)


def load_traces(path: Path, part: str | None = None) -> TraceSet:
    """Read a set of traces; its layout is recognised by what lies there.

    Args:
        path: a folder or a file of one of `LAYOUTS`.
        part: one of the set's parts. None: everything, or the only part a folder has.

    Raises:
        DatasetError: nothing there, a layout nobody knows, a damaged file, or no such part.
    """
    if not path.exists():
        raise DatasetError(f"{path} does not exist; name a folder or file of traces")
    for layout in LAYOUTS:
        if layout.matches(path):
            return layout.load(path, part)
    known = "; ".join(layout.looks_like for layout in LAYOUTS)
    raise DatasetError(f"{path} has no layout that can be read. Known are: {known}")
