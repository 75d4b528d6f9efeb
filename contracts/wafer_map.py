"""Wafer-map geometry: what a die grid is, and the one canonical map that models see.

A die grid has one byte per die position: 0 off the wafer, 1 the die passed, 2 it failed. Grids are
ragged: products differ in die size, so 26x25 and 153x187 both occur. A model sees the *canonical
map*, always (S, S) uint8, in which

- 0 is off the wafer,
- 1 is on the wafer with no failing die,
- 2 to 255 is the share of the pixel's on-wafer area that failing dies cover, scaled to 2..255.

The bounding box of a die grid is the wafer's bounding square whatever the die aspect ratio, so
stretching the grid to a square restores the round wafer. A pixel touched by a failing die is never
1: a scratch one die wide stays visible when 187 columns become 64. "Any failure here" (value > 1)
and "how much failed" ((value - 1) / 254) are thus both read from one byte.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from contracts.errors import WaferMapError

__all__ = [
    "CANONICAL_SIZE",
    "FAIL",
    "MAX_SIDE",
    "MIN_SIDE",
    "OFF",
    "PASS",
    "PATTERNS",
    "canonical_map",
    "canonical_maps",
    "check_grid",
]

OFF, PASS, FAIL = 0, 1, 2

# Wu et al., IEEE TSM 28(1), 2015: the classes of WM-811K, in the order every model of ours uses.
PATTERNS = (
    "None",
    "Center",
    "Donut",
    "Edge-Loc",
    "Edge-Ring",
    "Loc",
    "Near-full",
    "Random",
    "Scratch",
)

CANONICAL_SIZE = 64
# The smallest labelled grid in WM-811K has 3 columns; the largest production grids have below 500.
MIN_SIDE, MAX_SIDE = 3, 1000
# Below this no spatial pattern can be told from another.
MIN_DIES = 8

# Grids resampled at a time: enough to spread the cost of a call over, few enough for the cache even
# where a grid has a million dies.
_TOGETHER = 16

Grid = npt.NDArray[np.uint8]


def check_grid(grid: npt.NDArray[np.generic]) -> Grid:
    """Return `grid` if it is a die grid: (rows, columns) uint8 of 0, 1 and 2.

    Raises:
        WaferMapError: wrong dtype, shape, size or values, or hardly any die on the wafer.
    """
    if grid.dtype != np.uint8:
        raise WaferMapError(f"a die grid is uint8, this one is {grid.dtype}")
    if grid.ndim != 2:
        raise WaferMapError(f"a die grid is (rows, columns), this one has shape {grid.shape}")
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in grid.shape):
        raise WaferMapError(
            f"a die grid has {MIN_SIDE} to {MAX_SIDE} rows and columns,"
            f" this one is {grid.shape[0]}x{grid.shape[1]}"
        )
    if int(grid.max()) > FAIL:
        raise WaferMapError(
            f"a die is 0 (off the wafer), 1 (pass) or 2 (fail), this grid has {int(grid.max())}"
        )
    dies = int(np.count_nonzero(grid))
    if dies < MIN_DIES:
        raise WaferMapError(f"only {dies} dies are on the wafer; a map needs {MIN_DIES}")
    return grid  # type: ignore[return-value]


@lru_cache(maxsize=1024)
def _resampler(source: int, target: int) -> npt.NDArray[np.float32]:
    """Area weights (target, source): row i says how much each source cell covers of cell i."""
    edges = np.arange(target + 1) * (source / target)
    low, high = edges[:-1, None], edges[1:, None]
    cells = np.arange(source)[None, :]
    overlap = np.minimum(high, cells + 1) - np.maximum(low, cells)
    exact = np.clip(overlap, 0.0, None) * (target / source)
    # Crumbs of floating point at cell borders would count as "touched by a failing die".
    exact[exact < 1e-6] = 0.0
    weights: npt.NDArray[np.float32] = exact.astype(np.float32)
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=512)
def _outline(
    shape: tuple[int, int], mask: bytes, size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """What only the outline of a grid decides, computed once a product: scale and on-wafer pixels.

    Returns:
        254 / (on-wafer share of the pixel), and whether at least half of the pixel is on it.
    """
    dies = np.frombuffer(mask, dtype=np.bool_).reshape(shape).astype(np.float32)
    on = _resampler(shape[0], size) @ dies @ _resampler(shape[1], size).T
    return (254.0 / np.maximum(on, 1e-6)).astype(np.float32), on >= 0.5 - 1e-6


def canonical_map(grid: Grid, size: int = CANONICAL_SIZE) -> Grid:
    """The canonical map of one die grid.

    Args:
        grid: (rows, columns) uint8 of 0, 1, 2; see `check_grid`.
        size: S, the side of the result in pixels.

    Returns:
        (S, S) uint8 as described above.

    Raises:
        WaferMapError: `grid` is not a die grid.

    >>> grid = np.array([[0, 1, 0], [1, 2, 1], [1, 1, 1], [0, 1, 0]], dtype=np.uint8)
    >>> canonical_map(grid, 3).tolist()
    [[0, 65, 0], [1, 128, 1], [0, 1, 0]]
    """
    one: Grid = canonical_maps([check_grid(grid)], size)[0]
    return one


def canonical_maps(grids: Sequence[Grid], size: int = CANONICAL_SIZE) -> Grid:
    """Canonical maps of many grids, (N, S, S) uint8. See `canonical_map`.

    Args:
        grids: that `check_grid` has passed; those of one outline, as a product has it, are worked
            on together.
        size: S, the side of the results in pixels.
    """
    out = np.empty((len(grids), size, size), dtype=np.uint8)
    alike: dict[tuple[tuple[int, int], bytes], list[int]] = {}
    for place, grid in enumerate(grids):
        shape = (grid.shape[0], grid.shape[1])
        alike.setdefault((shape, (grid != OFF).tobytes()), []).append(place)
    for (shape, mask), places in alike.items():
        for first in range(0, len(places), _TOGETHER):
            some = places[first : first + _TOGETHER]
            fail = np.stack([grids[place] for place in some]) == FAIL
            out[some] = _resampled(fail, shape, mask, size)
    return out


def _resampled(fail: npt.NDArray[np.bool_], shape: tuple[int, int], mask: bytes, size: int) -> Grid:
    """Canonical maps of (n, rows, columns) failing dies on one outline."""
    scale, on = _outline(shape, mask, size)
    rows, columns = _resampler(shape[0], size), _resampler(shape[1], size)
    share = rows @ (fail.astype(np.float32) @ columns.T)
    # A failing die counts even where most of its pixel is off the wafer: it must not vanish.
    touched = share > 1e-6
    share *= scale
    # Truncating x + 0.999 rounds up whatever is not a whole number by rounding error alone.
    share += 0.999
    np.minimum(share, 254.5, out=share)
    out: Grid = share.astype(np.uint8)
    np.maximum(out, touched, out=out)
    out += on | touched
    return out
