"""`fabpilot sim show`: which sheets there are, and how they get into a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import ConfigError
from fab_sim import Scenario
from fabpilot.sheets.maps import gallery_figure
from fabpilot.sheets.modes import mode_figure
from fabpilot.sheets.review import review_figure
from fabpilot.sheets.sources import modes_of
from fabpilot.sheets.style import draw
from fabpilot.sheets.timeline import timeline_figure

__all__ = ["SheetReport", "sheet_names", "write_sheets"]


class SheetReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        scenario: its name.
        seed: that the sheets were made with.
        modes: the failure modes that have a sheet.
        files: paths, in the order of writing.
    """

    scenario: str
    seed: int
    modes: tuple[str, ...]
    files: tuple[str, ...]


def sheet_names(scenario: Scenario) -> list[str]:
    """File names of the scenario's sheets, in order."""
    return list(_sheets(scenario, 0))


def write_sheets(
    scenario: Scenario,
    *,
    seed: int | None,
    out: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> SheetReport:
    """Draw all sheets of a scenario into a folder, which is made if it is missing.

    Args:
        scenario: what to show.
        seed: instead of the scenario's own.
        out: the folder; files of the same names are replaced.
        on_progress: is told how many sheets are done.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    seed = scenario.seed if seed is None else seed
    written = []
    for name, sheet in _sheets(scenario, seed).items():
        # Drawn as a whole first: what is in the folder is whole.
        png = draw(sheet)
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(png)
        except OSError as error:
            raise ConfigError(
                f"the sheets cannot be written to {out}: {error.strerror or error};"
                " give another folder with --out"
            ) from error
        written.append(str(out / name))
        on_progress(len(written))
    return SheetReport(
        scenario=scenario.name, seed=seed, modes=tuple(modes_of(scenario)), files=tuple(written)
    )


def _sheets(scenario: Scenario, seed: int) -> dict[str, Callable[[], Any]]:
    sheets: dict[str, Callable[[], Any]] = {
        "maps.png": lambda: gallery_figure(scenario, seed),
        "lot.png": lambda: timeline_figure(scenario, seed),
        "review.png": lambda: review_figure(scenario, seed),
    }
    for mode in modes_of(scenario):
        sheets[f"mode-{mode}.png"] = lambda mode=mode: mode_figure(scenario, mode, seed)  # type: ignore[misc]
    return sheets
