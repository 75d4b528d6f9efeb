"""Wafer maps drawn with a pattern, for tests that need some to learn from."""

import numpy as np

from contracts.wafer_map import Grid

__all__ = ["PATTERNS_DRAWN", "draw_map"]


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
