"""Small drawn wafer maps, so that no test needs a data set."""

from collections.abc import Callable

import numpy as np
import pytest

from models.data import MapSet, from_lists
from tests.drawn_maps import PATTERNS_DRAWN, draw_map


@pytest.fixture(scope="session")
def drawn() -> Callable[[int, int], MapSet]:
    """A set of `lots` lots of 8 maps, drawn with `seed`."""

    def make(lots: int, seed: int = 0) -> MapSet:
        rng = np.random.default_rng(seed)
        labels = [PATTERNS_DRAWN[int(n)] for n in rng.integers(len(PATTERNS_DRAWN), size=lots * 8)]
        grids = [draw_map(label, rng) for label in labels]
        return from_lists(grids, labels, [i // 8 for i in range(lots * 8)], "drawn")

    return make
