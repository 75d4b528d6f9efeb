"""LSWMD.pkl as pandas of all ages writes it, and pickles that want more than a table."""

import builtins
import copyreg
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.compat import pickle_compat

from contracts.errors import DatasetError
from models.lswmd import read_lswmd
from models.map_files import load_maps
from models.splits import split_blocks

ROWS = 40


def _cell(word: str) -> np.ndarray[Any, Any]:
    """A word as the table holds it: [['none']], or nothing."""
    return np.array([[word]]) if word else np.zeros((0, 0))


def _objects(items: list[Any]) -> np.ndarray[Any, Any]:
    column = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        column[place] = item
    return column


def _columns(**changes: list[Any]) -> dict[str, Any]:
    """Forty wafers of eight lots, every third one without a label."""
    rng = np.random.default_rng(0)
    words = ["" if row % 3 == 0 else ("none", "Edge-Ring", "Near-full")[row % 4 % 3]
             for row in range(ROWS)]  # fmt: skip
    columns: dict[str, Any] = {
        "waferMap": _objects(
            [rng.integers(0, 3, (9 + row % 3, 10), dtype=np.uint8) for row in range(ROWS)]
        ),
        "dieSize": np.arange(ROWS) + 0.5,
        "lotName": _objects([f"lot{7 - row // 5}" for row in range(ROWS)]),
        "waferIndex": np.arange(ROWS) % 5 + 1.0,
        "trianTestLabel": _objects([_cell("Training" if word else "") for word in words]),
        "failureType": _objects([_cell(word) for word in words]),
    }
    return {**columns, **{name: _objects(items) for name, items in changes.items()}}


def _today(columns: dict[str, Any], protocol: int = 4) -> bytes:
    # Text as objects: today's own type for it is pyarrow's.
    frame = pd.DataFrame({name: pd.Series(c, dtype=c.dtype) for name, c in columns.items()})
    frame.columns = pd.Index(list(columns), dtype=object)
    return pickle.dumps(frame, protocol=protocol)


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2 would have: text and bytes are one, and names are not looked up."""

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def _write_string(self, value: bytes | str) -> None:
        data = value if isinstance(value, bytes) else value.encode("latin-1")
        self.write(  # type: ignore[attr-defined]
            pickle.BINSTRING + len(data).to_bytes(4, "little") + data
            if len(data) > 255
            else pickle.SHORT_BINSTRING + bytes([len(data)]) + data
        )
        self.memoize(value)  # type: ignore[attr-defined]

    dispatch[str] = dispatch[bytes] = _write_string

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = {"builtins": "__builtin__", "numpy._core.multiarray": "numpy.core.multiarray"}.get(
            obj.__module__, obj.__module__
        )
        self.write(  # type: ignore[attr-defined]
            pickle.GLOBAL + f"{module}\n{name or obj.__name__}\n".encode()
        )
        self.memoize(obj)  # type: ignore[attr-defined]

    dispatch[type] = save_global
    dispatch[type(_cell)] = save_global


def _named(module: str, name: str, state: Any) -> Any:
    """An object whose class has the old address of one of pandas'."""

    def reduce(self: Any, _protocol: Any) -> Any:
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    return type(name, (), {"__module__": module, "__reduce_ex__": reduce})()


class _Call:
    """A call of a function with an old address."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self._function = type(name, (), {"__module__": module})
        self._arguments = arguments

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return self._function, self._arguments


def _old(columns: dict[str, Any], indexes: str) -> bytes:
    """The layout of pandas 0.15 to 1.2, for which its __getstate__ had the name '0.14.1'."""

    def index(kind: str, module: str, **state: Any) -> _Call:
        kind_of_index = type(kind, (), {"__module__": f"{indexes}.{module}"})
        return _Call(f"{indexes}.base", "_new_Index", kind_of_index, state)

    names = list(columns)
    axes = [
        index("Index", "base", data=_objects(names), name=None),
        index("RangeIndex", "range", start=0, stop=ROWS, step=1, name=None),
    ]
    objects = [name for name in names if columns[name].dtype == object]
    numbers = [name for name in names if columns[name].dtype != object]
    cells = np.empty((len(objects), ROWS), dtype=object)
    for place, name in enumerate(objects):
        cells[place] = columns[name]
    values = [np.array([columns[name] for name in numbers]), np.asfortranarray(cells)]
    places = [slice(1, 5, 2), np.array([names.index(name) for name in objects])]
    blocks = [{"values": v, "mgr_locs": p} for v, p in zip(values, places, strict=True)]
    state = (axes, values, [axes[0]] * 2, {"0.14.1": {"axes": axes, "blocks": blocks}})
    manager = _named("pandas.core.internals", "BlockManager", state)
    frame = _named(
        "pandas.core.frame",
        "DataFrame",
        {"_data": manager, "_typ": "dataframe", "_metadata": []},
    )
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(frame)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    **{f"today's pandas, protocol {p}": lambda c, p=p: _today(c, p) for p in (2, 3, 4, 5)},
    "pandas 0.19, Python 2": lambda columns: _old(columns, "pandas.indexes"),
    "pandas 0.20 and later, Python 2": lambda columns: _old(columns, "pandas.core.indexes"),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write_bytes(content: bytes) -> Path:
        path = tmp_path / "LSWMD.pkl"
        path.write_bytes(content)
        return path

    return write_bytes


@pytest.mark.parametrize("writer", WRITERS)
def test_labelled_maps_of_a_table_of_any_age(writer: str, write: Callable[[bytes], Path]) -> None:
    columns = _columns()
    maps = load_maps(write(WRITERS[writer](columns)))
    rows = [row for row in range(ROWS) if row % 3]
    assert maps.label_names == ("None", "Edge-Ring", "Near-full")
    assert (len(maps), maps.unlabelled, maps.skipped) == (len(rows), ROWS - len(rows), 0)
    for grid, row in zip(maps.grids, rows, strict=True):
        assert np.array_equal(grid, columns["waferMap"][row])
    spelled = ["None" if word == "none" else word
               for word in (columns["failureType"][row][0][0] for row in rows)]  # fmt: skip
    assert [maps.label_names[label] for label in maps.labels] == spelled
    assert maps.groups.tolist() == [row // 5 for row in rows]


def test_the_old_layout_is_one_that_pandas_itself_reads() -> None:
    columns = _columns()
    content = _old(columns, "pandas.core.indexes")
    frame = pickle_compat.Unpickler(io.BytesIO(content), encoding="latin1").load()
    assert list(frame.columns) == list(columns)
    assert np.array_equal(frame["waferMap"][7], columns["waferMap"][7])
    assert frame["failureType"][7] == columns["failureType"][7]


def test_parts_share_no_lot(write: Callable[[bytes], Path]) -> None:
    maps = load_maps(write(_today(_columns())))
    train, held = split_blocks(maps, holdout=0.25, blocks=8)
    assert not set(train.groups.tolist()) & set(held.groups.tolist())
    assert np.array_equal(held.lots(), held.groups)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"waferMap": [np.zeros((3, 3))] * ROWS}, "no uint8 array of two dimensions"),
        ({"waferMap": [np.zeros(9, dtype=np.uint8)] * ROWS}, "no uint8 array of two dimensions"),
        ({"waferMap": ["a map"] * ROWS}, "no uint8 array of two dimensions"),
        ({"waferMap": [np.full((4, 4), 3, dtype=np.uint8)] * ROWS}, "maps cannot be used"),
        ({"failureType": [_cell("")] * ROWS}, "holds none"),
        ({"failureType": [np.array([["none", "Loc"]])] * ROWS}, "damaged, or no pickled table"),
    ],
)
def test_a_table_without_usable_maps_is_refused(
    columns: dict[str, list[Any]], reason: str, write: Callable[[bytes], Path]
) -> None:
    with pytest.raises(DatasetError, match=reason):
        load_maps(write(_today(_columns(**columns))))


def test_a_table_of_something_else_is_refused(write: Callable[[bytes], Path]) -> None:
    columns = _columns()
    del columns["lotName"]
    with pytest.raises(DatasetError, match=r"LSWMD\.pkl has lotName too"):
        load_maps(write(_today(columns)))
    for other in ([1, 2], {"waferMap": 1}, np.zeros(3, dtype=np.uint8), b"", None):
        with pytest.raises(DatasetError, match="holds no pandas table"):
            load_maps(write(pickle.dumps(other)))


def test_files_that_are_no_pickle_are_refused(
    tmp_path: Path, write: Callable[[bytes], Path]
) -> None:
    good = _today(_columns())
    for content in (good[:-200], good[:300], b"PK\x03\x04", b"text", good[:400] + good[420:]):
        with pytest.raises(DatasetError, match=r"damaged|refused|no pandas table|holds values"):
            load_maps(write(content))
    with pytest.raises(DatasetError, match="0 bytes"):
        load_maps(write(b""))
    with pytest.raises(DatasetError, match="cannot be read"):
        load_maps(tmp_path / "missing.pkl")


class _Reduced:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self._reduced


def _global(module: str, name: str, *operations: bytes) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"".join(operations) + b"."


def _hostile() -> Iterator[tuple[str, bytes]]:
    import os
    import subprocess

    yield "os.system", pickle.dumps(_Reduced(os.system, "touch pwned"))
    yield "subprocess", pickle.dumps(_Reduced(subprocess.getoutput, "touch pwned"))
    for name in ("eval", "exec", "getattr", "__import__", "open", "compile", "type", "object"):
        yield name, pickle.dumps(_Reduced(getattr(builtins, name), "1"))
        yield f"{name} of Python 2", _global("__builtin__", name, b"U\x011\x85R")
    yield "numpy.load", pickle.dumps(_Reduced(np.load, "x.npy"))
    yield "pandas.eval", pickle.dumps(_Reduced(pd.eval, "1 + 1"))
    yield "pandas.read_pickle", pickle.dumps(_Reduced(pd.read_pickle, "x.pkl"))
    yield "numpy.f2py", _global("numpy.f2py.diagnose", "run_command", b"U\x02id\x85R")
    yield "numpy.testing", _global("numpy.testing._private.utils", "runstring", b"U\x011}\x86R")
    yield "numpy.memmap", _global("numpy", "memmap", b"U\x01x\x85R")
    yield "an attribute of a name", b"\x80\x04\x8c\x06pandas\x8c\x12DataFrame.to_pickle\x93."
    yield "io.open through pandas", b"\x80\x04\x8c\x06pandas\x8c\x0fio.common.os.sys\x93."
    yield "an old instance", b"(cos\nsystem\nU\x04true o."
    yield "an old class", b"(U\x04trueios\nsystem\n."
    yield "a persistent id", b"Pabc\n."
    yield "an extension", b"\x80\x02\x82\x01."
    # Names that are known, used as what they are not.
    yield "a call of the class", _global("numpy", "ndarray", b"U\x02id\x85R")
    yield "attributes of a class", _global("numpy", "dtype", b"N}U\x03newK\x01s\x86b")
    yield "items of a class", _global("__builtin__", "slice", b"}U\x03newK\x01sb")


@pytest.mark.parametrize(("name", "content"), list(_hostile()))
def test_a_pickle_that_wants_more_is_refused(
    name: str, content: bytes, write: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(content)
    monkeypatch.chdir(path.parent)
    with pytest.raises(DatasetError, match=r"refused, for it names|no pandas table|damaged"):
        read_lswmd(path)
    assert [item.name for item in path.parent.iterdir()] == ["LSWMD.pkl"]


def test_a_refused_name_is_told(write: Callable[[bytes], Path]) -> None:
    with pytest.raises(DatasetError, match=r"it names builtins\.eval, which"):
        read_lswmd(write(pickle.dumps(_Reduced(eval, "1"))))


def test_a_hidden_call_in_a_good_table_is_refused(write: Callable[[bytes], Path]) -> None:
    columns = _columns()
    columns["lotName"][39] = _Reduced(eval, "print('pwned')")
    for content in (_today(columns), _old(columns, "pandas.indexes")):
        with pytest.raises(DatasetError, match=r"eval"):
            read_lswmd(write(content))


def test_an_array_that_holds_itself_ends(write: Callable[[bytes], Path]) -> None:
    endless = np.empty((1, 1), dtype=object)
    endless[0, 0] = endless
    maps = _columns(failureType=[endless, *[_cell("Loc")] * (ROWS - 1)])
    assert load_maps(write(_today(maps))).unlabelled == 1


def test_types_numpy_would_be_confused_by_are_refused(write: Callable[[bytes], Path]) -> None:
    records = np.zeros((2, 2), dtype=[("a", "O"), ("b", "i8")])
    columns = _columns(waferMap=[records] * ROWS)
    with pytest.raises(DatasetError, match="holds values of type"):
        read_lswmd(write(_today(columns)))
