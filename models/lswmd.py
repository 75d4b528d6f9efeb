"""Reading LSWMD.pkl, the original download of WM-811K: a pickled pandas table, read as plain data.

A pickle is a program that names functions and calls them. Here every name it may use stands for a
record that keeps what it is given and does nothing; any other name ends the reading. Not even the
code of pandas or numpy runs: the table is put together from the records, so a file of any age is
read the same way (the original was written by Python 2 with modules that pandas has long moved).
What a hostile file can still do is ask for more memory than there is.
"""

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError

__all__ = ["LswmdTable", "read_lswmd"]

# The original has 2.1 GB; more than twice that is no file we know.
_MAX_BYTES = 4 * 1024**3
_MAP, _LOT, _TYPE = "waferMap", "lotName", "failureType"
# Arrays in an array in a cell: the original has one, and a file from outside may hold itself.
_NESTED = 4
_DTYPE = re.compile(r"[biuf][1248]|[SU]\d{1,4}|O\d?")


class LswmdTable(NamedTuple):
    """The labelled rows, in the order of the file.

    Attributes:
        grids: die grids as they are in the file, uint8, not checked yet.
        labels: as the file spells them, such as 'Edge-Ring' and 'none'.
        lots: numbered in the order in which the file first names them.
        unlabelled: rows without a label, which are left out.
    """

    grids: list[npt.NDArray[np.uint8]]
    labels: list[str]
    lots: list[int]
    unlabelled: int


def read_lswmd(path: Path) -> LswmdTable:
    """Read the labelled maps of LSWMD.pkl.

    Needs memory for the whole file while it reads; what it returns holds the labelled maps alone.

    Args:
        path: of the pickle, not compressed.

    Raises:
        DatasetError: the file is missing, empty, damaged or larger than 4 GiB, names anything that
            such a table does not need, or lacks a column.
    """
    try:
        size = path.stat().st_size
        if not 0 < size <= _MAX_BYTES:
            raise DatasetError(f"{path} has {size} bytes; LSWMD.pkl has 2 GB: download it again")
        with path.open("rb") as file:
            return _labelled(_columns(_Unpickler(file).load()))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    # A damaged pickle fails in whatever way its bytes happen to say.
    except Exception as error:
        raise DatasetError(
            f"{path} is damaged, or no pickled table ({type(error).__name__}: {error});"
            " download it again"
        ) from error


def _labelled(columns: Mapping[str, list[Any]]) -> LswmdTable:
    missing = [name for name in (_MAP, _LOT, _TYPE) if name not in columns]
    if missing:
        raise DatasetError(
            f"it has the columns {', '.join(columns) or 'none'}; LSWMD.pkl has"
            f" {', '.join(missing)} too"
        )
    labels = [_word(value) for value in columns[_TYPE]]
    rows = [row for row, label in enumerate(labels) if label]
    number: dict[str, int] = {}
    lots = [number.setdefault(_word(name), len(number)) for name in columns[_LOT]]
    return LswmdTable(
        [_grid(row, columns[_MAP][row]) for row in rows],
        [labels[row] for row in rows],
        [lots[row] for row in rows],
        len(labels) - len(rows),
    )


def _grid(row: int, value: Any) -> npt.NDArray[np.uint8]:
    array = value.array() if isinstance(value, _Array) else None
    if array is None or array.dtype != np.uint8 or array.ndim != 2:
        raise DatasetError(f"the map in row {row} is no uint8 array of two dimensions")
    return array


def _word(value: Any) -> str:
    """The text in a cell, which may lie in nested arrays such as [['none']]; '' where none is."""
    for _ in range(_NESTED):
        if isinstance(value, _Array) and 0 not in value.shape:
            (value,) = value.items()
    return _text(value).strip() if isinstance(value, str | bytes) else ""


def _text(value: Any) -> str:
    """Text, which Python 2 pickled as bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


class _Record:
    """Stands for a class that a pickle names: keeps what it is given, and does nothing."""

    __slots__ = ("given", "state")
    given: tuple[Any, ...]
    state: Any

    def __new__(cls, *given: Any) -> Any:
        record = object.__new__(cls)
        record.given, record.state = given, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Record):
    """pandas.DataFrame; `state` is a mapping with the manager."""


class _Manager(_Record):
    """BlockManager; (blocks, axes) in `given` since pandas 1.3, else a mapping in `state`."""


class _Block(_Record):
    """A block of columns of one type; `given` is (values, places of the columns, ...)."""


class _Index(_Record):
    """The names of columns or rows; `state` is a mapping."""


class _Slice(_Record):
    """slice; `given` is (start, stop, step)."""


class _ArrayType(_Record):
    """numpy.ndarray itself, named where an array begins."""


class _NewIndex(_Record):
    """_new_Index(class, state)."""

    def __new__(cls, _kind: Any, state: Any) -> Any:
        index = _Index()
        index.state = state
        return index


class _Encode(_Record):
    """_codecs.encode(text, 'latin1'): how Python 3 writes bytes for Python 2."""

    def __new__(cls, text: Any, _encoding: Any) -> Any:
        return str(text).encode("latin-1")


class _Bytes(_Record):
    """bytes(): how Python 3 writes none of them for Python 2."""

    def __new__(cls) -> Any:
        return b""


class _Dtype(_Record):
    """numpy.dtype(code, align, copy), then its state with the byte order."""

    __slots__ = ()

    def dtype(self) -> np.dtype[Any]:
        """The type, if it is one of numbers, text or objects."""
        code = _text(self.given[0]).lstrip("<>|=")
        if not _DTYPE.fullmatch(code):
            raise DatasetError(f"it holds values of type {code[:40]!r}, a table of maps has none")
        if code.startswith("O"):
            return np.dtype(object)
        order = _text(self.state[1]) if self.state else "="
        return np.dtype(code).newbyteorder("=" if order == "|" else order)  # type: ignore[arg-type]


class _Array(_Record):
    """An array; `state` is (version, shape, type, whether in Fortran order, values).

    Most are never looked at, so nothing is made of the state before it is asked for.
    """

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""
        return tuple(int(side) for side in self.state[1])

    def array(self) -> npt.NDArray[Any] | None:
        """The array itself; None if it holds objects."""
        dtype, values = self.state[2].dtype(), self.state[4]
        if dtype.kind == "O":
            return None
        # An empty buffer is no array to numpy.
        flat = np.frombuffer(values, dtype) if len(values) else np.empty(0, dtype)
        return flat.reshape(self.shape, order="F" if self.state[3] else "C")

    def items(self) -> list[Any]:
        """All values in C order, which is the order in which objects are pickled."""
        array = self.array()
        return list(self.state[4]) if array is None else array.ravel().tolist()


class _Reconstruct(_Record):
    """numpy's _reconstruct(class, shape, code): an array whose state is to follow."""

    def __new__(cls, *_given: Any) -> Any:
        return _Array()


class _FromBuffer(_Record):
    """numpy's _frombuffer(buffer, type, shape, order)."""

    def __new__(cls, values: Any, dtype: Any, shape: Any, order: Any, *_more: Any) -> Any:
        array = _Array()
        array.state = (1, shape, dtype, _text(order) == "F", values)
        return array


class _Scalar(_Record):
    """numpy's scalar(type, value)."""

    def __new__(cls, dtype: Any, value: Any) -> Any:
        array = _Array()
        array.state = (1, (), dtype, False, value)
        return array


def _names(modules: Iterable[str], **names: type[_Record]) -> dict[tuple[str, str], type[_Record]]:
    return {(module, name): record for module in modules for name, record in names.items()}


# All that a table of maps is made of, under every address it has had (pandas 0.15 to 3). Where the
# names of pandas' modules come from: its own map of old to new ones in pandas.compat.pickle_compat.
_KNOWN: Mapping[tuple[str, str], type[_Record]] = {
    **_names(("pandas.core.frame", "pandas"), DataFrame=_Frame),
    **_names(("pandas.core.internals", "pandas.core.internals.managers"), BlockManager=_Manager),
    **_names(("pandas._libs.internals",), _unpickle_block=_Block),
    **_names(("pandas.core.internals.blocks",), new_block=_Block),
    **_names(
        ("pandas.core.index", "pandas.indexes.base", "pandas.core.indexes.base", "pandas"),
        Index=_Index,
        _new_Index=_NewIndex,
    ),
    **_names(
        (
            "pandas.core.index",
            "pandas.indexes.range",
            "pandas.core.indexes.range",
            "pandas.indexes.numeric",
            "pandas.core.indexes.numeric",
            "pandas",
        ),
        RangeIndex=_Index,
        Int64Index=_Index,
    ),
    **_names(("numpy",), ndarray=_ArrayType, dtype=_Dtype),
    **_names(
        ("numpy.core.multiarray", "numpy._core.multiarray"),
        _reconstruct=_Reconstruct,
        scalar=_Scalar,
    ),
    **_names(("numpy.core.numeric", "numpy._core.numeric"), _frombuffer=_FromBuffer),
    **_names(("__builtin__", "builtins"), slice=_Slice, bytes=_Bytes),
    **_names(("_codecs",), encode=_Encode),
}


class _Unpickler(pickle.Unpickler):
    """Finds records under the names above, and nothing under any other."""

    def __init__(self, file: Any) -> None:
        # Bytes stay bytes: as text, the maps of the original would be held twice.
        super().__init__(file, fix_imports=False, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        record = _KNOWN.get((module, name))
        if record is None:
            raise DatasetError(
                f"refused, for it names {module[:80]}.{name[:80]}, which a table of numpy arrays"
                " does not need (a copy saved with pandas 3 may hold objects of pyarrow); use the"
                " original download"
            )
        return record


def _columns(frame: Any) -> dict[str, list[Any]]:
    """The columns of a table of records, each a list of its cells."""
    if not isinstance(frame, _Frame):
        raise DatasetError("the pickle holds no pandas table")
    held = _mapping(frame.state)
    manager = held.get("_mgr", held.get("_data"))
    if not isinstance(manager, _Manager):
        raise DatasetError(f"the table has no columns, only {', '.join(held)}")
    blocks, axes = _blocks(manager)
    names = [_text(name) for name in _mapping(axes[0].state)["data"].items()]
    columns: dict[str, list[Any]] = {}
    for values, placement in blocks:
        count, rows = values.shape
        cells, places = values.items(), _places(placement)
        if not len(cells) == count * rows == len(places) * rows:
            raise DatasetError(f"a block of {values.shape} cells holds {len(cells)}")
        for number, place in enumerate(places):
            columns[names[place]] = cells[number * rows : (number + 1) * rows]
    if len({len(column) for column in columns.values()}) > 1:
        raise DatasetError("its columns differ in length")
    return columns


def _blocks(manager: _Manager) -> tuple[list[tuple[Any, Any]], Any]:
    """Blocks as (values, places of their columns), and the axes."""
    if manager.given:  # since pandas 1.3
        blocks, axes = manager.given[:2]
        return [block.given[:2] for block in blocks], axes
    state = _mapping(_mapping(manager.state[3])["0.14.1"])  # pandas' name for the layout
    held = [_mapping(block) for block in state["blocks"]]
    return [(block["values"], block["mgr_locs"]) for block in held], state["axes"]


def _mapping(state: Any) -> dict[str, Any]:
    return {_text(key): value for key, value in state.items()}


def _places(placement: Any) -> Sequence[int]:
    if isinstance(placement, _Slice):
        return range(*placement.given)
    places: list[int] = placement.items()
    return places
