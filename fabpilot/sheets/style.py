"""How all sheets look: colours that colour-blind people can tell apart, and the way to a file."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

__all__ = [
    "AFTER",
    "FAINT",
    "MAP_COLOURS",
    "NORMAL",
    "draw",
    "field_colours",
    "kind_style",
    "label_row",
    "new_contact_sheet",
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


def new_contact_sheet(rows: int, columns: int, cell_in: float, gap_in: float) -> tuple[Figure, Any]:
    """A figure of square cells with room for words on the left, and its (rows, columns) axes.

    Its places are reckoned here: the solver of layouts takes a second for so many axes.
    """
    label, top, bottom, right = 1.75, 0.62, 0.45, 0.1
    width = label + columns * cell_in + right
    height = top + rows * (cell_in + gap_in) + bottom
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = np.empty((rows, columns), dtype=object)
    for row in range(rows):
        for column in range(columns):
            left = label + column * cell_in
            floor = height - top - row * (cell_in + gap_in) - cell_in
            axes[row, column] = figure.add_axes(
                (left / width, floor / height, (cell_in - 0.1) / width, (cell_in - 0.1) / height),
                xticks=[],
                yticks=[],
            )
    return figure, axes


def label_row(axes: Any, name: str, below: Sequence[str], *, faint: bool = False) -> None:
    """A row's name beside its first cell, with smaller lines below."""
    for text, at, lift, size, weight in (
        (name, 0.62, "bottom", 10.5, "bold"),
        ("\n".join(below), 0.58, "top", 7.0, "normal"),
    ):
        axes.text(
            -0.1,
            at,
            text,
            transform=axes.transAxes,
            ha="right",
            va=lift,
            fontsize=size,
            fontweight=weight,
            color="#888888" if faint else "black",
        )


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
