"""Small drawn wafer maps, so that no test needs a data set."""

from collections.abc import Callable

import numpy as np
import pytest

from contracts.wafer_map import Grid
from models.data import MapSet, from_lists


def draw_map(pattern: str, rng: np.random.Generator, side: int = 26) -> Grid:
    """A round wafer of about `side` dies across that shows `pattern`."""
    rows, columns = side, side + int(rng.integers(-2, 3))
    y, x = np.mgrid[0:rows, 0:columns]
    v, u = (y + 0.5) / rows * 2 - 1, (x + 0.5) / columns * 2 - 1
    radius = np.hypot(u, v)
    fail = rng.random((rows, columns)) < 0.03
    if pattern == "Center":
        fail |= radius < 0.35
    elif pattern == "Edge-Ring":
        fail |= radius > 0.82
    elif pattern == "Scratch":
        angle = rng.random() * np.pi
        fail |= (np.abs(u * np.cos(angle) + v * np.sin(angle)) < 0.06) & (radius < 0.8)
    elif pattern == "Near-full":
        fail |= rng.random((rows, columns)) < 0.9
    return np.where(radius <= 1.0, np.where(fail, 2, 1), 0).astype(np.uint8)


PATTERNS_DRAWN = ("None", "Center", "Edge-Ring", "Scratch")


@pytest.fixture(scope="session")
def drawn() -> Callable[[int, int], MapSet]:
    """A set of `lots` lots of 8 maps, drawn with `seed`."""

    def make(lots: int, seed: int = 0) -> MapSet:
        rng = np.random.default_rng(seed)
        labels = [PATTERNS_DRAWN[int(n)] for n in rng.integers(len(PATTERNS_DRAWN), size=lots * 8)]
        grids = [draw_map(label, rng) for label in labels]
        return from_lists(grids, labels, [i // 8 for i in range(lots * 8)], "drawn")

    return make
