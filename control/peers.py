"""A module that has no past of its own yet, compared with the others that run the same recipe.

Furnaces see one lot an hour among all of them: until one has its ten quiet runs, half the fab's
week is over. What its peers show is a poorer yardstick, as modules differ (matching), but it is
there from their third runs on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["HELD", "Peer", "compare"]

# Readings of its own, and other modules with as many, from which a module is judged; and degrees
# of freedom of the pooled spread. With a single peer it is not known which of the two is off, but a
# failure mode has a sign, and only one of them can have it.
READINGS, PEERS, DEGREES = 3, 1, 8
# The latest readings that count: an old one must not hide what has begun.
HELD = READINGS + 1
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


def compare(
    readings: Floats, peers: Sequence[Peer], floor: Floats
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.intp]] | None:
    """How far a module is from its peers.

    Args:
        readings: (n, at least V) of its own, the latest last.
        peers: the other modules.
        floor: (V,) smallest spread that is believed.

    Returns:
        Normal level, spread and distance in spreads, (V,) each, and the columns that are out of
        limits; None if none is, or too little is known. Distance is NaN where it is not known.
    """
    width = len(floor)
    if len(readings) < READINGS or len(peers) < PEERS:
        return None
    mine = readings[-HELD:, :width]
    counts = np.array([peer.wafers for peer in peers])
    there = counts >= READINGS
    known = there.sum(axis=0)
    degrees = np.where(there, counts - 1.0, 0.0)
    own = len(mine) - 1.0
    free = degrees.sum(axis=0) + own
    enough = (known >= PEERS) & (free >= DEGREES) & np.isfinite(mine).all(axis=0)
    if not enough.any():
        return None
    centres = np.where(there, np.array([peer.centre for peer in peers]), np.nan)[:, enough]
    var = np.array([peer.var for peer in peers])
    sigma = np.full(width, np.nan)
    squares = (degrees * var).sum(axis=0) + own * mine.var(axis=0, ddof=1)
    pooled = squares[enough] / free[enough]
    sigma[enough] = np.sqrt(np.maximum(pooled, floor[enough] ** 2))
    normal = np.full(width, np.nan)
    normal[enough] = np.nanmedian(centres, axis=0)
    apart = (mine.mean(axis=0) - normal) / sigma
    between = np.full(int(enough.sum()), MATCHING)
    if len(peers) > 1:
        several = known[enough] > 1
        spread = np.nanstd(centres[:, several], axis=0, ddof=1) / sigma[enough][several]
        between[several] = np.maximum(MATCHING, spread)
    limit = np.full(width, np.inf)
    limit[enough] = LIMIT * np.sqrt(1.0 / len(mine) + between**2 * (1.0 + 1.0 / known[enough]))
    out = np.flatnonzero(np.abs(np.nan_to_num(apart)) > limit)
    return (normal, sigma, apart, out) if len(out) else None
