"""The canonical map keeps what matters: outline, how much failed, and thin scratches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WaferMapError
from contracts.wafer_map import canonical_map, canonical_maps, check_grid
from tests.factories import wafer_grid

SIDES = st.integers(min_value=10, max_value=220)


@given(rows=SIDES, columns=SIDES, seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_shape_dtype_and_codes(rows: int, columns: int, seed: int) -> None:
    out = canonical_map(wafer_grid(rows, columns, 0.1, seed))
    assert out.shape == (64, 64)
    assert out.dtype == np.uint8
    assert out[0, 0] == 0
    assert out[32, 32] >= 1


@given(rows=SIDES, columns=SIDES, seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_no_single_failing_die_vanishes(rows: int, columns: int, seed: int) -> None:
    grid = wafer_grid(rows, columns, 0.0)
    places = np.argwhere(grid == 1)
    row, column = places[seed % len(places)]
    grid[row, column] = 2
    out = canonical_map(grid)
    assert (out > 1).any()
    touched = np.argwhere(out > 1).mean(axis=0) / 64
    expected = np.array([(row + 0.5) / rows, (column + 0.5) / columns])
    assert np.abs(touched - expected).max() < 0.04


def test_a_scratch_one_die_wide_stays_connected_on_a_large_grid() -> None:
    grid = wafer_grid(153, 187, 0.0)
    for step in range(90):
        grid[30 + step, 40 + step] = 2
    out = canonical_map(grid)
    rows_hit = np.unique(np.argwhere(out > 1)[:, 0])
    assert len(rows_hit) == rows_hit.max() - rows_hit.min() + 1
    assert len(rows_hit) >= 37


@given(seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_turning_the_wafer_turns_the_canonical_map(seed: int) -> None:
    grid = wafer_grid(27, 31, 0.2, seed)
    turned = canonical_map(np.ascontiguousarray(np.rot90(grid)))
    expected = np.rot90(canonical_map(grid)).astype(int)
    assert np.abs(turned.astype(int) - expected).max() <= 1  # rounding of sums in another order


def test_share_of_failures_is_read_from_the_value() -> None:
    grid = np.ones((128, 128), dtype=np.uint8)
    grid[::2, ::2] = 2  # one die in four fails, so each pixel of 2x2 dies is a quarter bad
    out = canonical_map(grid)
    assert np.unique(out).tolist() == [65]
    assert np.unique(canonical_map(np.full((30, 30), 2, np.uint8))).tolist() == [255]


def test_many_maps_are_the_same_as_one_by_one() -> None:
    grids = [wafer_grid(20 + i, 25, 0.1, i) for i in range(5)]
    many = canonical_maps(grids, 32)
    assert many.shape == (5, 32, 32)
    assert all(np.array_equal(many[i], canonical_map(grids[i], 32)) for i in range(5))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (np.ones((1, 1), np.uint8), "1x1"),
        (np.ones((5000, 5000), np.uint8), "5000x5000"),
        (np.ones((20, 20), np.int64), "int64"),
        (np.ones((20, 20), np.float32), "float32"),
        (np.ones((20,), np.uint8), "shape"),
        (np.ones((2, 20, 20), np.uint8), "shape"),
        (np.full((20, 20), 3, np.uint8), "has 3"),
        (np.zeros((20, 20), np.uint8), "0 dies"),
        (np.ones((0, 20), np.uint8), "0x20"),
    ],
)
def test_what_is_not_a_die_grid_is_refused_with_the_reason(grid: np.ndarray, message: str) -> None:
    with pytest.raises(WaferMapError, match=message):
        check_grid(grid)
    with pytest.raises(WaferMapError):
        canonical_map(grid)
