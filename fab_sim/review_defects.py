"""Defects as a review SEM shows them: a missing or an extra piece of pattern, or something on it.

Everything is drawn from distances in nm to an outline, positive inside, so that sizes are sizes on
the wafer whatever the pixel. Sizes are those of defects that reviewers see at a pitch near 90 nm;
they are cut to what fits into the picture.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fab_sim.review_sites import DefectKind

__all__ = ["Lines", "Plain", "clouds", "draw_defect", "remember", "shade"]

Floats = npt.NDArray[np.float32]
# Further from an outline than anything matters, nm.
_FAR_NM = 1e4


class Plain(NamedTuple):
    """How the pattern looks: greys of 1 on line and space, the edge's extra, and its width in nm.

    An edge is bright because secondary electrons escape from the side wall too.
    """

    line: float
    space: float
    edge: float
    edge_nm: float


class Lines(NamedTuple):
    """The pattern below a defect, upright lines.

    Attributes:
        x: (1, pixels) float32 place of each pixel from the middle, nm.
        y: (pixels, 1) the same, downwards.
        pixel_nm: side of a pixel.
        pitch_nm: from line to line.
        width_nm: of a line.
        centres: (lines,) float64 of the lines, nm.
        left: (pixels, lines) float32 edge of every line in every row, nm.
        right: the same.
        nearest: (pixels,) int64, the line next to each column.
        inside_nm: (pixels, pixels) float32 distance from the nearest line's edge, positive inside.
        look: how it looks.
    """

    x: Floats
    y: Floats
    pixel_nm: float
    pitch_nm: float
    width_nm: float
    centres: npt.NDArray[np.float64]
    left: Floats
    right: Floats
    nearest: npt.NDArray[np.int64]
    inside_nm: Floats
    look: Plain

    @property
    def reach_nm(self) -> float:
        """From the middle of the picture to its side."""
        return 0.5 * self.pixel_nm * self.x.size


def remember(values: Floats, memory: float) -> Floats:
    """A first-order recursion down the rows, y[t] = x[t] + memory * y[t - 1], by doubling.

    Memory to a power is multiplied up: unlike a power function that is the same on every machine.
    """
    out, reach, share = values.copy(), 1, memory
    while reach < len(out) and share > 1e-6:
        out[reach:] = out[reach:] + share * out[:-reach]
        reach, share = 2 * reach, share * share
    return out


def clouds(random: np.random.Generator, pixels: int, cells: int) -> Floats:
    """Smooth noise, (pixels, pixels) float32 of about -1 to 1, with `cells` hills a side."""
    field = random.uniform(-1.6, 1.6, size=(cells + 3, cells + 3)).astype(np.float32)
    scale = 1
    while cells * scale < pixels:
        # Chaikin's corner cutting, in both directions: ends as a quadratic spline.
        for _ in range(2):
            finer = np.empty((2 * len(field) - 2, field.shape[1]), dtype=np.float32)
            finer[0::2] = 0.75 * field[:-1] + 0.25 * field[1:]
            finer[1::2] = 0.25 * field[:-1] + 0.75 * field[1:]
            field = finer.T
        scale *= 2
    # Where the cells do not divide the pixels the rest is cut off.
    return np.ascontiguousarray(field[:pixels, :pixels])


def shade(inside_nm: Floats, look: Plain) -> Floats:
    """Grey, 0 to 1, of a pattern by the distance to its edges, (pixels, pixels) float32."""
    step = _soft(inside_nm, look.edge_nm)
    wall = _near(inside_nm, look.edge_nm)
    # The foot of a wall is darker: electrons from there hit the line again.
    foot = _near(inside_nm + 2.5 * look.edge_nm, 1.5 * look.edge_nm)
    return np.asarray(
        look.space + (look.line - look.space) * step + look.edge * wall - 0.07 * foot,
        dtype=np.float32,
    )


def draw_defect(
    kind: DefectKind, lines: Lines, plain: Floats, random: np.random.Generator
) -> Floats:
    """The pattern with a defect near its middle, grey of 1, (pixels, pixels) float32.

    Args:
        kind: of defect.
        lines: the pattern.
        plain: what it looks like without.
        random: the picture's own stream.
    """
    return _DRAW[kind](lines, plain, random)


def _soft(inside_nm: Floats, width_nm: float) -> Floats:
    """0 outside, 1 inside, smooth over `width_nm`."""
    share = np.clip(inside_nm * (1.0 / width_nm) + 0.5, 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def _near(distance_nm: Floats, width_nm: float) -> Floats:
    """1 at the outline, falling off on both sides."""
    share = distance_nm * (1.0 / width_nm)
    share = 1.0 / (1.0 + share * share)
    return np.asarray(share * share)


def _between(random: np.random.Generator, low: float, high: float, lines: Lines) -> float:
    """A size in nm that can be seen at this pixel and fits into this picture."""
    size = float(random.uniform(low, high))
    return min(max(size, 2.5 * lines.pixel_nm), 0.6 * lines.reach_nm)


def _aside(random: np.random.Generator, lines: Lines) -> float:
    """How far a defect is from the picture's middle: the stage's error and the inspector's."""
    return float(random.uniform(-0.12, 0.12)) * lines.reach_nm


def _direction(random: np.random.Generator) -> tuple[float, float]:
    """Cosine and sine of some angle: the rational points of the circle, half of it is enough."""
    t = float(random.uniform(-1.0, 1.0))
    return (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)


def _lump(
    lines: Lines, x_nm: float, y_nm: float, long_nm: float, wide_nm: float, way: tuple[float, float]
) -> Floats:
    """Distance to an ellipse's outline, exact along its axes."""
    dx, dy = lines.x - x_nm, lines.y - y_nm
    along = (dx * way[0] + dy * way[1]) * (1.0 / long_nm)
    across = (dy * way[0] - dx * way[1]) * (1.0 / wide_nm)
    return np.asarray((1.0 - np.sqrt(along * along + across * across)) * min(long_nm, wide_nm))


def _line_near(lines: Lines, x_nm: float) -> int:
    return int(np.argmin(np.abs(lines.centres - x_nm)))


def _particle(lines: Lines, plain: Floats, random: np.random.Generator) -> Floats:
    """A lump on top, or several that stick together; bright at its rim, with a shadow around."""
    pixels = lines.x.size
    size = _between(random, 35.0, 130.0, lines)
    x, y = _aside(random, lines), _aside(random, lines)
    inside = np.full((pixels, pixels), -_FAR_NM, dtype=np.float32)
    for _ in range(int(random.integers(1, 5))):
        way, part = _direction(random), size * float(random.uniform(0.55, 1.0))
        away = 0.7 * size
        lump = _lump(
            lines,
            x + away * float(random.uniform(-1.0, 1.0)),
            y + away * float(random.uniform(-1.0, 1.0)),
            part,
            part * float(random.uniform(0.6, 1.0)),
            way,
        )
        inside = np.maximum(inside, lump)
    inside = inside + 0.12 * size * clouds(random, pixels, 12)
    height = np.clip(inside * (1.0 / size), 0.0, 1.0)
    top = 0.5 + float(random.uniform(0.0, 0.2)) - 0.12 * height
    top = top + 0.07 * clouds(random, pixels, 24) + 0.42 * _near(inside, 9.0)
    shadow = 1.0 - 0.38 * _near(np.minimum(inside, 0.0), 0.35 * size)
    cover = _soft(inside, 6.0)
    return np.asarray(plain * shadow * (1.0 - cover) + top * cover)


def _scratch(lines: Lines, plain: Floats, random: np.random.Generator) -> Floats:
    """A groove through the pattern with torn rims, and crumbs beside it."""
    pixels = lines.x.size
    way = _direction(random)
    if random.random() < 0.5:
        way = (-way[1], way[0])
    dx, dy = lines.x - _aside(random, lines), lines.y - _aside(random, lines)
    along, across = dx * way[0] + dy * way[1], dy * way[0] - dx * way[1]
    bend = float(random.uniform(-0.25, 0.25)) / lines.reach_nm
    across = across - bend * along * along
    half = _between(random, 9.0, 32.0, lines)
    length = lines.reach_nm * float(random.uniform(0.9, 3.0))
    # Shallower and narrower towards its end.
    taper = np.clip(1.0 - (along * (1.0 / length)) ** 2, 0.0, 1.0)
    rag = clouds(random, pixels, 16)
    inside = half * (2.0 * taper - 1.0) * (1.0 + 0.25 * rag) - np.abs(across)
    floor = 0.13 + 0.05 * clouds(random, pixels, 32)
    cover = _soft(inside, 8.0)
    torn = 0.34 * _near(inside + 4.0, 8.0) * (0.7 + 0.5 * rag)
    seen = plain * (1.0 - cover) + floor * cover + np.maximum(torn, 0.0)
    for _ in range(int(random.integers(2, 7))):
        # Crumbs lie along the groove, within a few of its widths.
        there = 0.8 * lines.reach_nm * float(random.uniform(-1.0, 1.0))
        off = half * float(random.uniform(1.2, 3.5)) * (1.0 if random.random() < 0.5 else -1.0)
        size = _between(random, 4.0, 11.0, lines)
        crumb = _lump(
            lines,
            there * way[0] - off * way[1],
            there * way[1] + off * way[0],
            size,
            0.8 * size,
            way,
        )
        seen = seen + 0.3 * _soft(crumb, 5.0)
    return np.asarray(seen)


def _bridge(lines: Lines, plain: Floats, random: np.random.Generator) -> Floats:
    """Pattern between two lines where a space should be: a short."""
    first = _line_near(lines, _aside(random, lines) - 0.5 * lines.pitch_nm)
    x = float(lines.centres[first]) + 0.5 * lines.pitch_nm
    half_gap = 0.5 * (lines.pitch_nm - lines.width_nm)
    half = _between(random, 12.0, 45.0, lines)
    dx, dy = lines.x - x, lines.y - _aside(random, lines)
    # Wider where it meets the lines, as surface tension leaves it.
    waist = half * (1.0 + float(random.uniform(0.3, 1.2)) * (dx * (1.0 / half_gap)) ** 2)
    rag = 0.14 * half * clouds(random, lines.x.size, 14)
    span = half_gap + 0.3 * lines.width_nm - np.abs(dx)
    inside = np.minimum(waist - np.abs(dy) + rag, span)
    return shade(np.maximum(lines.inside_nm, inside), lines.look)


def _open(lines: Lines, plain: Floats, random: np.random.Generator) -> Floats:
    """A line with a gap, its ends round; sometimes the next line has one too."""
    first = _line_near(lines, _aside(random, lines))
    y = _aside(random, lines)
    inside = lines.inside_nm
    for line in range(first, first + (2 if random.random() < 0.25 else 1)):
        dx = lines.x - float(lines.centres[line])
        half = _between(random, 14.0, 60.0, lines)
        rounded = half + 0.45 * lines.width_nm * (dx * (2.0 / lines.width_nm)) ** 2
        gap = np.abs(lines.y - y) - rounded + 0.1 * half * clouds(random, lines.x.size, 14)
        cut = np.minimum(inside, gap)
        inside = np.where(np.abs(dx) < 0.5 * lines.pitch_nm, cut, inside)
    return shade(inside, lines.look)


def _void(lines: Lines, plain: Floats, random: np.random.Generator) -> Floats:
    """Holes in a line that was not filled: dark, because few electrons leave a hole."""
    first = _line_near(lines, _aside(random, lines))
    x, y = float(lines.centres[first]), _aside(random, lines)
    inside = np.full_like(plain, -_FAR_NM)
    for _ in range(int(random.integers(1, 4))):
        wide = min(_between(random, 8.0, 18.0, lines), 0.38 * lines.width_nm)
        long = wide * float(random.uniform(1.0, 2.6))
        off = 0.12 * lines.width_nm * float(random.uniform(-1.0, 1.0))
        inside = np.maximum(inside, _lump(lines, x + off, y, wide, long, (1.0, 0.0)))
        y += long * float(random.uniform(1.6, 3.0))
    dark = _soft(inside, 6.0)
    return np.asarray(plain * (1.0 - dark) + 0.09 * dark + 0.16 * _near(inside + 3.0, 5.0))


def _residue(lines: Lines, plain: Floats, random: np.random.Generator) -> Floats:
    """A thin film with a ragged outline that fills spaces and veils lines."""
    pixels = lines.x.size
    x, y = _aside(random, lines), _aside(random, lines)
    size = _between(random, 90.0, 200.0, lines)
    inside = np.full_like(plain, -_FAR_NM)
    for _ in range(int(random.integers(2, 5))):
        inside = np.maximum(
            inside,
            _lump(
                lines,
                x + 0.6 * size * float(random.uniform(-1.0, 1.0)),
                y + 0.6 * size * float(random.uniform(-1.0, 1.0)),
                size * float(random.uniform(0.4, 0.9)),
                size * float(random.uniform(0.3, 0.6)),
                _direction(random),
            ),
        )
    inside = inside + 0.3 * size * clouds(random, pixels, 9)
    # Carbon and resist are dark, salts and slurry are bright.
    grey = random.uniform(0.08, 0.18) if random.random() < 0.6 else random.uniform(0.62, 0.8)
    film = float(grey) + 0.06 * clouds(random, pixels, 20)
    veil = (0.55 + 0.3 * _soft(-lines.inside_nm, 10.0)) * _soft(inside, 16.0)
    return np.asarray(plain * (1.0 - veil) + film * veil + 0.14 * _near(inside, 7.0))


def _pattern_collapse(lines: Lines, plain: Floats, random: np.random.Generator) -> Floats:
    """Tall lines pulled together by drying liquid, in pairs, over some length.

    T. Tanaka, M. Morigami, N. Atoda, Jpn. J. Appl. Phys. 32 (1993) 6059: capillary force.
    """
    first = _line_near(lines, _aside(random, lines))
    pairs = int(random.integers(1, 4))
    first -= pairs
    gap = lines.pitch_nm - lines.width_nm
    left, right = lines.left.copy(), lines.right.copy()
    for pair in range(pairs):
        y = _aside(random, lines)
        half = lines.reach_nm * float(random.uniform(0.4, 1.1))
        share = np.clip(1.0 - ((lines.y[:, 0] - y) * (1.0 / half)) ** 2, 0.0, 1.0)
        # They touch over a stretch, and stand again where they are held.
        lean = np.minimum(1.6 * share * share, 1.0) * (0.5 * gap + 1.5)
        apart = float(random.uniform(0.75, 1.25))
        for line, way in ((first + 2 * pair, 2.0 - apart), (first + 2 * pair + 1, -apart)):
            if 0 <= line < len(lines.centres):
                left[:, line] += way * lean
                right[:, line] += way * lean
    inside = np.full_like(plain, -_FAR_NM)
    last = len(lines.centres) - 1
    for step in (-1, 0, 1):
        # A line that leans is no longer the nearest one by its place at the foot.
        there = np.clip(lines.nearest + step, 0, last)
        inside = np.maximum(inside, np.minimum(lines.x - left[:, there], right[:, there] - lines.x))
    return shade(inside, lines.look)


_DRAW: dict[DefectKind, Callable[[Lines, Floats, np.random.Generator], Floats]] = {
    "particle": _particle,
    "scratch": _scratch,
    "bridge": _bridge,
    "open": _open,
    "residue": _residue,
    "void": _void,
    "pattern_collapse": _pattern_collapse,
}
