"""The gallery: wafer maps by their true pattern."""

from typing import Any

from matplotlib.patches import Patch

from contracts.wafer_map import PATTERNS
from fab_sim import Scenario
from fab_sim.modes import MODES
from fabpilot.sheets.sources import Grid, gallery, modes_of, modes_that_can_be
from fabpilot.sheets.style import FAINT, MAP_COLOURS, ContactSheet, words

__all__ = ["draw_map", "gallery_figure"]

_EACH = 8


def gallery_figure(scenario: Scenario, seed: int) -> Any:
    """One row a pattern, with the modes that make it.

    Patterns that no excursion of the scenario makes are shown too, as its equipment could make
    them, and say so.
    """
    own = modes_of(scenario)
    possible = modes_that_can_be(scenario)
    shown = gallery(scenario, own, _EACH, seed)
    missing = not set(PATTERNS) <= set(shown)
    others = gallery(scenario, possible, _EACH, seed + 1) if missing else {}
    sheet = ContactSheet(
        f"Scenario {scenario.name}, seed {seed}: wafer maps by their true pattern",
        len(PATTERNS),
        _EACH,
        1.05,
        0.14,
    )
    for row, pattern in enumerate(PATTERNS):
        foreign = pattern not in shown
        grids = (others if foreign else shown).get(pattern, [])
        modes = possible if foreign else own
        notes = [words(mode) for mode in modes if MODES[mode].pattern == pattern]
        if foreign:
            notes.append("(not in this scenario)" if grids else "(never on this equipment)")
        sheet.label(row, pattern, notes, faint=foreign)
        for column, grid in enumerate(grids):
            sheet.picture(row, column, grid, cmap=MAP_COLOURS, vmin=0, vmax=2)
            sheet.caption(row, column, f"{grid.shape[0]} × {grid.shape[1]} dies")
    sheet.figure.legend(
        handles=[
            Patch(facecolor=MAP_COLOURS(1), edgecolor=FAINT, label="die passed"),
            Patch(facecolor=MAP_COLOURS(2), label="die failed"),
        ],
        loc="lower right",
        ncols=2,
        frameon=False,
    )
    return sheet.figure


def draw_map(axes: Any, grid: Grid) -> None:
    """One wafer map; its bounding box is the wafer's bounding square."""
    axes.imshow(
        grid, cmap=MAP_COLOURS, vmin=0, vmax=2, interpolation="nearest", aspect="auto", rasterized=1
    )
    axes.set_box_aspect(1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
