"""The gallery: wafer maps by their true pattern."""

from typing import Any

from matplotlib.patches import Patch

from contracts.wafer_map import PATTERNS
from fab_sim import Scenario
from fab_sim.modes import MODES
from fabpilot.sheets.sources import Grid, gallery, modes_of, modes_that_can_be
from fabpilot.sheets.style import FAINT, MAP_COLOURS, label_row, new_contact_sheet, words

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
    others = gallery(scenario, possible, _EACH, seed + 1)
    figure, rows = new_contact_sheet(len(PATTERNS), _EACH, 1.15, 0.12)
    figure.suptitle(
        f"Scenario {scenario.name}, seed {seed}: wafer maps by their true pattern", fontsize=12
    )
    for pattern, axes in zip(PATTERNS, rows, strict=True):
        grids = shown.get(pattern, [])
        # A pattern may come about from modes that make others: a weak flood is random.
        makers = [mode for mode in own if MODES[mode].pattern == pattern]
        foreign = not grids
        if foreign:
            grids = others.get(pattern, [])
            makers = [mode for mode in possible if MODES[mode].pattern == pattern]
        notes = [words(mode) for mode in makers]
        if foreign:
            notes.append("(not in this scenario)" if grids else "(never on this equipment)")
        label_row(axes[0], pattern, notes, faint=foreign)
        for place, cell in enumerate(axes):
            if place < len(grids):
                draw_map(cell, grids[place])
                rows_, columns = grids[place].shape
                cell.set_title(f"{rows_} × {columns} dies", fontsize=6.5, color="#555555", pad=2)
            else:
                cell.axis("off")
    figure.legend(
        handles=[
            Patch(facecolor=MAP_COLOURS(1), edgecolor=FAINT, label="die passed"),
            Patch(facecolor=MAP_COLOURS(2), label="die failed"),
        ],
        loc="lower right",
        ncols=2,
        frameon=False,
    )
    return figure


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
