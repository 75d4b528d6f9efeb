"""From fields to dies: which fail, what killed them, and which pattern a wafer truly has.

Causes add up: a die survives if it survives every cause and chance. The true pattern is read off
what the causes did to this wafer, never drawn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.wafer_map import FAIL, OFF, PASS
from fab_sim.chance import (
    BY_CHANCE,
    BY_EDGE,
    BY_RETICLE,
    BY_TESTER,
    FALSE_PASS,
    Habits,
    chance,
    habits,
)
from fab_sim.fields import field_of, traits_of
from fab_sim.modes import MODES
from fab_sim.outline import Floats
from fab_sim.scenario import Product

__all__ = [
    "BY_CHANCE",
    "BY_EDGE",
    "BY_RETICLE",
    "BY_TESTER",
    "Hit",
    "ProbedWafer",
    "probe_wafer",
]

# A cause shows as a pattern from here on: fewer dies or fainter cores cannot be told from chance.
_MIN_KILLS, _MIN_CORE = 4, 0.3
_MIN_RANDOM_SHARE, _MIN_NEAR_FULL_SHARE = 0.18, 0.66
# And it must stand out of the failures by chance on the dies it covers, by so many of their
# standard deviations (they are Poisson). A line needs more: chance draws lines everywhere.
_STANDS_OUT, _LINE_STANDS_OUT = 3.0, 5.0
_NOTHING: tuple[str, ...] = ("None",)


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
        killed_by: (rows, columns) int16, what failed each die: 0 off the wafer or not failed, k
            from 1 on for hit number k, or one of `BY_CHANCE`, `BY_EDGE`, `BY_RETICLE`, `BY_TESTER`.
            A die that several things killed is the first hit's.
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
    habit = habits(product)
    by_chance = chance(habit, detuned, variety, random)
    if hits:
        killed, patterns, guilty = _struck(habit, by_chance, hits, variety, random)
    else:
        killed, patterns, guilty = by_chance, _NOTHING, ()
    on = habit.wafer.on
    failed = np.flatnonzero(killed)
    passed = random.random(len(failed)) < FALSE_PASS
    if passed.any():
        killed[failed[passed]] = 0
    killed_by = np.zeros(on.shape, dtype=np.int16)
    killed_by[on] = killed
    grid = np.full(on.shape, OFF, dtype=np.uint8)
    grid[on] = PASS
    grid[killed_by != 0] = FAIL
    return ProbedWafer(grid, patterns, guilty, killed_by)


def _struck(
    habit: Habits,
    by_chance: npt.NDArray[np.int16],
    hits: Sequence[Hit],
    variety: float,
    random: np.random.Generator,
) -> tuple[npt.NDArray[np.int16], tuple[str, ...], tuple[bool, ...]]:
    """What killed each die (dies,) with the causes, the patterns that show, and whose they are."""
    wafer = habit.wafer
    killed = np.zeros_like(by_chance)
    alive = by_chance == 0
    kills: dict[str, int] = {}
    guilty = []
    for number, hit in enumerate(hits, start=1):
        mode = MODES[hit.mode]
        kill = field_of(mode.family, wafer, hit.strength, traits_of(hit.cause), random, variety)
        dead = random.random(len(kill)) < kill
        killed[dead & (killed == 0)] = number
        pattern = _shows(mode.pattern, dead, alive, kill, habit)
        guilty.append(pattern != "None")
        if pattern != "None":
            kills[pattern] = kills.get(pattern, 0) + int(np.count_nonzero(dead))
    np.copyto(killed, by_chance, where=killed == 0)
    patterns = tuple(sorted(kills, key=lambda name: (-kills[name], name))) or _NOTHING
    if "Near-full" in patterns:
        # Nothing else can be seen on a wafer that is dead nearly everywhere.
        patterns = ("Near-full",)
    return killed, patterns, tuple(guilty)


def _shows(
    pattern: str,
    dead: npt.NDArray[np.bool_],
    alive: npt.NDArray[np.bool_],
    kill: Floats,
    habit: Habits,
) -> str:
    """The pattern that a field with these effects is, or 'None'.

    Args:
        pattern: of the mode at full strength.
        dead: (dies,) killed by the field.
        alive: (dies,) not failed by chance.
        kill: (dies,) the field.
        habit: how the product fails by chance.
    """
    kills = int(np.count_nonzero(dead))
    share = kills / len(kill)
    if pattern == "Near-full" and share >= _MIN_NEAR_FULL_SHARE:
        return "Near-full"
    if pattern in ("Near-full", "Random"):
        return "Random" if share >= _MIN_RANDOM_SHARE else "None"
    peak = float(kill.max())
    if kills < _MIN_KILLS or peak < _MIN_CORE:
        return "None"
    expected = float((kill * (habit.base + habit.edge)).sum()) / peak
    added = int(np.count_nonzero(dead & alive))
    needed = _LINE_STANDS_OUT if pattern == "Scratch" else _STANDS_OUT
    return pattern if added >= needed * expected**0.5 else "None"
