"""A lot's way through the line: step by step with its waiting, and wafer by wafer."""

from collections import defaultdict
from typing import Any

from matplotlib.collections import PatchCollection
from matplotlib.patches import Patch, Rectangle

from fab_sim import Scenario
from fabpilot.sheets.sources import LotStory, Trail, lot_story
from fabpilot.sheets.style import FAINT, kind_style, new_figure

__all__ = ["timeline_figure"]


def timeline_figure(scenario: Scenario, seed: int) -> Any:
    """One lot of the scenario's fab."""
    story = lot_story(scenario, seed)
    visits = _visits(story.trails)
    styles = kind_style(list(dict.fromkeys(trail.kind for trail in story.trails)))
    slots = sorted({trail.slot for trail in story.trails})
    steps_in, wafers_in = 0.24 * len(visits) + 0.7, 0.2 * len(slots) + 0.9
    figure = new_figure(14.0, steps_in + wafers_in + 1.0)
    end = max(trail.end_h for trail in story.trails)
    working = sum(visit[-1].end_h - visit[0].start_h for visit in visits)
    figure.suptitle(
        f"Lot {story.lot_id}, {story.wafers} wafers of {story.product}:"
        f" {len(visits)} steps in {end:.1f} h, {working:.1f} h of them at equipment"
        + ("" if story.finished else " (not finished)"),
        fontsize=12,
    )
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(steps_in, wafers_in))
    _draw_steps(above, visits, styles)
    _draw_wafers(below, story, slots, styles)
    figure.legend(
        handles=[
            *(
                Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=kind)
                for kind, (colour, hatch) in styles.items()
            ),
            Patch(facecolor=FAINT, alpha=0.45, label="on the way or waiting"),
        ],
        loc="outside lower center",
        ncols=min(9, len(styles) + 1),
        frameon=False,
    )
    return figure


def _visits(trails: list[Trail]) -> list[list[Trail]]:
    """The lot's work at one step each, in the order of the route; ends with its last wafer."""
    by_step: dict[int, list[Trail]] = defaultdict(list)
    for trail in trails:
        by_step[trail.sequence].append(trail)
    return [sorted(by_step[place], key=lambda trail: trail.end_h) for place in sorted(by_step)]


def _draw_steps(axes: Any, visits: list[list[Trail]], styles: dict[str, tuple[str, str]]) -> None:
    before = 0.0
    for row, visit in enumerate(visits):
        start = min(trail.start_h for trail in visit)
        end = max(trail.end_h for trail in visit)
        if start > before:
            axes.barh(row, start - before, left=before, color=FAINT, alpha=0.45, height=0.6)
        colour, hatch = styles[visit[0].kind]
        axes.barh(
            row, end - start, left=start, color=colour, hatch=hatch, edgecolor="white", height=0.8
        )
        equipment = ", ".join(sorted({trail.equipment for trail in visit}))
        axes.annotate(
            f" {equipment}, waited {max(0.0, start - before):.1f} h",
            (end, row),
            va="center",
            fontsize=7,
            color="#333333",
            annotation_clip=False,
        )
        before = end
    axes.set_yticks(range(len(visits)), [visit[0].step for visit in visits], fontsize=7.5)
    axes.set_ylim(len(visits) - 0.4, -0.6)
    axes.set_title("the lot, step by step", loc="left")
    axes.set_xlim(0.0, before * 1.14)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_wafers(
    axes: Any, story: LotStory, slots: list[int], styles: dict[str, tuple[str, str]]
) -> None:
    last: dict[int, float] = dict.fromkeys(slots, 0.0)
    waiting: list[Rectangle] = []
    working: dict[str, list[Rectangle]] = {kind: [] for kind in styles}
    for trail in story.trails:
        before = last[trail.slot]
        if trail.start_h > before:
            waiting.append(_bar(trail.slot, before, trail.start_h, 0.35))
        working[trail.kind].append(_bar(trail.slot, trail.start_h, trail.end_h, 0.8))
        last[trail.slot] = max(before, trail.end_h)
    # A collection for each kind: a thousand bars one by one take seconds.
    axes.add_collection(PatchCollection(waiting, facecolor=FAINT, alpha=0.45, linewidth=0))
    for kind, bars in working.items():
        colour, hatch = styles[kind]
        axes.add_collection(
            PatchCollection(bars, facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0.0)
        )
    axes.set_ylim(max(slots) + 0.6, min(slots) - 0.6)
    axes.set_yticks([slot for slot in slots if slot == 1 or slot % 5 == 0])
    axes.set_ylabel("slot")
    axes.set_xlabel("hours since the lot was started")
    axes.set_title("its wafers, one row each", loc="left")
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)


def _bar(row: int, start: float, end: float, height: float) -> Rectangle:
    return Rectangle((start, row - 0.5 * height), end - start, height)
