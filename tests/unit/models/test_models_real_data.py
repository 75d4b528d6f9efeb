"""The public data sets, where they are at hand (FABPILOT_DATA; the project does not ship them)."""

import os
from pathlib import Path

import numpy as np
import pytest

from contracts.wafer_map import PATTERNS
from models.data import load_maps
from models.splits import block_numbers, split_blocks

FOLDER = Path(os.environ.get("FABPILOT_DATA", "../shared/data"))


def _path(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is missing; point FABPILOT_DATA at the folder that has it")
    return path


@pytest.mark.data
def test_wm811k_loads_and_splits_by_lot_blocks() -> None:
    maps = load_maps(_path("wm811k.npz"))
    assert maps.label_names == PATTERNS
    assert maps.skipped == 0
    train, held = split_blocks(maps, seed=0)
    assert len(train) + len(held) < len(maps)  # it has duplicates
    assert all(train.class_counts().values())
    assert all(held.class_counts().values())
    block = dict(zip(maps.groups.tolist(), block_numbers(maps.groups, 60).tolist(), strict=True))
    assert not {block[g] for g in train.groups} & {block[g] for g in held.groups}
    assert held.subset(np.arange(50)).canonical(64).shape == (50, 64, 64)


@pytest.mark.data
def test_mixedwm38_loads_and_keeps_every_pattern_on_both_sides() -> None:
    maps = load_maps(_path("mixedwm38.npz"))
    assert maps.label_names == PATTERNS[1:]
    assert maps.multi_label
    train, held = split_blocks(maps, seed=0)
    assert all(train.class_counts().values())
    assert all(held.class_counts().values())
