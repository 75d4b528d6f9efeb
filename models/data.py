"""Sets of labelled wafer maps: what they are, how they are read, how they are split.

Maps of one lot look alike, so a random split flatters a model. Every split here keeps neighbours
together: the set is ordered by `groups` (lots, or the order a tester saw the wafers in), cut into
contiguous blocks, and whole blocks are held out.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError, WaferMapError
from contracts.labels import pattern_name
from contracts.wafer_map import FAIL, PATTERNS, Grid, canonical_maps, check_grid
from models.lswmd import read_lswmd
from models.npz import read_npz

__all__ = ["MapSet", "concat", "from_lists", "load_maps", "pattern_name", "save_maps"]

# Wafers of a full lot (FOUP); what neighbours in a set without lot numbers share.
_LOT = 25
# Beyond this share of unusable maps a file is not the data set it claims to be.
_MAX_SKIPPED_SHARE = 0.1
_RAGGED_KEYS = ("data", "offsets", "shapes", "label", "label_names")
_RAGGED_MIXED_KEYS = ("data", "offsets", "shapes", "labels", "label_names")
_STACKED_KEYS = ("maps", "labels", "label_names")


@dataclass(frozen=True, eq=False)
class MapSet:
    """Labelled wafer maps.

    Attributes:
        grids: N die grids, each (rows, columns) uint8 of 0, 1, 2.
        labels: (N,) int64 class numbers, or (N, C) uint8 of 0 and 1 if `multi_label`.
        label_names: the C classes, those of `PATTERNS` first and in its order.
        groups: (N,) int64, grows with time; maps with one number belong together (a lot).
        source: where they came from, for people.
        multi_label: a map may show several patterns at once, or none.
        skipped: how many maps of the source were left out because they were no die grids.
        unlabelled: how many maps of the source were left out because nobody has labelled them.
        held_out: (N,) bool, the maps that no model may learn from, where the set itself says so;
            None leaves that to a split.
    """

    grids: Sequence[Grid]
    labels: npt.NDArray[Any]
    label_names: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    source: str
    multi_label: bool = False
    skipped: int = 0
    unlabelled: int = 0
    held_out: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.grids)

    def subset(self, indices: npt.NDArray[np.integer[Any]]) -> "MapSet":
        """The maps at `indices`, in that order."""
        return replace(
            self,
            grids=[self.grids[int(index)] for index in indices],
            labels=self.labels[indices],
            groups=self.groups[indices],
            held_out=None if self.held_out is None else self.held_out[indices],
        )

    def of_classes(self, names: Sequence[str]) -> "MapSet":
        """The maps of these classes alone, numbered in this order (single labels).

        Names that the set does not know are classes without maps.
        """
        if self.multi_label:
            raise DatasetError(f"{self.source}: maps of mixed patterns cannot be taken by class")
        number = np.array([names.index(n) if n in names else -1 for n in self.label_names])
        labels = number[self.labels]
        chosen = self.subset(np.flatnonzero(labels >= 0))
        return replace(chosen, labels=labels[labels >= 0], label_names=tuple(names))

    def canonical(self, size: int) -> Grid:
        """What a model sees of them, (N, size, size) uint8."""
        return canonical_maps(list(self.grids), size)

    def one_hot(self) -> npt.NDArray[np.uint8]:
        """Labels as (N, C) uint8 of 0 and 1, whichever way they are stored."""
        if self.multi_label:
            return np.asarray(self.labels, dtype=np.uint8)
        hot: npt.NDArray[np.uint8] = np.eye(len(self.label_names), dtype=np.uint8)[self.labels]
        return hot

    def class_counts(self) -> dict[str, int]:
        """How many maps show each class."""
        sums = self.one_hot().sum(axis=0, dtype=np.int64)
        return {name: int(n) for name, n in zip(self.label_names, sums, strict=True)}

    def lots(self) -> npt.NDArray[np.int64]:
        """Numbers (N,) that maps of one lot share, as far as the source tells.

        Where every map is a group of its own, groups are places in the order of manufacture, and 25
        neighbours count as a lot.
        """
        if len(np.unique(self.groups)) < len(self.groups):
            return self.groups
        lots: npt.NDArray[np.int64] = self.groups // _LOT
        return lots

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the maps, labels, names and groups, in order."""
        digest = hashlib.sha256()
        digest.update("\n".join((*self.label_names, str(self.multi_label))).encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.groups, dtype="<i8").tobytes())
        for grid in self.grids:
            digest.update(np.array(grid.shape, dtype="<i4").tobytes())
            digest.update(grid.tobytes())
        return digest.hexdigest()


def from_lists(
    grids: Sequence[Grid], labels: Sequence[str], lots: Sequence[int], source: str
) -> MapSet:
    """A single-label set from maps in memory, such as those of the synthetic fab.

    Args:
        grids: N die grids.
        labels: N class names.
        lots: N lot numbers, growing with time.
        source: where they came from, for people.

    Raises:
        DatasetError: the lists differ in length, or there is no usable map.
    """
    if not len(grids) == len(labels) == len(lots):
        raise DatasetError(
            f"{source}: {len(grids)} maps, {len(labels)} labels and {len(lots)} lots;"
            " each map needs one of each"
        )
    names = [pattern_name(label) for label in labels]
    ordered = _ordered(names)
    number = {name: index for index, name in enumerate(ordered)}
    return _checked(
        list(grids),
        np.array([number[name] for name in names], dtype=np.int64),
        ordered,
        np.array(lots, dtype=np.int64),
        source,
        multi_label=False,
    )


def concat(first: MapSet, second: MapSet, source: str) -> MapSet:
    """Both sets as one: the classes of the first in their order, then the new ones of the second.

    So a model of the first set's classes keeps their places. The second set's groups come after the
    first's.

    Args:
        first: decides the order of classes.
        second: of the same kind, single or several labels a map.
        source: where both came from, for people.

    Raises:
        DatasetError: one set has several labels a map and the other has not.
    """
    if first.multi_label != second.multi_label:
        raise DatasetError(
            f"{first.source} and {second.source} cannot be one set: one has several labels a map"
        )
    new = [name for name in second.label_names if name not in first.label_names]
    names = (*first.label_names, *new)
    places = np.array([names.index(name) for name in second.label_names], dtype=np.int64)
    if first.multi_label:
        labels = np.zeros((len(first) + len(second), len(names)), dtype=np.uint8)
        labels[: len(first), : len(first.label_names)] = first.labels
        labels[len(first) :, places] = second.labels
    else:
        labels = np.concatenate([first.labels, places[second.labels]])
    offset = first.groups.max() + 1 - second.groups.min()
    held = [
        np.zeros(len(one), dtype=np.bool_) if one.held_out is None else one.held_out
        for one in (first, second)
    ]
    marked = first.held_out is not None or second.held_out is not None
    return MapSet(
        grids=[*first.grids, *second.grids],
        labels=labels,
        label_names=names,
        groups=np.concatenate([first.groups, second.groups + offset]),
        source=source,
        multi_label=first.multi_label,
        skipped=first.skipped + second.skipped,
        held_out=np.concatenate(held) if marked else None,
    )


def load_maps(path: Path) -> MapSet:
    """Read a data set: LSWMD.pkl, or an .npz file in the layout of wm811k.npz or mixedwm38.npz.

    A file that ends in .pkl is read as the original of WM-811K, see `models.lswmd`: maps without a
    label are counted in `MapSet.unlabelled` and left out, and lots are those of the file. Its
    column trianTestLabel is not used: the two sides of that split differ in their shares of
    classes and are not known to keep lots together, as ours do (`models.splits`).

    Ragged (wm811k): map i is `data[offsets[i]:offsets[i+1]].reshape(shapes[i])` with the class
    number `label[i]`, or the 0s and 1s `labels[i]`; `orig_index`, if there, is the order the wafers
    were made in, else the order of the rows is; `held_out`, if there, marks the maps that no model
    may learn from (`save_maps` writes all of this). Stacked (mixedwm38): `maps` (N, rows, columns)
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
    if maps.held_out is not None:
        arrays["held_out"] = maps.held_out.astype(np.uint8)
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
    held_out = None
    if "held_out" in arrays:
        held_out = _integers(arrays, "held_out", 1, source) == 1
        if len(held_out) != count:
            raise DatasetError(f"{source}: {count} maps with {len(held_out)} entries in held_out")
    grids = [
        data[offsets[index] : offsets[index + 1]].reshape(shapes[index]) for index in range(count)
    ]
    ordered = _ordered(names)
    labels: npt.NDArray[Any]
    if mixed:
        labels = label[:, [names.index(name) for name in ordered]].astype(np.uint8)
    else:
        labels = np.array([ordered.index(name) for name in names], dtype=np.int64)[label]
    return _checked(grids, labels, ordered, groups, source, multi_label=mixed, held_out=held_out)


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
    ordered = _ordered(names)
    columns = [names.index(name) for name in ordered]
    return _checked(
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


def _checked(
    grids: list[Grid],
    labels: npt.NDArray[Any],
    label_names: tuple[str, ...],
    groups: npt.NDArray[np.int64],
    source: str,
    *,
    multi_label: bool,
    held_out: npt.NDArray[np.bool_] | None = None,
) -> MapSet:
    """The set without the maps that are no die grids."""
    good, first_reason = [], ""
    for index, grid in enumerate(grids):
        try:
            check_grid(grid)
            good.append(index)
        except WaferMapError as error:
            first_reason = first_reason or f"map {index}: {error}"
    skipped = len(grids) - len(good)
    if not good or skipped > _MAX_SKIPPED_SHARE * len(grids):
        raise DatasetError(
            f"{source}: {skipped} of {len(grids)} maps cannot be used"
            + (f" (the first: {first_reason})" if first_reason else "; it holds none")
        )
    everything = MapSet(
        grids, labels, label_names, groups, source, multi_label, skipped, held_out=held_out
    )
    return everything if skipped == 0 else everything.subset(np.array(good))


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


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names, ours first and in our order, others after them by alphabet."""
    distinct = set(names)
    return (
        *(pattern for pattern in PATTERNS if pattern in distinct),
        *sorted(distinct.difference(PATTERNS)),
    )
