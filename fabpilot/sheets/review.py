"""Review images of every kind of defect."""

from typing import Any

from fab_sim import Scenario
from fab_sim.modes import MODES
from fab_sim.randomness import generator
from fab_sim.review_images import REVIEW_PITCH_NM, REVIEW_PIXEL_SIZE_NM, draw_review_image
from fab_sim.review_sites import DEFECT_KINDS, DefectKind, defects_of
from fabpilot.sheets.sources import modes_of
from fabpilot.sheets.style import ContactSheet, words

__all__ = ["review_figure"]

_EACH, _CELL_IN = 6, 1.7
_BAR_NM = 200.0


def review_figure(scenario: Scenario, seed: int) -> Any:
    """One row a kind, with the scenario's modes that leave it."""
    sheet = ContactSheet(
        f"Review images by kind of defect: {REVIEW_PIXEL_SIZE_NM:g} nm a pixel,"
        f" {REVIEW_PITCH_NM:g} nm pitch, bar {_BAR_NM:g} nm",
        len(DEFECT_KINDS),
        _EACH,
        _CELL_IN,
    )
    for row, kind in enumerate(DEFECT_KINDS):
        sheet.label(row, words(kind), _left_by(scenario, kind))
        for column in range(_EACH):
            image = draw_review_image(kind, random=generator("show", "review", seed, kind, column))
            left, floor = sheet.picture(row, column, image, cmap="gray", vmin=0, vmax=255)
            bar = _BAR_NM / REVIEW_PIXEL_SIZE_NM / len(image) * _CELL_IN
            sheet.axes.plot(
                [left + 0.08, left + 0.08 + bar],
                [floor - 0.09, floor - 0.09],
                color="white",
                linewidth=2.5,
                solid_capstyle="butt",
            )
    return sheet.figure


def _left_by(scenario: Scenario, kind: DefectKind) -> list[str]:
    """The scenario's modes of which at least a quarter of the defects are of this kind."""
    return [
        words(mode)
        for mode in modes_of(scenario)
        if mode in MODES and any(left == kind and share >= 0.25 for left, share in defects_of(mode))
    ]
