"""Labelled wafer maps to train on: the causes of a scenario, without the line around them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fab_sim.maps import Hit, probe_wafer
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.scenario import Scenario

__all__ = ["LabelledMaps", "labelled_maps"]

_LOT = 25
# Share of wafers on which two causes met.
_MIXTURES = 0.04


class LabelledMaps(NamedTuple):
    """Die grids with their true pattern.

    Attributes:
        grids: (rows, columns) uint8 of 0, 1, 2 each; sizes differ.
        labels: the strongest true pattern of each.
        lots: the lot each belongs to; split training and validation by it.
    """

    grids: list[npt.NDArray[np.uint8]]
    labels: list[str]
    lots: list[str]


def labelled_maps(scenario: Scenario, *, wafers: int, seed: int) -> LabelledMaps:
    """Maps of the patterns that a scenario's failure modes make, and of wafers without any.

    Each pattern is tried equally often; the label is what the causes did, so a cause too weak to
    show gives a 'None'.

    Args:
        scenario: its products, its excursions' modes and its `variety` are used.
        wafers: how many maps, at least 1.
        seed: of all of them.
    """
    by_pattern: dict[str, list[str]] = {"None": []}
    for excursion in scenario.excursions:
        modes = by_pattern.setdefault(MODES[excursion.mode].pattern, [])
        if excursion.mode not in modes:
            modes.append(excursion.mode)
    patterns = sorted(by_pattern)
    weights = np.array([product.weight for product in scenario.products])
    out = LabelledMaps([], [], [])
    random = generator("labelled", scenario.name, seed)
    for number in range(wafers):
        lot = number // _LOT
        if number % _LOT == 0:
            product = scenario.products[random.choice(len(weights), p=weights / weights.sum())]
        wanted = [patterns[int(random.integers(len(patterns)))]]
        if wanted[0] != "None" and random.random() < _MIXTURES:
            wanted.append(patterns[int(random.integers(len(patterns)))])
        hits = []
        for place, pattern in enumerate(wanted):
            if by_pattern[pattern]:
                mode = by_pattern[pattern][int(random.integers(len(by_pattern[pattern])))]
                strength = float(random.uniform(0.6, 1.1))
                hits.append(Hit(mode, strength, f"{seed}/{number}/{place}", 0))
        probed = probe_wafer(product, hits, detuned=0.0, variety=scenario.variety, random=random)
        out.grids.append(probed.grid)
        out.labels.append(probed.patterns[0])
        out.lots.append(f"sim-{seed}-{lot:05d}")
    return out
