"""What engineers confirmed or corrected, as training data: labels joined with their wafer maps.

Labels are read first and only the maps they name are kept, so a long log costs time, not memory.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from contracts.errors import DataError, DatasetError
from contracts.events import Label, WaferMap
from contracts.labels import label_name
from contracts.topics import Stream
from contracts.wafer_map import check_grid
from fabpilot.map_data import part_of
from fabpilot.reading import read_events
from models.data import MapSet, concat, from_lists
from models.splits import without_duplicates
from streaming.log import Log

__all__ = ["Confirmed", "combine", "read_confirmed"]

# One lot in four judges and never teaches, however often the model is trained again.
_HELD_ONE_IN = 4
_NONE = "None"


@dataclass(frozen=True)
class Confirmed:
    """Labelled wafers of the log.

    Attributes:
        maps: with the held-out ones marked. Whole lots are held out, but wafers of a class that
            too few lots show.
        by: who confirmed each map.
        without_map: labelled wafers whose map is not on the log.
        unusable: labels that a set of this kind cannot hold (several patterns on one wafer), or
            that are none, or whose map is no die grid.
    """

    maps: MapSet
    by: tuple[str, ...]
    without_map: int
    unusable: int

    @property
    def people(self) -> dict[str, int]:
        """How many maps each person confirmed."""
        return dict(sorted(Counter(self.by).items()))


def read_confirmed(log: Log, sites: Sequence[str], *, multi_label: bool) -> Confirmed:
    """The latest label of every labelled wafer of some sites, with its map.

    Args:
        log: with the labels and the wafer maps.
        sites: whose.
        multi_label: whether a wafer may show several patterns.

    Raises:
        DatasetError: nobody has labelled a wafer whose map is still on the log.
    """
    wafers: list[tuple[Label, WaferMap]] = []
    without_map = 0
    for site in sites:
        labels = _latest_labels(log, site)
        maps = _maps_of(log, site, labels) if labels else {}
        without_map += len(labels) - len(maps)
        wafers += [(labels[name], found) for name, found in maps.items()]
    wafers.sort(key=lambda pair: (pair[1].time_ms, pair[1].event_id))
    usable = [pair for pair in wafers if _is_usable(*pair, multi_label=multi_label)]
    if not usable:
        raise DatasetError(
            f"no wafer of {', '.join(sites) or 'any site'} has a label and a map on the log"
            f" ({len(wafers)} labels cannot be used, {without_map} have no map);"
            " label wafers on the console's Models page first"
        )
    return Confirmed(
        maps=_map_set(usable, multi_label=multi_label),
        by=tuple(label.by for label, _ in usable),
        without_map=without_map,
        unusable=len(wafers) - len(usable),
    )


def combine(reference: MapSet, confirmed: MapSet) -> MapSet:
    """Reference and confirmed maps as one set that says what is held out.

    Held out are the reference's own part, which stays what it was, and the confirmed maps marked
    so. A map that both have is taught as the engineer labelled it, and never if it is held out.

    Raises:
        DatasetError: the two are of different kinds, or too small.
    """
    learning, frozen = part_of(reference, "train"), part_of(reference, "holdout")
    confirmed = without_duplicates(confirmed, known=frozen)
    learning = without_duplicates(learning, known=confirmed)
    known = concat(
        replace(learning, held_out=np.zeros(len(learning), dtype=np.bool_)),
        replace(frozen, held_out=np.ones(len(frozen), dtype=np.bool_)),
        reference.source,
    )
    return concat(known, confirmed, f"{reference.source} + {confirmed.source}")


def _latest_labels(log: Log, site: str) -> dict[str, Label]:
    """Substrate id to its label; who labels later is right."""
    found: dict[str, Label] = {}
    for _, event in read_events(log, site, Stream.LABELS):
        if isinstance(event, Label):
            known = found.get(event.substrate_id)
            if known is None or _order(known) < _order(event):
                found[event.substrate_id] = event
    return found


def _maps_of(log: Log, site: str, labels: dict[str, Label]) -> dict[str, WaferMap]:
    """Substrate id to its latest map, of the labelled wafers only."""
    found: dict[str, WaferMap] = {}
    for _, event in read_events(log, site, Stream.WAFER_MAPS):
        if isinstance(event, WaferMap) and event.substrate_id in labels:
            known = found.get(event.substrate_id)
            if known is None or _order(known) < _order(event):
                found[event.substrate_id] = event
    return found


def _order(event: Label | WaferMap) -> tuple[int, str]:
    return event.time_ms, event.event_id


def _is_usable(label: Label, wafer: WaferMap, *, multi_label: bool) -> bool:
    try:
        names = _names(label)
        check_grid(wafer.grid.numpy())
    except DataError:
        return False
    return len(names) == 1 or (multi_label and len(names) > 1 and _NONE not in names)


def _names(label: Label) -> tuple[str, ...]:
    """The patterns in our spelling; the log may hold what no console of ours wrote."""
    return tuple(dict.fromkeys(label_name(name) for name in label.patterns))


def _map_set(wafers: Sequence[tuple[Label, WaferMap]], *, multi_label: bool) -> MapSet:
    grids = [check_grid(wafer.grid.numpy()) for _, wafer in wafers]
    names = [_names(label) for label, _ in wafers]
    keys = [f"{wafer.site}/{wafer.lot_id}" for _, wafer in wafers]
    number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    lots = [number[key] for key in keys]
    source = f"{len(wafers)} confirmed"
    if multi_label:
        # Here no pattern is no label. The order of the classes is that of `from_lists`.
        shown = [name for several in names for name in several if name != _NONE]
        if not shown:
            raise DatasetError(f"{source}: every wafer is labelled 'None'; label some patterns too")
        some = from_lists([grids[0]] * len(shown), shown, [0] * len(shown), source)
        patterns = some.label_names
        labels = np.array([[p in several for p in patterns] for several in names], dtype=np.uint8)
        maps = MapSet(
            grids, labels, patterns, np.array(lots, dtype=np.int64), source, multi_label=True
        )
    else:
        maps = from_lists(grids, [several[0] for several in names], lots, source)
    wafer_keys = [f"{wafer.site}/{wafer.substrate_id}" for _, wafer in wafers]
    return replace(maps, held_out=_held_out(maps, keys, wafer_keys))


def _held_out(maps: MapSet, lots: Sequence[str], wafers: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which maps are held out (N,).

    By a hash of the lot, so that what is held out once always is: maps of a lot look alike. Of a
    class that this puts on one side, or nearly, a quarter of the wafers is held out instead: a new
    pattern is often labelled on a lot or two, and has to be both taught and judged.
    """
    by_lot = np.array([_hash(lot) % _HELD_ONE_IN == 0 for lot in lots])
    held = by_lot.copy()
    for column in maps.one_hot().T.astype(np.bool_):
        rows = np.flatnonzero(column)
        if len(rows) and not 0.1 <= by_lot[rows].mean() <= 0.5:
            rows = rows[np.argsort([_hash(wafers[row]) for row in rows.tolist()])]
            held[rows] = np.arange(len(rows)) < len(rows) // _HELD_ONE_IN
    return held


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "big")
