"""Fields over the wafer: the probability that a cause kills the die at a place.

A field belongs to a family (ring, disc, ...) and has a place, a size and a sharpness. Those are
drawn twice: once per cause, so that one cause keeps its place on wafer after wafer, and a little
again per wafer. Smooth families are products of a radial and an angular part with the low Zernike
terms on top (tilt, astigmatism, defocus); scratches and clusters are processes over dies. The
ranges were set by looking at summary statistics and sheets of WM-811K (docs/fab.md).
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from fab_sim.modes import Family
from fab_sim.outline import Disc, Floats, disc
from fab_sim.randomness import generator
from fab_sim.strokes import strokes

__all__ = ["TRAITS", "Disc", "disc", "field", "field_of", "traits_of"]

TRAITS = 48
"""Numbers that say what a cause looks like; more than any family uses."""

# Share of the causes that spare some positions of the reticle or sites of the probe card.
_STRIPED = 0.1


@lru_cache(maxsize=4096)
def traits_of(cause: str) -> tuple[float, ...]:
    """The traits of a cause, `TRAITS` numbers in 0..1, from its name alone."""
    return tuple(generator("cause", cause).random(TRAITS).tolist())


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
    return field_of(family, wafer, strength, tuple(cause.random(TRAITS).tolist()), own, variety)


def field_of(
    family: Family,
    wafer: Disc,
    strength: float,
    traits: tuple[float, ...],
    own: np.random.Generator,
    variety: float,
) -> Floats:
    """The same from the traits of a cause, as `traits_of` gives them."""
    if strength <= 0.0:
        return np.zeros(len(wafer.r))
    shape = _FAMILIES[family](wafer, Draw(traits, own, variety), strength)
    np.maximum(shape, 0.0, out=shape)
    return np.minimum(shape, 1.0, out=shape)


class Draw:
    """Takes the traits of a cause one after another, and moves each a little for the wafer."""

    def __init__(self, traits: tuple[float, ...], own: np.random.Generator, variety: float) -> None:
        self._traits: Iterator[float] = iter(traits)
        self._moves: Iterator[float] = iter((own.standard_normal(TRAITS) * variety).tolist())

    def between(self, low: float, high: float, power: float = 1.0) -> float:
        """Somewhere in low..high; a power above 1 makes the low end likelier."""
        part = math.pow(next(self._traits), power) + 0.25 * next(self._moves)
        return low + (high - low) * min(max(part, 0.0), 1.0)

    def angle(self) -> float:
        """Any angle, radians."""
        return 2.0 * math.pi * next(self._traits) - math.pi + 0.6 * next(self._moves)

    def chance(self, probability: float) -> bool:
        """Whether the cause has a trait."""
        return next(self._traits) < probability


def _turn(theta: Floats, towards: float) -> Floats:
    """Angle between each die and a direction, 0..pi."""
    return np.abs((theta - (towards - math.pi)) % (2 * math.pi) - math.pi)


def _wave(wafer: Disc, draw: Draw, depth: float) -> Floats:
    """A slow change around and across the wafer, about 1: the low Zernike terms."""
    tilt, astigmatism, defocus = draw.angle(), draw.angle(), draw.angle()
    x, y = wafer.x, wafer.y
    wave: Floats = (0.5 * depth * math.cos(tilt)) * x
    wave += (0.5 * depth * math.sin(tilt)) * y
    wave += (0.3 * depth * math.cos(2 * astigmatism)) * (x * x - y * y)
    wave += (0.6 * depth * math.sin(2 * astigmatism)) * (x * y)
    wave += (0.3 * depth * math.cos(defocus)) * (2.0 * wafer.r * wafer.r - 1.0)
    wave += 1.0
    return wave


def _rough(wafer: Disc, draw: Draw, depth: float) -> Floats:
    """Patches a fifth to a whole radius across, about 1: no real process is as smooth as a formula.

    The exponential of three plane waves.
    """
    sum_: Floats = np.zeros(len(wafer.r))
    for _ in range(3):
        towards, speed, phase = draw.angle(), draw.between(2.0, 9.0), draw.angle()
        wave = (speed * math.cos(towards)) * wafer.x
        wave += (speed * math.sin(towards)) * wafer.y
        wave += phase
        sum_ += np.cos(wave, out=wave)
    sum_ *= 0.6 * depth
    return np.exp(sum_, out=sum_)


def _sigmoid(value: Floats) -> Floats:
    np.maximum(value, -40.0, out=value)
    np.negative(value, out=value)
    np.exp(value, out=value)
    value += 1.0
    return np.reciprocal(value, out=value)


def _striped(wafer: Disc, draw: Draw, shape: Floats) -> Floats:
    """Some causes spare every second or third column or row: a reticle position or a probe site."""
    striped = draw.chance(_STRIPED)
    along_rows, every = draw.chance(0.4), 3 if draw.chance(0.25) else 2
    spared = draw.between(0.0, 0.5)
    if striped:
        place = wafer.row if along_rows else wafer.column
        shape[place % every == 0] *= spared
    return shape


def _oval(
    wafer: Disc, off: float, towards: float, turn: float, squash: float
) -> tuple[Floats, Floats]:
    """Coordinates about a place, along and across a direction; squash above 1 makes it long."""
    x, y = wafer.x - off * math.cos(towards), wafer.y - off * math.sin(towards)
    root = math.sqrt(squash)
    cos, sin = math.cos(turn), math.sin(turn)
    return (x * cos + y * sin) / root, (y * cos - x * sin) * root


def _bump(along: Floats, across: Floats, size: float, sharpness: float) -> Floats:
    """1 in the middle, falling off at `size`; the sharper the steeper."""
    square: Floats = (along * along + across * across) / (size * size)
    return np.exp(-(square ** (0.5 * sharpness)))


def _ring(wafer: Disc, draw: Draw, strength: float) -> Floats:
    peak = draw.between(1.3, 0.9, 1.3) * strength
    # A narrow zone kills every die that it touches, so its width in dies depends on their size.
    zone = max(draw.between(0.01, 0.06, 3.5), draw.between(0.45, 0.75) * wafer.pitch)
    soft = draw.between(0.001, 0.008) + 0.07 * wafer.pitch
    skirt, skirt_depth = draw.between(0.0, 0.3, 1.7), draw.between(0.5, 2.0) * wafer.pitch
    edge = _sigmoid((wafer.corner - (1.0 - zone)) / soft)
    edge += skirt * _sigmoid((wafer.corner - (1.0 - zone - skirt_depth)) / (2.0 * soft))
    np.minimum(edge, 1.0, out=edge)
    towards, half, left = draw.angle(), draw.between(0.1, 0.9), draw.between(0.0, 0.6)
    if draw.chance(0.2):
        edge[_turn(wafer.theta, towards) < half] *= left
    edge *= _wave(wafer, draw, draw.between(0.0, 0.3, 2.5))
    edge *= peak
    return edge


def _disc(wafer: Disc, draw: Draw, strength: float) -> Floats:
    peak = draw.between(1.4, 0.55) * strength
    off, towards, turn = draw.between(0.0, 0.12), draw.angle(), draw.angle()
    size = max(draw.between(0.12, 0.6, 2.0), 1.7 * wafer.pitch)
    size *= math.sqrt(min(1.0, 0.4 + 0.6 * strength))
    along, across = _oval(wafer, off, towards, turn, draw.between(1.0, 1.7))
    shape = _bump(along, across, size, draw.between(2.0, 9.0, 1.2))
    shape *= _rough(wafer, draw, draw.between(0.0, 0.6))
    return peak * _striped(wafer, draw, shape)


def _annulus(wafer: Disc, draw: Draw, strength: float) -> Floats:
    peak = draw.between(0.6, 1.7) * strength
    off, towards, turn = draw.between(0.0, 0.14), draw.angle(), draw.angle()
    along, across = _oval(wafer, off, towards, turn, draw.between(1.0, 1.4))
    distance = np.hypot(along, across)
    middle = draw.between(0.29, 0.55)
    width = max(draw.between(0.07, 0.22), 1.1 * wafer.pitch)
    steep = draw.between(2.0, 6.0)
    band: Floats = np.exp(-(np.abs((distance - middle) / width) ** steep))
    # The hole of a donut is often not clean.
    hole = draw.between(0.0, 0.4, 3.0)
    inner = distance < middle
    band[inner] = np.maximum(band[inner], hole)
    gap, half, left = draw.angle(), draw.between(0.3, 1.3), draw.between(0.0, 0.5)
    if draw.chance(0.35):
        band *= left + (1.0 - left) * _sigmoid((_turn(wafer.theta, gap) - half) / 0.15)
    # Of one side there is often more.
    more, lean = draw.angle(), draw.between(0.0, 0.55)
    band *= 1.0 + lean * np.cos(wafer.theta - more)
    band *= _rough(wafer, draw, draw.between(0.2, 0.9))
    return peak * _striped(wafer, draw, band)


def _edge_arc(wafer: Disc, draw: Draw, strength: float) -> Floats:
    peak = draw.between(1.3, 0.6, 1.1) * strength
    depth = max(draw.between(0.03, 0.5, 2.2), draw.between(0.6, 1.6) * wafer.pitch)
    half = max(draw.between(0.12, 1.25, 1.4), 1.6 * wafer.pitch)
    soft, lens = draw.between(0.02, 0.15), draw.between(0.0, 0.9)
    blur = draw.between(0.005, 0.06, 1.5) + 0.15 * wafer.pitch

    def arc(towards: float, half: float, depth: float) -> Floats:
        turn = _turn(wafer.theta, towards)
        across = _sigmoid((half - turn) / soft)
        # Deepest in the middle of the arc, as where something touched the wafer.
        inner = 1.0 - depth * (1.0 - lens * np.minimum(1.0, turn / half) ** 2)
        across *= _sigmoid((wafer.corner - inner) / blur)
        return across

    first, second, smaller = draw.angle(), draw.angle(), draw.between(0.3, 1.0)
    shape = arc(first, half, depth)
    if draw.chance(0.15):
        np.maximum(shape, arc(second, half * smaller, depth * smaller), out=shape)
    shape *= _rough(wafer, draw, draw.between(0.0, 0.6))
    return peak * _striped(wafer, draw, shape)


def _blob(wafer: Disc, draw: Draw, strength: float) -> Floats:
    peak = draw.between(1.4, 0.6, 1.1) * strength
    out, towards, turn = draw.between(0.86, 0.16), draw.angle(), draw.angle()
    # At least two dies across, or it is no pattern on a coarse grid.
    size = max(draw.between(0.02, 0.46, 2.0), draw.between(1.05, 1.8) * wafer.pitch)
    squash, sharpness = draw.between(1.0, 4.5, 2.2), draw.between(2.0, 9.0, 1.2)
    along, across = _oval(wafer, out, towards, turn, squash)
    shape = _bump(along, across, size, sharpness)
    where, other, smaller = draw.between(0.3, 0.85), draw.angle(), draw.between(0.5, 1.0)
    if draw.chance(0.12):
        along, across = _oval(wafer, where, other, turn, squash)
        np.maximum(shape, _bump(along, across, size * smaller, sharpness), out=shape)
    shape *= _rough(wafer, draw, draw.between(0.0, 0.6))
    return peak * _striped(wafer, draw, shape)


def _scatter(wafer: Disc, draw: Draw, strength: float) -> Floats:
    level = draw.between(0.27, 0.62) * min(1.15, 0.3 + 0.7 * strength)
    wave = _wave(wafer, draw, draw.between(0.0, 0.9, 1.4))
    wave *= _rough(wafer, draw, draw.between(0.0, 0.9, 1.3))
    return level * _striped(wafer, draw, wave)


def _flood(wafer: Disc, draw: Draw, strength: float) -> Floats:
    level = draw.between(0.82, 1.6, 1.2) * min(1.0, strength)
    wave = level * _wave(wafer, draw, draw.between(0.0, 0.6))
    wave *= _rough(wafer, draw, draw.between(0.0, 0.8, 1.5))
    # A side may have been spared.
    towards, cut = draw.angle(), draw.between(0.75, 1.0)
    if draw.chance(0.25):
        reach = wafer.x * math.cos(towards) + wafer.y * math.sin(towards)
        wave[reach > cut] *= 0.15
    return wave


def _scratch(wafer: Disc, draw: Draw, strength: float) -> Floats:
    """Dies under one or several curved strokes."""
    dense = draw.between(1.05, 0.75, 1.3) * min(1.0, 0.5 + 0.5 * strength)
    heading, curl = draw.angle(), draw.between(-1.0, 1.0)
    # Mostly nearly straight; wafers are handled along the axes, so strokes often follow them.
    curl = 1.5 * curl * abs(curl)
    if draw.chance(0.3):
        heading = round(heading / (0.5 * math.pi)) * 0.5 * math.pi + draw.between(-0.1, 0.1)
    out, towards = draw.between(0.9, 0.05, 1.3), draw.angle()
    length = draw.between(0.12, 1.7, 1.6) * min(1.2, 0.5 + 0.5 * strength)
    several, count, spacing = (
        draw.chance(0.25),
        draw.between(2.0, 6.99, 1.5),
        draw.between(0.1, 0.5),
    )
    thick, dashed, dash = draw.chance(0.25), draw.chance(0.12), draw.between(1.0, 4.0)
    length = max(length, (6.0 if thick else 4.5) * wafer.pitch)
    return strokes(
        wafer,
        place=(out * math.cos(towards), out * math.sin(towards)),
        heading=heading,
        curl=curl,
        length=length,
        count=int(count) if several else 1,
        spacing=spacing,
        thick=thick,
        dash=dash * wafer.pitch if dashed else 0.0,
        dense=dense,
    )


_FAMILIES: dict[Family, Callable[[Disc, Draw, float], Floats]] = {
    "ring": _ring,
    "disc": _disc,
    "annulus": _annulus,
    "edge_arc": _edge_arc,
    "blob": _blob,
    "scratch": _scratch,
    "scatter": _scatter,
    "flood": _flood,
}
