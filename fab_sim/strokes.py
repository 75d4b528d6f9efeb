"""Strokes over a wafer: which dies a scratch runs through."""

import numpy as np

from fab_sim.outline import Disc, Floats

__all__ = ["strokes"]

# Points a die that a stroke passes, so that it skips none.
_POINTS = 2.0


def strokes(
    wafer: Disc,
    *,
    place: tuple[float, float],
    heading: float,
    curl: float,
    length: float,
    count: int,
    spacing: float,
    thick: bool,
    dash: float,
    dense: float,
) -> Floats:
    """Kill probability (dies,) under parallel curved strokes.

    Args:
        wafer: the die grid.
        place: where the middle of them is, x and y.
        heading: radians, in their middle.
        curl: radians of turn per unit of length.
        length: of each, 1 is the wafer's radius.
        count: how many.
        spacing: between neighbours.
        thick: two dies wide rather than one.
        dash: length of the pieces that a skipping stroke leaves and of its gaps; 0 if whole.
        dense: kill probability of a die under a stroke.
    """
    rows, columns = wafer.on.shape
    kill = np.zeros(len(wafer.r))
    points = int(_POINTS * length * max(rows, columns) / 2.0) + 8
    along = np.linspace(-0.5, 0.5, points) * length
    turn = heading + curl * along
    step = length / (points - 1)
    path_x, path_y = np.cumsum(np.cos(turn)) * step, np.cumsum(np.sin(turn)) * step
    path_x += place[0] - path_x[points // 2]
    path_y += place[1] - path_y[points // 2]
    if dash > 0.0:
        # What presses on the wafer chatters.
        touches = (along // dash) % 2 == 0
        path_x, path_y = path_x[touches], path_y[touches]
    cos, sin = float(np.cos(heading)), float(np.sin(heading))
    for stroke in range(count):
        aside = (stroke - (count - 1) / 2) * spacing
        for offset in (0.0, 1.0) if thick else (0.0,):
            column = np.floor((path_x - aside * sin + 1.0) * (columns / 2) - offset * sin)
            row = np.floor((path_y + aside * cos + 1.0) * (rows / 2) + offset * cos)
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            dies = wafer.number[row[inside].astype(np.int64), column[inside].astype(np.int64)]
            kill[dies[dies >= 0]] = dense
    return kill
