"""Recorded wafer maps as events, one by one and unjudged: the stream decides what is usable."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.errors import CodecError, DataError, DatasetError
from contracts.events import WaferMap
from contracts.ids import derived_id
from models.npz import read_npz

__all__ = ["RecordedMaps"]

# A lot is 25 wafers. WM-811K's order is lot order, so neighbours go to one lot.
_LOT = 25
# One wafer a minute: what a tester does, and a time that grows with the order of the file.
_WAFER_MS = 60_000


class RecordedMaps:
    """The maps of a .npz file in the layout of wm811k.npz (ragged) or mixedwm38.npz (stacked).

    Labels are not needed and not read: a recorded fab does not know them either.

    Args:
        path: the file.
        site: the fab they shall seem to come from.
        start_ms: time of the first map on the fab's clock.

    Raises:
        DatasetError: the file cannot be read or has neither layout.
    """

    def __init__(self, path: Path, *, site: str, start_ms: int) -> None:
        self._arrays = read_npz(path)
        self._name = path.name
        self._stem = path.stem
        self._site = site
        self._start_ms = start_ms
        if "maps" in self._arrays:
            if self._arrays["maps"].ndim != 3:
                raise DatasetError(
                    f"{path}: maps has shape {self._arrays['maps'].shape}, not (N, …)"
                )
            self._count = len(self._arrays["maps"])
        elif {"data", "offsets", "shapes"} <= self._arrays.keys():
            self._count = self._check_ragged(path)
        else:
            raise DatasetError(
                f"{path} holds {', '.join(sorted(self._arrays)) or 'no arrays'};"
                " needed are data, offsets and shapes, or maps"
            )
        self.fingerprint = self._fingerprint()

    def __len__(self) -> int:
        return self._count

    def _check_ragged(self, path: Path) -> int:
        data, offsets, shapes = (self._arrays[name] for name in ("data", "offsets", "shapes"))
        if (
            data.ndim != 1
            or offsets.ndim != 1
            or shapes.shape != (len(offsets) - 1, 2)
            or any(array.dtype.kind not in "iu" for array in (offsets, shapes))
        ):
            raise DatasetError(
                f"{path}: offsets {offsets.dtype} {offsets.shape} and shapes {shapes.dtype}"
                f" {shapes.shape} do not describe ragged maps"
            )
        return len(shapes)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in sorted(self._arrays):
            array = self._arrays[name]
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
        return digest.hexdigest()

    def _grid(self, index: int) -> npt.NDArray[Any]:
        if "maps" in self._arrays:
            return np.asarray(self._arrays["maps"][index])
        begin, end = (int(edge) for edge in self._arrays["offsets"][index : index + 2])
        rows, columns = (int(side) for side in self._arrays["shapes"][index])
        data = self._arrays["data"]
        if not 0 <= begin <= end <= len(data) or rows < 0 or rows * columns != end - begin:
            raise DatasetError(
                f"{self._name}: map {index} is said to be {rows}x{columns} at {begin} to {end}"
                f" of {len(data)}, which is no map"
            )
        return np.asarray(data[begin:end].reshape(rows, columns))

    def events(self, start: int, stop: int) -> Iterator[tuple[int, WaferMap | DataError, bytes]]:
        """Maps `start` to `stop`: index, the event or why there is none, and its raw bytes.

        Ids depend on the file's content alone, so recording it again names everything the same.
        """
        order = self._arrays.get("orig_index")
        for index in range(start, min(stop, self._count)):
            place = int(order[index]) if order is not None and index < len(order) else index
            raw = b""
            try:
                grid = self._grid(index)
                raw = grid.tobytes()
                if grid.dtype != np.uint8:
                    raise CodecError(f"{self._name}: map {index} is {grid.dtype}, not uint8")
                event = WaferMap(
                    event_id=derived_id("replay", self.fingerprint, index),
                    site=self._site,
                    time_ms=self._start_ms + index * _WAFER_MS,
                    product=self._stem,
                    lot_id=f"{self._stem}-{place // _LOT:05d}",
                    substrate_id=f"{self._stem}-{place // _LOT:05d}.{place % _LOT + 1:02d}",
                    slot=place % _LOT + 1,
                    grid=Array.of(grid),
                    source=f"replay:{self._name}",
                )
            except DataError as error:
                yield index, error, raw
            else:
                yield index, event, raw
