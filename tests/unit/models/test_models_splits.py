from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DatasetError
from models.data import MapSet, from_lists
from models.splits import block_numbers, split_blocks, without_duplicates

Drawn = Callable[[int, int], MapSet]


def _contents(maps: MapSet) -> set[bytes]:
    return {grid.tobytes() for grid in maps.grids}


@pytest.mark.parametrize("seed", range(5))
def test_parts_share_no_lot_no_block_and_no_map(drawn: Drawn, seed: int) -> None:
    maps = drawn(80, seed)
    train, held = split_blocks(maps, holdout=0.25, seed=seed, blocks=20)
    assert not set(train.groups.tolist()) & set(held.groups.tolist())
    assert not _contents(train) & _contents(held)
    block = dict(zip(maps.groups.tolist(), block_numbers(maps.groups, 20).tolist(), strict=True))
    assert not {block[g] for g in train.groups} & {block[g] for g in held.groups}
    assert 0.2 <= len(held) / len(maps) <= 0.3
    assert all(train.class_counts().values())
    assert all(held.class_counts().values())


def test_the_seed_decides(drawn: Drawn) -> None:
    maps = drawn(60, 0)
    first = [part.fingerprint() for part in split_blocks(maps, seed=1)]
    assert first == [part.fingerprint() for part in split_blocks(maps, seed=1)]
    assert first != [part.fingerprint() for part in split_blocks(maps, seed=2)]


def test_a_third_part_shares_nothing_either(drawn: Drawn) -> None:
    rest, held = split_blocks(drawn(80, 0), seed=3)
    train, validation = split_blocks(rest, holdout=0.2, seed=4)
    lots = [set(part.groups.tolist()) for part in (train, validation, held)]
    assert len(set.union(*lots)) == sum(map(len, lots))


def test_duplicates_are_collapsed_in_training_and_leave_the_held_out_part(drawn: Drawn) -> None:
    maps = drawn(40, 0)
    doubled = from_lists(
        [*maps.grids, *maps.grids],
        [maps.label_names[n] for n in (*maps.labels, *maps.labels)],
        [*maps.groups, *(maps.groups + 100)],
        "doubled",
    )
    train, held = split_blocks(doubled, seed=0, blocks=40)
    assert len(_contents(train)) == len(train)
    assert len(_contents(held)) == len(held)
    assert not _contents(train) & _contents(held)


def test_maps_of_one_content_and_two_shapes_are_no_duplicates() -> None:
    grids = [np.ones((4, 6), dtype=np.uint8), np.ones((6, 4), dtype=np.uint8)]
    maps = from_lists(grids, ["Loc", "None"], [0, 1], "two")
    assert len(without_duplicates(maps)) == 2


def test_a_class_in_few_lots_lands_on_both_sides(drawn: Drawn) -> None:
    maps = drawn(100, 0)
    rare = np.zeros(len(maps), dtype=bool)
    rare[[40, 41, 420, 421]] = True
    labels = ["Donut" if is_rare else "None" for is_rare in rare]
    train, held = split_blocks(
        from_lists(list(maps.grids), labels, maps.groups.tolist(), "rare"), seed=0
    )
    assert train.class_counts()["Donut"] == 2
    assert held.class_counts()["Donut"] == 2


def test_one_lot_cannot_be_split(drawn: Drawn) -> None:
    with pytest.raises(DatasetError, match="one lot"):
        split_blocks(drawn(1, 0), seed=0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_a_share_outside_0_to_1_is_refused(drawn: Drawn, share: float) -> None:
    with pytest.raises(DatasetError, match="between 0 and 1"):
        split_blocks(drawn(4, 0), holdout=share)


def test_nothing_but_duplicates_is_an_error() -> None:
    grid = np.ones((6, 6), dtype=np.uint8)
    with pytest.raises(DatasetError, match="nothing but duplicates"):
        split_blocks(from_lists([grid] * 4, ["None", "Loc"] * 2, [0, 1, 2, 3], "same"), seed=0)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200).map(sorted), st.integers(1, 70))
def test_blocks_are_contiguous_and_never_split_a_group(groups: list[int], blocks: int) -> None:
    number = block_numbers(np.array(groups, dtype=np.int64), blocks)
    assert (np.diff(number) >= 0).all()
    assert set(number.tolist()) == set(range(int(number.max()) + 1))
    assert len(set(number.tolist())) <= blocks
    by_group: dict[int, set[int]] = {}
    for group, block in zip(groups, number.tolist(), strict=True):
        by_group.setdefault(group, set()).add(block)
    assert all(len(found) == 1 for found in by_group.values())
