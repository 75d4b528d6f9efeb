"""Labelled wafer maps to train on: the causes of a scenario, without the line around them."""

import math
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from fab_sim.maps import Hit, probe_wafer
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.scenario import Product, Scenario

__all__ = ["LabelledMaps", "labelled_maps"]

_LOT = 25
# How often each pattern is tried. Most wafers of a fab show none, and a model that knows this is
# careful with rare names; the order is that of WM-811K, the differences are much smaller.
_TRIED = {
    "None": 0.46,
    "Center": 0.08,
    "Donut": 0.04,
    "Edge-Loc": 0.1,
    "Edge-Ring": 0.11,
    "Loc": 0.09,
    "Near-full": 0.02,
    "Random": 0.04,
    "Scratch": 0.06,
}
# Share of the wafers with a cause on which a second one met it.
_MIXTURES = 0.06
_STRENGTH = (0.65, 1.1)
# How far recipes are from right at most on wafers with a cause; their background in WM-811K is
# higher than that of wafers without, on the same grids.
_DETUNED = 0.8
# Spread of a product's random failures between lots of many fabs (of the logarithm).
_LEVEL_SPREAD = 0.5
_MOST_RANDOM = 0.27


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

    Frequent patterns are tried more often than rare ones; the label is what the causes did, so a
    cause too weak to show gives a 'None'.

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
    tried = np.cumsum([_TRIED[pattern] for pattern in patterns])
    weights = np.cumsum([product.weight for product in scenario.products])
    out = LabelledMaps([], [], [])
    random = generator("labelled", scenario.name, seed)
    for number in range(wafers):
        lot = number // _LOT
        if number % _LOT == 0:
            chosen = scenario.products[_pick(weights, random)]
            product = _of_a_fab(chosen, lot, scenario.variety, random)
        wanted = [patterns[_pick(tried, random)]]
        if wanted[0] != "None" and random.random() < _MIXTURES:
            wanted.append(patterns[_pick(tried, random)])
        hits = []
        for place, pattern in enumerate(wanted):
            if by_pattern[pattern]:
                mode = by_pattern[pattern][int(random.integers(len(by_pattern[pattern])))]
                strength = float(random.uniform(*_STRENGTH))
                hits.append(Hit(mode, strength, f"{seed}/{number}/{place}", 0))
        # Where something is broken the rest is rarely at its best.
        detuned = float(random.uniform(0.0, _DETUNED)) if hits else 0.0
        probed = probe_wafer(
            product, hits, detuned=detuned, variety=scenario.variety, random=random
        )
        out.grids.append(probed.grid)
        out.labels.append(probed.patterns[0])
        out.lots.append(f"sim-{seed}-{lot:05d}")
    return out


def _pick(cumulated: npt.NDArray[np.float64], random: np.random.Generator) -> int:
    """A place drawn in proportion to weights, given as their cumulated sum."""
    return int(np.searchsorted(cumulated, random.random() * cumulated[-1], side="right"))


def _of_a_fab(product: Product, lot: int, variety: float, random: np.random.Generator) -> Product:
    """The product as one of many fabs makes it: another level and other habits, as `variety` says.

    With a variety of 0 every lot is the product as it stands in the scenario.
    """
    spread = variety * _LEVEL_SPREAD * random.standard_normal()
    own = random.random() < variety
    if not own:
        return product
    # Half the variance less, so that the mean stays the product's.
    share = product.random_share * math.exp(spread - 0.5 * (variety * _LEVEL_SPREAD) ** 2)
    share = min(share, _MOST_RANDOM)
    return msgspec.structs.replace(product, id=f"{product.id[:20]}-{lot}", random_share=share)
