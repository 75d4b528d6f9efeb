"""How all sheets look: colours that colour-blind people can tell apart, and the way to a file."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

__all__ = [
    "AFTER",
    "FAINT",
    "MAP_COLOURS",
    "NORMAL",
    "ContactSheet",
    "draw",
    "field_colours",
    "kind_style",
    "new_figure",
    "words",
]

# M. Okabe, K. Ito, Color Universal Design (2008): told apart with every kind of colour vision.
_OKABE_ITO = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#56b4e9",
    "#cc79a7",
    "#f0e442",
    "#4d4d4d",
)
NORMAL, AFTER, FAINT = "#7f7f7f", "#d55e00", "#b0b0b0"
# Off the wafer, pass, fail: light and dark, so that they differ in grey too.
MAP_COLOURS = ListedColormap(["#ffffff", "#c9dcea", "#08306b"])
_DPI = 110
_STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8.0,
}


def field_colours() -> str:
    """The colour map of kill probabilities: even in brightness, blue to yellow."""
    return "cividis"


def kind_style(kinds: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and hatch of every kind of equipment; past eight kinds colours come again, hatched."""
    return {
        kind: (
            _OKABE_ITO[place % len(_OKABE_ITO)],
            ("", "///", "...")[min(2, place // len(_OKABE_ITO))],
        )
        for place, kind in enumerate(kinds)
    }


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure. Not pyplot's: no window system, no global state, nothing to close."""
    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


class ContactSheet:
    """Square pictures in rows, with words on the left of each row, on one pair of axes.

    Not a grid of axes: seventy of them take matplotlib two seconds.

    Args:
        title: above all of it.
        rows: of pictures.
        columns: the same.
        cell_in: side of a picture, inches.
        caption_in: room above each row, inches.
    """

    _LEFT, _TOP, _BOTTOM, _GAP = 1.75, 0.55, 0.4, 0.1

    def __init__(
        self, title: str, rows: int, columns: int, cell_in: float, caption_in: float = 0.0
    ) -> None:
        self._cell, self._row = cell_in, cell_in + self._GAP + caption_in
        self._caption = caption_in
        width = self._LEFT + columns * (cell_in + self._GAP)
        height = self._TOP + rows * self._row + self._BOTTOM
        self.figure = Figure(figsize=(width, height), facecolor="white")
        self.figure.suptitle(title, fontsize=12, y=1.0 - 0.2 / height, va="center")
        # One unit is one inch, downwards.
        self.axes = self.figure.add_axes(
            (0.0, 0.0, 1.0, 1.0), xlim=(0.0, width), ylim=(height, 0.0), xticks=[], yticks=[]
        )
        self.axes.axis("off")

    def picture(self, row: int, column: int, values: Any, **looks: Any) -> tuple[float, float]:
        """Put (height, width) values into a cell; its left and lower corner, inches."""
        left = self._LEFT + column * (self._cell + self._GAP)
        floor = self._TOP + row * self._row + self._caption + self._cell
        extent = (left, left + self._cell, floor, floor - self._cell)
        self.axes.imshow(values, extent=extent, aspect="auto", interpolation="nearest", **looks)
        # imshow moves the limits to its picture.
        self.axes.set_xlim(0.0, self.figure.get_figwidth())
        self.axes.set_ylim(self.figure.get_figheight(), 0.0)
        return left, floor

    def caption(self, row: int, column: int, text: str) -> None:
        """A small line above a cell."""
        x = self._LEFT + column * (self._cell + self._GAP) + 0.5 * self._cell
        y = self._TOP + row * self._row + self._caption - 0.02
        self.axes.text(x, y, text, ha="center", va="bottom", fontsize=6.5, color="#555555")

    def label(self, row: int, name: str, below: Sequence[str], *, faint: bool = False) -> None:
        """A row's name, with smaller lines below."""
        y = self._TOP + row * self._row + self._caption + 0.4 * self._cell
        colour = "#888888" if faint else "black"
        looks: Any = {"ha": "right", "color": colour}
        x = self._LEFT - 0.12
        self.axes.text(x, y, name, va="bottom", fontsize=10.5, fontweight="bold", **looks)
        self.axes.text(x, y + 0.03, "\n".join(below), va="top", fontsize=7.0, **looks)


def draw(sheet: Callable[[], Any]) -> bytes:
    """The figure that `sheet` makes as a PNG file, without the time or the version in it."""
    file = io.BytesIO()
    # Our own style, whatever a matplotlibrc says.
    with rc_context(_STYLE):
        sheet().savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def words(name: str) -> str:
    """A name of the code as people write it.

    >>> words("rf_match_drift")
    'rf match drift'
    """
    return name.replace("_", " ")
