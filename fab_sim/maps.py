"""From fields to dies: which fail, and which pattern a wafer truly has.

Causes add up: a die survives if it survives every cause and chance. The true pattern is read off
what the causes did to this wafer, never drawn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.wafer_map import FAIL, OFF, PASS
from fab_sim.fields import disc, field
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.scenario import Product

__all__ = ["KILLERS", "Hit", "ProbedWafer", "probe_wafer"]

# A cause shows as a pattern from here on: fewer dies or fainter cores cannot be told from chance.
_MIN_KILLS, _MIN_KILL_SHARE, _MIN_CORE = 5, 0.008, 0.35
_MIN_RANDOM_SHARE, _MIN_NEAR_FULL_SHARE = 0.2, 0.66
# Shape of the gamma that makes the number of random defects negative binomial (Stapper 1983:
# alpha of 1 to 3 in production).
_ALPHA = 2.5


KILLERS: dict[int, str] = {-1: "chance", -2: "reticle", -3: "edge", -4: "test"}


class Hit(NamedTuple):
    """What one cause did to one wafer.

    Attributes:
        mode: the failure mode.
        strength: of its field on this wafer, 1 is full.
        cause: names the cause; wafers of one cause look alike.
        time_ms: when it happened.
    """

    mode: str
    strength: float
    cause: str
    time_ms: int


class ProbedWafer(NamedTuple):
    """What electrical test finds, and the truth about it.

    Attributes:
        grid: (rows, columns) uint8 of 0, 1, 2.
        patterns: true patterns, strongest first; ('None',) where nothing shows.
        guilty: for each hit, whether it shows.
    """

    grid: npt.NDArray[np.uint8]
    patterns: tuple[str, ...]
    guilty: tuple[bool, ...]
    killed_by: npt.NDArray[np.int16]


def probe_wafer(
    product: Product,
    hits: Sequence[Hit],
    *,
    detuned: float,
    variety: float,
    random: np.random.Generator,
) -> ProbedWafer:
    """Test one wafer.

    Args:
        product: its die grid and random failures.
        hits: what happened to it.
        detuned: how far its recipes were from right, 0 for not at all.
        variety: see `Scenario.variety`.
        random: this wafer's own stream.
    """
    wafer = disc(product.rows, product.columns)
    dies = len(wafer.r)
    failed = _chance(product, detuned, variety, random)
    kills: dict[str, int] = {}
    guilty = []
    for hit in hits:
        mode = MODES[hit.mode]
        kill = field(
            mode.family, wafer, hit.strength, generator("cause", hit.cause), random, variety
        )
        killed = random.random(dies) < kill
        failed |= killed
        count = int(np.count_nonzero(killed))
        pattern = _shows(mode.pattern, count, dies, float(kill.max()))
        guilty.append(pattern != "None")
        if pattern != "None":
            kills[pattern] = kills.get(pattern, 0) + count
    grid = np.full(wafer.on.shape, OFF, dtype=np.uint8)
    grid[wafer.on] = np.where(failed, FAIL, PASS)
    patterns = tuple(sorted(kills, key=lambda name: (-kills[name], name))) or ("None",)
    if "Near-full" in patterns:
        # Nothing else can be seen on a wafer that is dead nearly everywhere.
        patterns = ("Near-full",)
    return ProbedWafer(grid, patterns, tuple(guilty), np.zeros(grid.shape, dtype=np.int16))


def _shows(pattern: str, kills: int, dies: int, core: float) -> str:
    """The pattern that a field with these effects is, or 'None'."""
    share = kills / dies
    if pattern == "Near-full" and share >= _MIN_NEAR_FULL_SHARE:
        return "Near-full"
    if pattern in ("Near-full", "Random"):
        return "Random" if share >= _MIN_RANDOM_SHARE else "None"
    if kills < _MIN_KILLS or share < _MIN_KILL_SHARE * (0.5 if pattern == "Scratch" else 1.0):
        return "None"
    return pattern if core >= _MIN_CORE else "None"


def _chance(
    product: Product, detuned: float, variety: float, random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Dies that fail for no cause: random defects, clusters of them, the edge."""
    wafer = disc(product.rows, product.columns)
    dies = len(wafer.r)
    # With variety 1 the level differs from wafer to wafer as between fabs, else as in one fab.
    alpha = _ALPHA + (1.0 - variety) * 12.0
    share = product.random_share * random.gamma(alpha, 1.0 / alpha) * (1.0 + 0.6 * detuned)
    edge = random.uniform(0.5, 0.5 + 5.0 * max(variety, 0.2))
    profile = (
        1.0
        + edge * np.exp((wafer.r - 1.0) / 0.05)
        + 0.4 * variety * np.exp(-((wafer.r / 0.22) ** 2))
    )
    failed = random.random(dies) < np.minimum(share * profile, 0.6)
    rows, columns = wafer.on.shape
    for _ in range(int(random.poisson(0.02 * share * dies))):
        start = int(random.integers(dies))
        size = 2 + int(random.poisson(1.2))
        walk = random.integers(-1, 2, size=(size, 2)).cumsum(axis=0)
        row = np.clip((wafer.y[start] + 1) * rows / 2 + walk[:, 0], 0, rows - 1).astype(np.int64)
        column = np.clip((wafer.x[start] + 1) * columns / 2 + walk[:, 1], 0, columns - 1)
        near = wafer.number[row, column.astype(np.int64)]
        failed[near[near >= 0]] = True
    return np.asarray(failed)
