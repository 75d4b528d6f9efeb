"""Dies that fail for no cause: random defects, the edge, the reticle, the tester.

Random defects are negative binomial: their level varies from wafer to wafer as a gamma does
(Stapper, IBM J. Res. Dev. 27(6), 1983), and some come in small clusters. What a product makes of
its edge, its centre and its reticle is a habit of the product and drawn from its name.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fab_sim.outline import Disc, Floats, disc
from fab_sim.randomness import generator
from fab_sim.scenario import Product

__all__ = [
    "ALPHA",
    "BY_CHANCE",
    "BY_EDGE",
    "BY_RETICLE",
    "BY_TESTER",
    "FALSE_PASS",
    "Habits",
    "chance",
    "habits",
]

BY_CHANCE, BY_EDGE, BY_RETICLE, BY_TESTER = -1, -2, -3, -4
"""What failed a die when no cause did: random defects, the edge exclusion, a defect of the reticle,
or the tester alone (the die was good)."""

ALPHA = 30.0
"""Shape of the gamma over the wafers of a product. Within the larger grids of WM-811K the spread
beyond the binomial says 5 to 95, median 30; Stapper's 1 to 3 are for several products and years."""
# The same for failures at the edge, where a small shift of the wafer does much.
_EDGE_ALPHA = 6.0
# One wafer in so many had a bad day without a pattern: its level is up to three times as high.
_BAD_DAY = 0.015
# A good die fails, a bad one passes: contact trouble and limits in the noise.
_FALSE_FAIL, FALSE_PASS = 0.0008, 0.004
# Share of the products whose reticle has a repeating defect, and how often it kills.
_REPEATING = 0.1
_REPEAT_KILLS = (0.02, 0.2)
# Kill probability of a die whose outermost corner lies well beyond the usable edge.
_EDGE_KILLS = (0.05, 0.35)
# At most so much of a product's random failures is at the edge.
_EDGE_PART = 0.5
_CENTRE_RADIUS = 0.17
# Small clusters per failed die.
_CLUSTERS = 0.015
_MOST = 0.6


class Habits(NamedTuple):
    """What all wafers of a product have in common.

    Attributes:
        wafer: its dies.
        base: (dies,) random defects, kill probability on an average wafer.
        edge: (dies,) the same for the edge exclusion.
        repeat: (dies,) the same for a repeating defect; None without one.
        level: kill probability of random defects in the middle of the wafer.
    """

    wafer: Disc
    base: Floats
    edge: Floats
    repeat: Floats | None
    level: float


@lru_cache(maxsize=512)
def habits(product: Product) -> Habits:
    """The dies of a product and how they fail on an average wafer.

    All of it adds up to the product's `random_share`.
    """
    draw = generator("product", product.id, product.rows, product.columns)
    aside, down = draw.uniform(-0.25, 0.25, 2)
    wafer = disc(
        product.rows, product.columns, float(aside), float(down), float(draw.uniform(0.98, 1.0))
    )
    # A die is lost the more of it lies beyond the usable edge, so its outermost corner counts.
    usable = draw.uniform(0.95, 1.0)
    beyond = (wafer.corner - usable) / (0.45 * wafer.pitch)
    edge = draw.uniform(*_EDGE_KILLS) / (1.0 + np.exp(-4.0 * np.clip(beyond - 0.5, -9.0, 9.0)))
    dies = len(wafer.r)
    most = _EDGE_PART * product.random_share * dies
    edge *= min(1.0, most / max(float(edge.sum()), 1e-9))
    centre = draw.uniform(0.2, 1.5) * np.exp(-((wafer.r / _CENTRE_RADIUS) ** 2))
    rim = draw.uniform(0.0, 0.6) * np.exp(np.minimum(wafer.r - 1.0, 0.0) / 0.08)
    base = 1.0 + centre + rim
    level = (product.random_share * dies - float(edge.sum())) / float(base.sum())
    repeat = None
    position = draw.integers(product.reticle_rows), draw.integers(product.reticle_columns)
    kills = draw.uniform(*_REPEAT_KILLS)
    if draw.random() < _REPEATING:
        # Weak and rare: no more than the random defects are in all.
        hit = (wafer.row % product.reticle_rows == position[0]) & (
            wafer.column % product.reticle_columns == position[1]
        )
        repeat = np.where(hit, min(kills, 4.0 * product.random_share), 0.0)
    return Habits(wafer, base * level, edge, repeat, level)


def chance(
    habit: Habits, detuned: float, variety: float, random: np.random.Generator
) -> npt.NDArray[np.int16]:
    """What failed each die of a wafer without any cause, (dies,) int16 of the codes above or 0.

    Args:
        habit: of its product.
        detuned: how far its recipes were from right, 0 for not at all.
        variety: see `Scenario.variety`.
        random: this wafer's own stream.
    """
    wafer = habit.wafer
    dies = len(wafer.r)
    level, edge_level = random.standard_gamma(ALPHA), random.standard_gamma(_EDGE_ALPHA)
    level *= (1.0 + 0.6 * detuned) / ALPHA
    edge_level *= (1.0 + 1.2 * detuned) / _EDGE_ALPHA
    bad, tilt, lean, edge_tilt, edge_lean = random.random(5).tolist()
    if bad < _BAD_DAY:
        level *= 1.0 + 2.0 * bad / _BAD_DAY
    # A slow tilt over the wafer (the first Zernike terms): no process is quite level.
    tilt, lean = 0.5 * (tilt - 0.5) * (0.5 + variety), 0.5 * (lean - 0.5) * (0.5 + variety)
    random_kill = tilt * wafer.x
    random_kill += lean * wafer.y
    random_kill += 1.0
    random_kill *= habit.base
    random_kill *= level
    np.minimum(random_kill, _MOST, out=random_kill)
    # One number a die decides among all of these, which are rare enough to exclude each other.
    draws = random.random(dies)
    killed = np.zeros(dies, dtype=np.int16)
    killed[draws > 1.0 - _FALSE_FAIL] = BY_TESTER
    killed[draws < random_kill] = BY_CHANCE
    # Nor is the edge quite even: the wafer is never quite in the middle of the module.
    edge_kill = (1.6 * (edge_tilt - 0.5)) * wafer.x
    edge_kill += (1.6 * (edge_lean - 0.5)) * wafer.y
    edge_kill += 1.0
    np.maximum(edge_kill, 0.0, out=edge_kill)
    edge_kill *= habit.edge
    edge_kill *= edge_level
    for kill, code in ((edge_kill, BY_EDGE), (habit.repeat, BY_RETICLE)):
        if kill is not None:
            draws -= random_kill
            random_kill = kill
            killed[(draws >= 0.0) & (draws < random_kill)] = code
    _cluster(wafer, killed, level * habit.level, random)
    return killed


def _cluster(
    wafer: Disc, killed: npt.NDArray[np.int16], share: float, random: np.random.Generator
) -> None:
    """Add small clusters of random defects in place."""
    rows, columns = wafer.on.shape
    for _ in range(int(random.poisson(_CLUSTERS * share * len(killed)))):
        start = int(random.integers(len(killed)))
        row, column = int(wafer.row[start]), int(wafer.column[start])
        # A walk of a few dies; plain numbers are faster than arrays of three.
        steps = 2 + int(random.poisson(1.2))
        for down, aside in random.integers(-1, 2, size=(steps, 2)).tolist():
            row, column = row + down, column + aside
            if 0 <= row < rows and 0 <= column < columns:
                die = int(wafer.number[row, column])
                if die >= 0 and killed[die] == 0:
                    killed[die] = BY_CHANCE
