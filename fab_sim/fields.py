"""Fields over the wafer: the probability that a cause kills the die at a place.

A field belongs to a family (ring, disc, ...) and has a place, a size and a sharpness. Those are
drawn twice: once per cause, so that one cause keeps its place on wafer after wafer, and a little
again per wafer. Coordinates are those of the wafer's bounding square, -1 to 1 both ways, so r = 1
is the edge. The ranges were set by looking at maps of WM-811K (docs/fab.md).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fab_sim.modes import Family

__all__ = ["Disc", "disc", "field"]

Floats = npt.NDArray[np.float64]


class Disc(NamedTuple):
    """The dies of a grid.

    Attributes:
        on: (rows, columns) bool, on the wafer.
        x: (dies,) centre of each die on the wafer, row-major; right is positive.
        y: (dies,) the same, downwards.
        r: (dies,) distance from the centre.
        theta: (dies,) angle, radians.
        number: (rows, columns) place of a die in the arrays above, -1 off the wafer.
    """

    on: npt.NDArray[np.bool_]
    x: Floats
    y: Floats
    r: Floats
    theta: Floats
    number: npt.NDArray[np.int64]


@lru_cache(maxsize=256)
def disc(rows: int, columns: int) -> Disc:
    """The dies of a (rows, columns) grid whose bounding box touches the wafer's edge."""
    y, x = np.mgrid[:rows, :columns]
    x = (x + 0.5) * 2.0 / columns - 1.0
    y = (y + 0.5) * 2.0 / rows - 1.0
    r = np.hypot(x, y)
    on = r <= 1.0
    index = np.full((rows, columns), -1, dtype=np.int64)
    index[on] = np.arange(int(on.sum()))
    return Disc(on, x[on], y[on], r[on], np.arctan2(y, x)[on], index)


def field(
    family: Family,
    wafer: Disc,
    strength: float,
    cause: np.random.Generator,
    own: np.random.Generator,
    variety: float,
) -> Floats:
    """Kill probability of every die, (dies,) float64 in 0..1.

    Args:
        family: the shape.
        wafer: the die grid.
        strength: 0 for none, 1 for the full field.
        cause: draws what all wafers of one cause share.
        own: draws what this wafer has of its own.
        variety: 0 to 1, how much wafers of one cause differ.
    """
    draw = _Draw(cause, own, variety)
    if strength <= 0.0:
        return np.zeros(len(wafer.r))
    shape = _FAMILIES[family](wafer, draw, strength)
    return np.asarray(np.clip(shape, 0.0, 1.0))


class _Draw:
    """Draws a number for the cause, and moves it a little for the wafer."""

    def __init__(
        self, cause: np.random.Generator, own: np.random.Generator, variety: float
    ) -> None:
        self._cause, self.own, self._variety = cause, own, variety

    def between(self, low: float, high: float) -> float:
        """Somewhere in low..high."""
        middle = self._cause.uniform(low, high)
        moved = middle + self._variety * 0.25 * (high - low) * self.own.normal()
        return float(min(max(moved, low), high))

    def angle(self) -> float:
        """Any angle, radians."""
        return float(self._cause.uniform(-np.pi, np.pi) + self._variety * 0.6 * self.own.normal())

    def chance(self, probability: float) -> bool:
        """Whether the cause has a trait."""
        return bool(self._cause.random() < probability)


def _turn(theta: Floats, towards: float) -> Floats:
    """Angle between each die and a direction, 0..pi."""
    return np.abs((theta - towards + np.pi) % (2 * np.pi) - np.pi)


def _wave(wafer: Disc, draw: _Draw, depth: float) -> Floats:
    """A slow change around and across the wafer, about 1: the low Zernike terms."""
    phases = [draw.angle() for _ in range(3)]
    wave = (
        0.5 * wafer.r * np.cos(wafer.theta - phases[0])
        + 0.3 * wafer.r**2 * np.cos(2 * (wafer.theta - phases[1]))
        + 0.3 * np.cos(np.pi * wafer.r + phases[2])
    )
    return 1.0 + depth * wave


def _sigmoid(value: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(value, -40.0, 40.0))))


def _ring(wafer: Disc, draw: _Draw, strength: float) -> Floats:
    peak = draw.between(0.65, 1.0) * strength
    inner = draw.between(0.895, 0.965)
    edge = _sigmoid((wafer.r - inner) / draw.between(0.006, 0.022))
    gap = _turn(wafer.theta, draw.angle()) < draw.between(0.0, 0.9)
    edge = np.where(gap & draw.chance(0.35), 0.25 * edge, edge)
    return np.asarray(peak * edge * _wave(wafer, draw, draw.between(0.0, 0.35)))


def _disc(wafer: Disc, draw: _Draw, strength: float) -> Floats:
    peak = draw.between(0.6, 1.0) * strength
    off, towards = draw.between(0.0, 0.14), draw.angle()
    x, y = wafer.x - off * np.cos(towards), wafer.y - off * np.sin(towards)
    size, squash = draw.between(0.14, 0.5), draw.between(0.75, 1.3)
    distance = np.hypot(x * squash, y / squash) / (size * np.sqrt(min(1.0, 0.4 + 0.6 * strength)))
    return np.asarray(peak * np.exp(-(distance ** draw.between(1.6, 5.0))))


def _annulus(wafer: Disc, draw: _Draw, strength: float) -> Floats:
    peak = draw.between(0.6, 1.0) * strength
    off, towards = draw.between(0.0, 0.12), draw.angle()
    x, y = wafer.x - off * np.cos(towards), wafer.y - off * np.sin(towards)
    distance = np.hypot(x, y)
    middle, width = draw.between(0.28, 0.56), draw.between(0.09, 0.2)
    band = np.exp(-(np.abs((distance - middle) / width) ** draw.between(2.0, 5.0)))
    gap = _turn(np.arctan2(y, x), draw.angle()) < draw.between(0.3, 1.2)
    band = np.where(gap & draw.chance(0.4), draw.between(0.0, 0.4) * band, band)
    return np.asarray(peak * band * _wave(wafer, draw, draw.between(0.0, 0.4)))


def _edge_arc(wafer: Disc, draw: _Draw, strength: float) -> Floats:
    peak = draw.between(0.6, 1.0) * strength
    inner = draw.between(0.66, 0.92)
    half = draw.between(0.2, 1.05)
    turn = _turn(wafer.theta, draw.angle())
    across = _sigmoid((half - turn) / draw.between(0.03, 0.12))
    # Deepest in the middle of the arc, as where something touched the wafer.
    depth = inner + (1.0 - inner) * 0.6 * np.minimum(1.0, turn / half) ** 2
    return np.asarray(peak * across * _sigmoid((wafer.r - depth) / draw.between(0.01, 0.04)))


def _blob(wafer: Disc, draw: _Draw, strength: float) -> Floats:
    peak = draw.between(0.6, 1.0) * strength
    out, towards = draw.between(0.22, 0.76), draw.angle()
    x, y = wafer.x - out * np.cos(towards), wafer.y - out * np.sin(towards)
    turn = draw.angle()
    along = x * np.cos(turn) + y * np.sin(turn)
    across = -x * np.sin(turn) + y * np.cos(turn)
    # At least about two dies across, or it is no pattern on a coarse grid.
    die = 2.0 / wafer.on.shape[0]
    size, squash = max(draw.between(0.08, 0.32), 1.3 * die), draw.between(0.65, 1.5)
    distance = np.hypot(along * squash, across / squash) / size
    return np.asarray(peak * np.exp(-(distance ** draw.between(2.0, 5.0))))


def _scatter(wafer: Disc, draw: _Draw, strength: float) -> Floats:
    level = draw.between(0.26, 0.58) * min(1.15, 0.3 + 0.7 * strength)
    return np.asarray(level * _wave(wafer, draw, draw.between(0.0, 0.9)))


def _flood(wafer: Disc, draw: _Draw, strength: float) -> Floats:
    level = draw.between(0.8, 1.3) * min(1.0, strength)
    return np.asarray(level * _wave(wafer, draw, draw.between(0.0, 0.9)))


def _scratch(wafer: Disc, draw: _Draw, strength: float) -> Floats:
    """Dies under one or several curved strokes."""
    rows, columns = wafer.on.shape
    kill = np.zeros(len(wafer.r))
    heading, curl = draw.angle(), draw.between(-1.1, 1.1)
    out, towards = draw.between(0.1, 0.8), draw.angle()
    length = draw.between(0.45, 1.6) * min(1.2, 0.5 + 0.5 * strength)
    dense = draw.between(0.72, 1.0) * min(1.0, 0.5 + 0.5 * strength)
    strokes = 1 if not draw.chance(0.2) else int(draw.between(2.0, 4.99))
    spacing = draw.between(0.15, 0.35)
    thick = draw.chance(0.15)
    along = np.linspace(-0.5, 0.5, int(3 * length * max(rows, columns)) + 8) * length
    turn = heading + curl * along
    step = along[1] - along[0]
    path_x, path_y = np.cumsum(np.cos(turn)) * step, np.cumsum(np.sin(turn)) * step
    path_x -= path_x.mean()
    path_y -= path_y.mean()
    for stroke in range(strokes):
        aside = (stroke - (strokes - 1) / 2) * spacing
        x = out * np.cos(towards) + path_x - aside * np.sin(heading)
        y = out * np.sin(towards) + path_y + aside * np.cos(heading)
        for offset in (0.0, 1.0) if thick else (0.0,):
            column = np.floor((x + 1.0) * columns / 2 - offset * np.sin(heading)).astype(np.int64)
            row = np.floor((y + 1.0) * rows / 2 + offset * np.cos(heading)).astype(np.int64)
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            dies = wafer.number[row[inside], column[inside]]
            kill[dies[dies >= 0]] = dense
    return kill


_FAMILIES = {
    "ring": _ring,
    "disc": _disc,
    "annulus": _annulus,
    "edge_arc": _edge_arc,
    "blob": _blob,
    "scratch": _scratch,
    "scatter": _scatter,
    "flood": _flood,
}
