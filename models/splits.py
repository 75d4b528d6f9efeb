"""Splitting a set into parts that share neither lots nor maps.

Blocks of neighbouring lots are drawn whole. Rare patterns come in runs (one bad tool, a few lots),
so a blind draw can leave a part without a class; of many seeded draws the one whose class shares
are nearest to the wanted ones is taken.
"""

import hashlib
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from models.data import MapSet

__all__ = ["block_numbers", "split_blocks", "without_duplicates"]

# 60 blocks of about 800 maps in WM-811K: many lots each, and enough blocks to spread rare classes.
BLOCKS = 60
_DRAWS = 300


def split_blocks(
    maps: MapSet, *, holdout: float = 0.2, seed: int = 0, blocks: int = BLOCKS
) -> tuple[MapSet, MapSet]:
    """Training and held-out part of a set.

    Whole blocks are held out. Exact duplicates are dropped: from the training part when it has the
    map already, from the held-out part when either part has it. Split the training part again for
    a third part to choose thresholds on.

    Args:
        maps: at least two groups.
        holdout: share of the maps to hold out, about.
        seed: decides which blocks.
        blocks: how many contiguous blocks to cut the set into, at most one a group.

    Raises:
        DatasetError: too few groups to hold any out.
    """
    if not 0.0 < holdout < 1.0:
        raise DatasetError(f"the held-out share must lie between 0 and 1, it is {holdout}")
    block = block_numbers(maps.groups, blocks)
    count = int(block.max()) + 1
    if count < 2:
        raise DatasetError(f"{maps.source}: all maps are of one lot, so none can be held out")
    # (B, C + 1): how much of each class, and of all maps, every block holds.
    content = np.column_stack([maps.one_hot(), np.ones(len(maps), dtype=np.uint8)])
    per_block = np.zeros((count, content.shape[1]))
    np.add.at(per_block, block, content)
    held = np.isin(block, _draw(per_block, holdout, seed))
    train = without_duplicates(maps.subset(np.flatnonzero(~held)))
    return train, without_duplicates(maps.subset(np.flatnonzero(held)), known=train)


def block_numbers(groups: npt.NDArray[np.int64], blocks: int) -> npt.NDArray[np.int64]:
    """The block (N,) of each map: contiguous in `groups`, about equally many maps each.

    Maps of one group always share a block.
    """
    values, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2
    wanted = np.minimum(middle * min(blocks, len(values)) / len(groups), blocks - 1e-9)
    # Large groups can leave numbers unused; number the blocks anew without gaps.
    _, number = np.unique(wanted.astype(np.int64), return_inverse=True)
    return number[inverse].astype(np.int64)


def _draw(per_block: npt.NDArray[np.float64], holdout: float, seed: int) -> list[int]:
    """Blocks to hold out: the seeded draw whose class shares are nearest to `holdout`."""
    rng = np.random.default_rng(seed)
    total = per_block.sum(axis=0)
    take = min(max(1, round(holdout * len(per_block))), len(per_block) - 1)
    # Only a class that several blocks show can be on both sides.
    spread = (per_block > 0).sum(axis=0) > 1
    best: list[int] = []
    best_miss = np.inf
    for _ in range(_DRAWS):
        chosen = rng.permutation(len(per_block))[:take]
        share = per_block[chosen].sum(axis=0) / np.maximum(total, 1)
        absent = spread & ((share == 0.0) | (share == 1.0))
        miss = float(np.abs(share - holdout)[total > 0].sum() + absent.sum())
        if miss < best_miss:
            best, best_miss = sorted(int(block) for block in chosen), miss
    return best


def without_duplicates(maps: MapSet, known: MapSet | None = None) -> MapSet:
    """The set without maps that occur earlier in it or anywhere in `known`."""
    seen = set() if known is None else {_digest(grid) for grid in known.grids}
    keep: list[int] = []
    for index, grid in enumerate(maps.grids):
        digest = _digest(grid)
        if digest not in seen:
            seen.add(digest)
            keep.append(index)
    if not keep:
        raise DatasetError(f"{maps.source}: nothing but duplicates is left in one part of the set")
    return replace(maps.subset(np.array(keep)), skipped=maps.skipped)


def _digest(grid: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(repr(grid.shape).encode() + grid.tobytes(), digest_size=16).digest()
