"""What a small classifier looks at to tell two kinds of wafer maps apart."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.wafer_map import FAIL, OFF, Grid, canonical_maps

__all__ = ["Features", "features", "morans_i"]

Floats = npt.NDArray[np.float64]

_RINGS = 10
_SECTORS = 12
_SMALL = 8
# Sizes at which clusters of failed dies (8 neighbours) are told apart.
_CLUSTERS = (1, 2, 4, 10, 30)


class Features(NamedTuple):
    """Numbers about N maps.

    Attributes:
        failed: (N,) share of failed dies.
        radial: (N, 10) share of failed dies in rings of equal width.
        moran: (N,) Moran's I of failing over neighbouring dies.
        all: (N, F) these, the angular profile, sizes of clusters and an 8x8 picture.
    """

    failed: Floats
    radial: Floats
    moran: Floats
    all: Floats

    def of(self, rows: npt.NDArray[np.int64]) -> "Features":
        """Those of some of the maps."""
        return Features(self.failed[rows], self.radial[rows], self.moran[rows], self.all[rows])


def features(grids: Sequence[Grid]) -> Features:
    """Features of die grids of any size."""
    pictures = canonical_maps(list(grids), _SMALL).reshape(len(grids), -1).astype(np.float64)
    rows, radial = [], []
    for grid in grids:
        on, failed = grid != OFF, grid == FAIL
        share = float(failed.sum() / on.sum())
        profile, sectors, waves = _profiles(on, failed)
        radial.append(profile)
        rows.append([share, morans_i(grid), *profile, *sectors, *waves, *_pairs(on, failed)])
        rows[-1].extend(_clusters(failed, int(on.sum())))
    table = np.array(rows, dtype=np.float64)
    return Features(
        table[:, 0], np.array(radial), table[:, 1], np.concatenate([table, pictures], axis=1)
    )


def morans_i(grid: Grid) -> float:
    """Moran's I of failing (Moran, Biometrika 37, 1950) with the four nearest dies as neighbours.

    About 0 where dies fail by chance, towards 1 for large patches, 0 where all dies are alike.

    >>> morans_i(np.array([[1, 1, 2, 2]] * 4, dtype=np.uint8)) > 0.5
    True
    """
    on, failed = grid != OFF, grid == FAIL
    mean = failed.sum() / on.sum()
    variance = mean * (1.0 - mean)
    if variance <= 0.0:
        return 0.0
    off = np.where(on, failed - mean, 0.0)
    products = (off[:, 1:] * off[:, :-1]).sum() + (off[1:] * off[:-1]).sum()
    pairs = int((on[:, 1:] & on[:, :-1]).sum() + (on[1:] & on[:-1]).sum())
    return float(products / (max(pairs, 1) * variance))


def _profiles(
    on: npt.NDArray[np.bool_], failed: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Shares of failed dies over rings and over sectors, and the angular waves 1 to 4."""
    rows, columns = on.shape
    y, x = np.mgrid[:rows, :columns]
    x, y = ((x + 0.5) * 2.0 / columns - 1.0)[on], ((y + 0.5) * 2.0 / rows - 1.0)[on]
    dead = failed[on].astype(np.float64)
    ring = np.minimum((np.hypot(x, y) * _RINGS).astype(np.int64), _RINGS - 1)
    angle = np.arctan2(y, x)
    sector = ((angle + np.pi) / (2 * np.pi) * _SECTORS).astype(np.int64) % _SECTORS
    waves = [abs((dead * np.exp(1j * k * angle)).sum()) / len(dead) for k in range(1, 5)]
    return _shares(ring, dead, _RINGS), _shares(sector, dead, _SECTORS), np.array(waves)


def _shares(place: npt.NDArray[np.int64], dead: Floats, places: int) -> Floats:
    dies = np.bincount(place, minlength=places)
    return np.asarray(np.bincount(place, weights=dead, minlength=places) / np.maximum(dies, 1))


def _pairs(on: npt.NDArray[np.bool_], failed: npt.NDArray[np.bool_]) -> list[float]:
    """How often a right, lower or diagonal neighbour fails too, given that both are dies."""
    out = []
    for here, there in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:, :-2], np.s_[:, 2:]),
        (np.s_[:-2], np.s_[2:]),
    ):
        both = int((on[here] & on[there]).sum())
        out.append(float((failed[here] & failed[there]).sum()) / max(both, 1))
    return out


def _clusters(failed: npt.NDArray[np.bool_], dies: int) -> list[float]:
    """Share of the failed dies in clusters of each size, and of the dies in the largest one."""
    from scipy import ndimage

    numbers, count = ndimage.label(failed, structure=np.ones((3, 3)))
    if count == 0:
        return [0.0] * (len(_CLUSTERS) + 1)
    sizes = np.bincount(numbers.ravel())[1:]
    bins = np.searchsorted(_CLUSTERS, sizes, side="right") - 1
    shares = np.bincount(bins, weights=sizes, minlength=len(_CLUSTERS)) / sizes.sum()
    return [*shares.tolist(), float(sizes.max() / dies)]
