"""The dies of a product on its wafer: where they are, how far out, and where in the reticle.

Coordinates are those of the wafer's bounding square, -1 to 1 both ways, so r = 1 is the edge.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Disc", "Floats", "disc"]

Floats = npt.NDArray[np.float64]


class Disc(NamedTuple):
    """The dies of a grid.

    Attributes:
        on: (rows, columns) bool, on the wafer.
        x: (dies,) centre of each die on the wafer, row-major; right is positive.
        y: (dies,) the same, downwards.
        r: (dies,) distance of its centre from the wafer's.
        theta: (dies,) angle, radians.
        corner: (dies,) distance of its outermost corner: what a ring at the edge touches first.
        row: (dies,) int64, its row in the grid.
        column: (dies,) int64, its column in the grid.
        number: (rows, columns) place of a die in the arrays above, -1 off the wafer.
        pitch: of the dies, the mean of both directions.
    """

    on: npt.NDArray[np.bool_]
    x: Floats
    y: Floats
    r: Floats
    theta: Floats
    corner: Floats
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    pitch: float


@lru_cache(maxsize=256)
def disc(
    rows: int, columns: int, aside: float = 0.0, down: float = 0.0, reach: float = 1.0
) -> Disc:
    """The dies of a (rows, columns) grid whose bounding box touches the wafer's edge.

    Args:
        rows: of the grid.
        columns: of the grid.
        aside: how far the grid lies right of the wafer's centre, in dies.
        down: how far below, in dies. Fabs shift the grid to gain a few dies.
        reach: dies whose centre lies within are printed.
    """
    row, column = np.mgrid[:rows, :columns]
    x = (column + 0.5 + aside) * 2.0 / columns - 1.0
    y = (row + 0.5 + down) * 2.0 / rows - 1.0
    r = np.hypot(x, y)
    on = r <= reach
    if not (on.any(axis=0).all() and on.any(axis=1).all()):
        # A shifted coarse grid would lose a side, and then it is another grid.
        return disc(rows, columns)
    number = np.full((rows, columns), -1, dtype=np.int64)
    number[on] = np.arange(int(on.sum()))
    corner = np.hypot(np.abs(x) + 1.0 / columns, np.abs(y) + 1.0 / rows)
    return Disc(
        on,
        x[on],
        y[on],
        r[on],
        np.arctan2(y, x)[on],
        corner[on],
        row[on].astype(np.int64),
        column[on].astype(np.int64),
        number,
        1.0 / rows + 1.0 / columns,
    )
