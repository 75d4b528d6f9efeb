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
    "#000000",
)
NORMAL, AFTER, FAINT = "#7f7f7f", "#d55e00", "#b0b0b0"
# Off the wafer, pass, fail: light and dark, so that they differ in grey too.
MAP_COLOURS = ListedColormap(["#ffffff", "#c9dcea", "#08306b"])
_DPI = 110
_STYLE = {"font.size": 9.0, "axes.titlesize": 9.0, "axes.labelsize": 8.5, "legend.fontsize": 8.0}


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
