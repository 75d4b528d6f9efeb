"""Sets of labelled wafer maps in memory; `map_files` reads them, `splits` splits them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError, WaferMapError
from contracts.labels import pattern_name
from contracts.wafer_map import PATTERNS, Grid, canonical_maps, check_grid

__all__ = ["MapSet", "checked", "concat", "from_lists", "in_order"]

# Wafers of a full lot (FOUP); what neighbours in a set without lot numbers share.
_LOT = 25
# Beyond this share of unusable maps a file is not the data set it claims to be.
_MAX_SKIPPED_SHARE = 0.1


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
        chosen: (N,) bool, the maps that people picked to label, so that their number says nothing
            about how often their class occurs; None if there are none.
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
    chosen: npt.NDArray[np.bool_] | None = None

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
            chosen=None if self.chosen is None else self.chosen[indices],
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
    ordered = in_order(names)
    number = {name: index for index, name in enumerate(ordered)}
    return checked(
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
    return MapSet(
        grids=[*first.grids, *second.grids],
        labels=labels,
        label_names=names,
        groups=np.concatenate([first.groups, second.groups + offset]),
        source=source,
        multi_label=first.multi_label,
        skipped=first.skipped + second.skipped,
        held_out=_marks(first, first.held_out, second, second.held_out),
        chosen=_marks(first, first.chosen, second, second.chosen),
    )


def _marks(
    first: MapSet,
    of_first: npt.NDArray[np.bool_] | None,
    second: MapSet,
    of_second: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.bool_] | None:
    """Marks of two sets one after the other; a set without them has none set."""
    if of_first is None and of_second is None:
        return None
    parts = ((first, of_first), (second, of_second))
    return np.concatenate(
        [np.zeros(len(maps), dtype=np.bool_) if marks is None else marks for maps, marks in parts]
    )


def checked(
    grids: list[Grid],
    labels: npt.NDArray[Any],
    label_names: tuple[str, ...],
    groups: npt.NDArray[np.int64],
    source: str,
    *,
    multi_label: bool,
    **marks: npt.NDArray[np.bool_],
) -> MapSet:
    """A set without the maps that are no die grids; those are counted in `MapSet.skipped`.

    Args:
        grids: N arrays, as they came.
        labels: as in `MapSet`.
        label_names: as in `MapSet`.
        groups: as in `MapSet`.
        source: as in `MapSet`.
        multi_label: as in `MapSet`.
        marks: `held_out` and `chosen` of `MapSet`.

    Raises:
        DatasetError: no map is left, or more than a tenth of them cannot be used.
    """
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
    everything = MapSet(grids, labels, label_names, groups, source, multi_label, skipped)
    everything = replace(everything, held_out=marks.get("held_out"), chosen=marks.get("chosen"))
    return everything if skipped == 0 else everything.subset(np.array(good))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names, ours first and in our order, others after them by alphabet."""
    distinct = set(names)
    return (
        *(pattern for pattern in PATTERNS if pattern in distinct),
        *sorted(distinct.difference(PATTERNS)),
    )
