"""One failure mode a sheet: traces against normal, the field over the wafer, the maps it makes."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch

from fab_sim import Scenario
from fabpilot.sheets.maps import draw_map
from fabpilot.sheets.sources import ModeStory, mode_story
from fabpilot.sheets.style import FAINT, NORMAL, field_colours, new_figure, words
from fabpilot.sheets.units import in_words

__all__ = ["mode_figure"]

_MAPS = 6
# Wafers since the onset whose traces are drawn, as shares of the growth.
_SHOWN = (0.25, 0.5, 1.0)
# A main phase that takes less than this share of the axis is shown alone.
_SMALL = 0.25
# Of normal wafers, what the band holds.
_BAND = (2.5, 97.5)


def mode_figure(scenario: Scenario, mode: str, seed: int) -> Any:
    """What the sensors of the mode's signature show, and what the wafers suffer."""
    story = mode_story(scenario, mode, seed, _MAPS)
    rows = max(3, len(story.variables))
    # matplotlib types one part and many parts alike.
    figure: Any = new_figure(13.5, 2.05 * rows + 1.0)
    foreign = "" if story.in_scenario else " (not in this scenario)"
    figure.suptitle(
        f"{words(mode)} on {story.module}{foreign}: pattern {story.mode.pattern}", fontsize=12
    )
    left, right = figure.subfigures(1, 2, width_ratios=(1.65, 1.0))
    if len(story.after):
        _draw_sensors(left, story)
    else:
        axes = left.subplots()
        axes.axis("off")
        axes.text(0.5, 0.5, "the route never uses this equipment: no traces", ha="center")
    _draw_wafers(right, story)
    return figure


def _draw_sensors(figure: Any, story: ModeStory) -> None:
    """A row a variable: the course over the recipe, and the means of runs one after another."""
    run = story.run
    cells = figure.subplots(
        len(story.variables), 2, squeeze=False, width_ratios=(1.35, 1.0), sharex="col"
    )
    shown = [min(len(story.after), max(1, round(s * story.growth_runs))) for s in _SHOWN]
    for row, variable in enumerate(story.variables):
        _draw_course(cells[row][0], story, row, variable, shown)
        _draw_trend(cells[row][1], story, row)
    cells[-1][0].set_xlabel("time in the recipe, s")
    cells[-1][1].set_xlabel(f"{run}s since the onset")
    cells[0][1].set_title(f"mean of the main phase, {run} by {run}", loc="left")
    figure.legend(
        handles=[
            Patch(
                facecolor=FAINT,
                alpha=0.55,
                label=f"95 % of {len(story.before)} normal {run}s",
            ),
            *(
                Line2D(
                    [],
                    [],
                    color=_grown(number, story),
                    label=f"{run} {number} since the onset",
                )
                for number in shown
            ),
        ],
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )


def _grown(number: Any, story: ModeStory) -> Any:
    """The colour of wafers by how far the mode has grown: orange to dark blue."""
    return colormaps["plasma"](0.75 - 0.7 * np.minimum(number / story.growth_runs, 1.0))


def _main_phase(story: ModeStory) -> slice:
    """The middle of the recipe: away from the phases at both ends."""
    samples = len(story.time_s)
    return slice(int(0.3 * samples), max(int(0.3 * samples) + 1, int(0.85 * samples)))


def _draw_course(axes: Any, story: ModeStory, row: int, variable: str, shown: list[int]) -> None:
    name, unit = in_words(variable)
    normal = story.before[:, :, row]
    low, middle, high = np.nanpercentile(normal, (_BAND[0], 50.0, _BAND[1]), axis=0)
    axes.fill_between(story.time_s, low, high, color=FAINT, alpha=0.55, linewidth=0)
    axes.plot(story.time_s, middle, color=NORMAL, linewidth=1.0)
    for number in shown:
        course = story.after[number - 1, :, row]
        axes.plot(story.time_s, course, color=_grown(number, story), linewidth=1.1)
    axes.set_ylabel(unit)
    title = f"{name}: {dict(story.mode.signature)[variable]:+g} σ when grown"
    drawn = np.concatenate([[low, high], story.after[[number - 1 for number in shown], :, row]])
    main = drawn[:, _main_phase(story)]
    bottom, top = np.nanmin(main), np.nanmax(main)
    if top - bottom < _SMALL * (np.nanmax(drawn) - np.nanmin(drawn)):
        # Switching on and off is so much larger that the shift could not be seen.
        margin = 0.15 * (top - bottom)
        axes.set_ylim(bottom - margin, top + margin)
        title += " (main phase only)"
    axes.set_title(title, loc="left")


def _draw_trend(axes: Any, story: ModeStory, row: int) -> None:
    main = _main_phase(story)
    before = np.nanmean(story.before[:, main, row], axis=1)
    after = np.nanmean(story.after[:, main, row], axis=1)
    middle, spread = before.mean(), before.std()
    axes.axhspan(middle - 3 * spread, middle + 3 * spread, color=FAINT, alpha=0.35, linewidth=0)
    axes.axhline(middle, color=NORMAL, linewidth=0.8)
    axes.plot(np.arange(-len(before), 0) + 1, before, ".", color=NORMAL, markersize=3.5)
    number = np.arange(1, len(after) + 1)
    axes.scatter(number, after, s=11, c=_grown(number, story), zorder=3)
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    if story.first_bad:
        axes.axvline(story.first_bad, color="black", linewidth=0.8, linestyle="--")
    late = story.first_bad > 0.5 * len(after)
    if row == 0 and story.first_bad:
        axes.annotate(
            f"{story.run} {story.first_bad} is the\nfirst whose map\nshows it",
            (story.first_bad + (-1 if late else 1), 0.5),
            xycoords=axes.get_xaxis_transform(),
            fontsize=7,
            va="center",
            ha="right" if late else "left",
        )
    axes.annotate(
        "±3 σ", (-len(before) + 1, middle - 3 * spread), fontsize=7, va="bottom", color="#555555"
    )


def _draw_wafers(figure: Any, story: ModeStory) -> None:
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1.0))
    axes = above.subplots()
    picture = axes.imshow(
        story.field,
        cmap=field_colours(),
        vmin=0.0,
        vmax=1.0,
        extent=(-1.0, 1.0, 1.0, -1.0),
        interpolation="nearest",
        aspect="equal",
    )
    axes.add_patch(Circle((0.0, 0.0), 1.0, fill=False, color="#555555", linewidth=0.8))
    axes.set_xlim(-1.04, 1.04)
    axes.set_ylim(1.04, -1.04)
    axes.axis("off")
    axes.set_title(
        f"field at full strength, mean of one cause ({words(story.mode.family)})", loc="center"
    )
    above.colorbar(picture, ax=axes, shrink=0.85, label="probability that it kills the die")
    cells = below.subplots(2, _MAPS // 2)
    below.suptitle(f"maps of {story.product.id} wafers that suffered", fontsize=9)
    for cell, (grid, pattern) in zip(cells.ravel(), story.grids, strict=True):
        draw_map(cell, grid)
        cell.set_title(pattern, fontsize=7, pad=2)
