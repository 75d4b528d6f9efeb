"""Files of labelled wafer maps: two layouts of .npz, and the original LSWMD.pkl of WM-811K."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from contracts.labels import pattern_name
from contracts.wafer_map import FAIL
from models.data import MapSet, checked, from_lists, in_order
from models.lswmd import read_lswmd
from models.npz import read_npz

__all__ = ["load_maps", "save_maps"]

_RAGGED_KEYS = ("data", "offsets", "shapes", "label", "label_names")
_RAGGED_MIXED_KEYS = ("data", "offsets", "shapes", "labels", "label_names")
# Marks of maps that a file may have.
_MARKS = ("held_out", "chosen")
_STACKED_KEYS = ("maps", "labels", "label_names")


def load_maps(path: Path) -> MapSet:
    """Read a data set: LSWMD.pkl, or an .npz file in the layout of wm811k.npz or mixedwm38.npz.

    A file that ends in .pkl is read as the original of WM-811K, see `models.lswmd`: maps without a
    label are counted in `MapSet.unlabelled` and left out, and lots are those of the file. Its
    column trianTestLabel is not used: the two sides of that split differ in their shares of
    classes and are not known to keep lots together, as ours do (`models.splits`).

    Ragged (wm811k): map i is `data[offsets[i]:offsets[i+1]].reshape(shapes[i])` with the class
    number `label[i]`, or the 0s and 1s `labels[i]`; `orig_index`, if there, is the order the wafers
    were made in, else the order of the rows is; `held_out` and `chosen`, if there, are the marks of
    `MapSet` (`save_maps` writes all of this). Stacked (mixedwm38): `maps` (N, rows, columns)
    with `labels` (N, C) of 0 and 1, several patterns a map; it knows no lots, so each distinct map
    is a group of its own.

    Maps that are no die grids (1x1, hardly a die) are skipped and counted in `MapSet.skipped`.

    Raises:
        DatasetError: the file is missing, empty, damaged or pickled, lacks arrays, contradicts
            itself, has die codes above 2, or more than a tenth of its maps are unusable.
    """
    source = path.name
    if path.suffix == ".pkl":
        table = read_lswmd(path)
        made = from_lists(table.grids, table.labels, table.lots, source)
        return replace(made, unlabelled=table.unlabelled)
    arrays = read_npz(path)
    if "maps" in arrays:
        return _stacked(arrays, source)
    if "data" in arrays:
        return _ragged(arrays, source)
    raise DatasetError(
        f"{path} holds {', '.join(sorted(arrays)) or 'no arrays'}: neither"
        f" {', '.join(_RAGGED_KEYS)} (one class a map) nor"
        f" {', '.join(_STACKED_KEYS)} (mixed patterns)"
    )


def save_maps(maps: MapSet, path: Path) -> None:
    """Write a set in the ragged layout that `load_maps` reads; the folder must exist."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "data": np.concatenate([grid.ravel() for grid in maps.grids]),
        "offsets": np.cumsum([0, *(grid.size for grid in maps.grids)], dtype=np.int64),
        "shapes": np.array([grid.shape for grid in maps.grids], dtype=np.int64),
        "labels" if maps.multi_label else "label": maps.labels,
        "label_names": np.array(maps.label_names),
        "orig_index": maps.groups,
    }
    for name, marks in (("held_out", maps.held_out), ("chosen", maps.chosen)):
        if marks is not None:
            arrays[name] = marks.astype(np.uint8)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _ragged(arrays: Mapping[str, npt.NDArray[Any]], source: str) -> MapSet:
    mixed = "labels" in arrays
    _require(arrays, _RAGGED_MIXED_KEYS if mixed else _RAGGED_KEYS, source)
    data, names = _array(arrays, "data", 1, source), _names(arrays["label_names"], source)
    offsets = _integers(arrays, "offsets", 1, source)
    shapes = _integers(arrays, "shapes", 2, source)
    label = (
        _integers(arrays, "labels", 2, source) if mixed else _integers(arrays, "label", 1, source)
    )
    count = len(label)
    _check_codes(data, source)
    if len(offsets) != count + 1 or shapes.shape != (count, 2):
        raise DatasetError(
            f"{source}: {count} labels need {count + 1} offsets and ({count}, 2) shapes,"
            f" there are {len(offsets)} and {shapes.shape}"
        )
    if count and (
        offsets[0] < 0
        or offsets[-1] > len(data)
        or np.any(shapes < 0)
        or np.any(np.diff(offsets) != shapes.prod(axis=1))
    ):
        raise DatasetError(
            f"{source}: offsets and shapes do not cut {len(data)} bytes of data into maps"
        )
    if mixed and (label.shape != (count, len(names)) or np.any((label < 0) | (label > 1))):
        raise DatasetError(
            f"{source}: labels of mixed patterns are 0 or 1, {count} by {len(names)};"
            f" they are {label.shape}"
        )
    if count and not mixed and not 0 <= int(label.min()) <= int(label.max()) < len(names):
        raise DatasetError(
            f"{source}: labels run from {label.min()} to {label.max()},"
            f" but there are {len(names)} label names; leave unlabelled maps out"
        )
    groups = np.arange(count, dtype=np.int64)
    if "orig_index" in arrays:
        groups = _integers(arrays, "orig_index", 1, source)
        if len(groups) != count:
            raise DatasetError(f"{source}: {count} maps with {len(groups)} entries in orig_index")
    marks = {name: _integers(arrays, name, 1, source) == 1 for name in _MARKS if name in arrays}
    for name, marked in marks.items():
        if len(marked) != count:
            raise DatasetError(f"{source}: {count} maps with {len(marked)} entries in {name}")
    grids = [
        data[offsets[index] : offsets[index + 1]].reshape(shapes[index]) for index in range(count)
    ]
    ordered = in_order(names)
    labels: npt.NDArray[Any]
    if mixed:
        labels = label[:, [names.index(name) for name in ordered]].astype(np.uint8)
    else:
        labels = np.array([ordered.index(name) for name in names], dtype=np.int64)[label]
    return checked(grids, labels, ordered, groups, source, multi_label=mixed, **marks)


def _stacked(arrays: Mapping[str, npt.NDArray[Any]], source: str) -> MapSet:
    _require(arrays, _STACKED_KEYS, source)
    maps, names = _array(arrays, "maps", 3, source), _names(arrays["label_names"], source)
    labels = _integers(arrays, "labels", 2, source)
    _check_codes(maps, source)
    if labels.shape != (len(maps), len(names)):
        raise DatasetError(
            f"{source}: {len(maps)} maps and {len(names)} label names need labels of shape"
            f" ({len(maps)}, {len(names)}), they are {labels.shape}"
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= 1:
        raise DatasetError(f"{source}: labels of mixed patterns are 0 or 1")
    ordered = in_order(names)
    columns = [names.index(name) for name in ordered]
    return checked(
        list(maps),
        labels[:, columns].astype(np.uint8),
        ordered,
        _content_numbers(maps),
        source,
        multi_label=True,
    )


def _content_numbers(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Group numbers (N,) for a set that came without lots, sorted by class: a hash of each map.

    The order of such a set says nothing about time, and blocks of it would hold out whole classes.
    """
    digests = (hashlib.blake2b(grid.tobytes(), digest_size=7).digest() for grid in maps)
    return np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.int64)


def _require(arrays: Mapping[str, npt.NDArray[Any]], keys: Iterable[str], source: str) -> None:
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise DatasetError(f"{source} lacks {', '.join(missing)}; see load_maps for the layout")


def _array(
    arrays: Mapping[str, npt.NDArray[Any]], key: str, dimensions: int, source: str
) -> npt.NDArray[np.uint8]:
    array = arrays[key]
    if array.dtype != np.uint8 or array.ndim != dimensions:
        raise DatasetError(
            f"{source}: {key} must be uint8 with {dimensions} dimensions,"
            f" it is {array.dtype} {array.shape}"
        )
    return array


def _integers(
    arrays: Mapping[str, npt.NDArray[Any]], key: str, dimensions: int, source: str
) -> npt.NDArray[np.int64]:
    array = arrays[key]
    if array.dtype.kind not in "iu" or array.ndim != dimensions:
        raise DatasetError(
            f"{source}: {key} must hold whole numbers in {dimensions} dimensions,"
            f" it is {array.dtype} {array.shape}"
        )
    return array.astype(np.int64)


def _names(array: npt.NDArray[Any], source: str) -> list[str]:
    if array.dtype.kind != "U" or array.ndim != 1:
        raise DatasetError(f"{source}: label_names must be a list of text, it is {array.dtype}")
    names = [pattern_name(str(name)) for name in array]
    if len(set(names)) != len(names) or len(names) < 2:
        raise DatasetError(f"{source}: label_names must be at least two different names: {names}")
    return names


def _check_codes(data: npt.NDArray[np.uint8], source: str) -> None:
    if data.size and int(data.max()) > FAIL:
        raise DatasetError(
            f"{source}: die codes run up to {int(data.max())}; translate them to"
            " 0 (off the wafer), 1 (pass) and 2 (fail) first"
        )
