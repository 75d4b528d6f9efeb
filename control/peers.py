"""A module that has no past of its own yet, compared with the others that run the same recipe.

Furnaces see one lot an hour among all of them: until one has its ten quiet runs, half the fab's
week is over. What its peers show is a poorer yardstick, as modules differ (matching), but it is
there from their third runs on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["HELD", "LATEST", "Distance", "Look", "Peer", "compare"]

# Readings of its own, and other modules with as many, from which a module is judged; and degrees
# of freedom of the pooled spread. With a single peer it is not known which of the two is off, but a
# failure mode has a sign, and only one of them can have it.
READINGS, PEERS, DEGREES = 3, 1, 8
# The latest readings that count: an old one must not hide what has begun.
HELD = READINGS + 1
# Where several recipes are looked at together, so many of each.
LATEST = 2
# Modules differ by about so many spreads at least: what tool matching tolerates.
MATCHING = 0.6
# In standard deviations of the difference. Whoever acts on it asks for a failure mode that fits.
LIMIT = 4.5

Floats = npt.NDArray[np.float64]


class Peer(NamedTuple):
    """What is known of another module: centre and variance of each variable, and from how many."""

    centre: Floats
    var: Floats
    wafers: Floats

    @classmethod
    def of_readings(cls, readings: Floats) -> "Peer":
        """From (n, V) readings; where one is missing nothing is known."""
        n, width = readings.shape
        if n < READINGS:
            return cls(np.zeros(width), np.zeros(width), np.zeros(width))
        whole = np.isfinite(readings).all(axis=0)
        filled = np.where(whole, readings, 0.0)
        return cls(filled.mean(axis=0), filled.var(axis=0, ddof=1), np.where(whole, float(n), 0.0))


class Look(NamedTuple):
    """What is known of a module in one recipe, and of the others in it.

    Attributes:
        readings: (n, at least V) of its own, the latest last.
        peers: the other modules.
        floor: (V,) smallest spread that is believed.
    """

    readings: Floats
    peers: Sequence[Peer]
    floor: Floats


class Distance(NamedTuple):
    """How far a module is from its peers.

    Attributes:
        normal: (V,) level of the peers, in the first recipe looked at; NaN where it is not known.
        spread: (V,) from wafer to wafer, the same.
        apart: (V,) distance in spreads, over all recipes looked at.
        out: columns that are out of limits.
    """

    normal: Floats
    spread: Floats
    apart: Floats
    out: npt.NDArray[np.intp]


def compare(looks: Sequence[Look], latest: int = HELD) -> Distance | None:
    """How far a module is from its peers, by its latest readings in each recipe.

    A module that is off is so in every recipe: a few runs of each tell it as well as many of one.

    Args:
        looks: one a recipe, the one that is asked about first; all of the same V variables.
        latest: readings that count in each.

    Returns:
        None if nothing is out of limits, or too little is known.
    """
    first: tuple[Floats, Floats] | None = None
    width = len(looks[0].floor) if looks else 0
    runs, total, between = np.zeros(width), np.zeros(width), np.zeros(width)
    for look in looks:
        mine = look.readings[-latest:, :width]
        normal, spread, unlike = _yardstick(mine, look)
        first = first or (normal, spread)
        apart = ((mine - normal) / spread).sum(axis=0)
        known = np.isfinite(apart)
        runs += np.where(known, len(mine), 0)
        total += np.where(known, apart, 0.0)
        # Whatever makes modules differ does so in all recipes: it does not average out.
        between = np.maximum(between, np.where(known, unlike, 0.0))
    if first is None:
        return None
    enough = runs >= READINGS
    mean = np.where(enough, total / np.maximum(runs, 1.0), np.nan)
    limit = LIMIT * np.sqrt(1.0 / np.maximum(runs, 1.0) + between)
    out = np.flatnonzero(np.abs(np.nan_to_num(mean)) > limit)
    return Distance(*first, mean, out) if len(out) else None


def _yardstick(mine: Floats, look: Look) -> tuple[Floats, Floats, Floats]:
    """Peers' level, spread, and variance between modules in spreads, (V,); NaN where unknown."""
    width = len(look.floor)
    normal, spread, unlike = (np.full(width, np.nan) for _ in range(3))
    if len(look.peers) < PEERS or not len(mine):
        return normal, spread, unlike
    counts = np.array([peer.wafers for peer in look.peers])
    there = counts >= READINGS
    known = there.sum(axis=0)
    degrees = np.where(there, counts - 1.0, 0.0)
    own = len(mine) - 1.0
    free = degrees.sum(axis=0) + own
    enough = (known >= PEERS) & (free >= DEGREES) & np.isfinite(mine).all(axis=0)
    if not enough.any():
        return normal, spread, unlike
    centres = np.where(there, np.array([peer.centre for peer in look.peers]), np.nan)[:, enough]
    squares = (degrees * np.array([peer.var for peer in look.peers])).sum(axis=0)
    if own > 0.0:
        squares = squares + own * mine.var(axis=0, ddof=1)
    pooled = squares[enough] / free[enough]
    spread[enough] = np.sqrt(np.maximum(pooled, look.floor[enough] ** 2))
    normal[enough] = np.nanmedian(centres, axis=0)
    between = np.full(int(enough.sum()), MATCHING)
    if len(look.peers) > 1:
        several = known[enough] > 1
        apart = np.nanstd(centres[:, several], axis=0, ddof=1) / spread[enough][several]
        between[several] = np.maximum(MATCHING, apart)
    unlike[enough] = between**2 * (1.0 + 1.0 / known[enough])
    return normal, spread, unlike
