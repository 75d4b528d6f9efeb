"""Review images of every kind of defect."""

from typing import Any

from fab_sim import Scenario
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.review_images import REVIEW_PITCH_NM, REVIEW_PIXEL_SIZE_NM, draw_review_image
from fab_sim.review_sites import DEFECT_KINDS, DefectKind, defects_of
from fabpilot.sheets.sources import modes_of
from fabpilot.sheets.style import label_row, new_contact_sheet, words

__all__ = ["review_figure"]

_EACH = 6
_BAR_NM = 200.0


def review_figure(scenario: Scenario, seed: int) -> Any:
    """One row a kind, with the scenario's modes that leave it."""
    figure, rows = new_contact_sheet(len(DEFECT_KINDS), _EACH, 1.75, 0.0)
    figure.suptitle(
        f"Review images by kind of defect: {REVIEW_PIXEL_SIZE_NM:g} nm a pixel,"
        f" {REVIEW_PITCH_NM:g} nm pitch, bar {_BAR_NM:g} nm",
        fontsize=12,
    )
    for kind, axes in zip(DEFECT_KINDS, rows, strict=True):
        for place, cell in enumerate(axes):
            image = draw_review_image(kind, random=generator("show", "review", seed, kind, place))
            cell.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            _draw_bar(cell, len(image))
        label_row(axes[0], words(kind), _left_by(scenario, kind))
    return figure


def _left_by(scenario: Scenario, kind: DefectKind) -> list[str]:
    """The scenario's modes of which at least a quarter of the defects are of this kind."""
    return [
        words(mode)
        for mode in modes_of(scenario)
        if mode in MODES and any(left == kind and share >= 0.25 for left, share in defects_of(mode))
    ]


def _draw_bar(axes: Any, pixels: int) -> None:
    length = _BAR_NM / REVIEW_PIXEL_SIZE_NM
    axes.plot(
        [0.05 * pixels, 0.05 * pixels + length],
        [0.94 * pixels, 0.94 * pixels],
        color="white",
        linewidth=2.5,
        solid_capstyle="butt",
    )
