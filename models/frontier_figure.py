"""Speed against accuracy as a picture."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

__all__ = ["FrontierPoint", "frontier_figure"]

_FP32, _INT8 = "#1f4e79", "#c55a11"
_FONT_SIZE = 8
_MARK = 11.0  # pixels from the middle of a mark to the edge of its ring


class FrontierPoint(NamedTuple):
    """A model in the picture.

    Attributes:
        name: beside its mark.
        maps_per_s: on the machine of the picture.
        macro_f1: on the held-out part, 0..1.
        int8: which of the two precisions it has.
        front: no other is both faster and more accurate.
        default: what it is chosen for, such as 'fast'; '' for nothing.
        allowed: False for an int8 form that lost more than it may.
    """

    name: str
    maps_per_s: float
    macro_f1: float
    int8: bool
    front: bool
    default: str
    allowed: bool


def frontier_figure(points: Sequence[FrontierPoint], reference: str, reference_per_s: float) -> Any:
    """Maps a second (logarithmic) against macro-F1, the Pareto front as a line.

    Args:
        points: at least one.
        reference: what the dashed line at `reference_per_s` is called.
        reference_per_s: its maps a second in the same run.
    """
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    axes = figure.subplots()
    front = sorted((p.maps_per_s, p.macro_f1) for p in points if p.front)
    axes.plot(*zip(*front, strict=True), color="0.6", lw=1.2, zorder=1, label="Pareto front")
    for int8, colour, mark in ((False, _FP32, "o"), (True, _INT8, "s")):
        for allowed, face in ((True, colour), (False, "white")):
            shown = [p for p in points if p.int8 is int8 and p.allowed is allowed]
            if shown:
                axes.scatter(
                    [p.maps_per_s for p in shown],
                    [p.macro_f1 for p in shown],
                    marker=mark,
                    s=44,
                    facecolor=face,
                    edgecolor=colour,
                    zorder=3,
                    label=("int8" if int8 else "float32")
                    + ("" if allowed else ", loses more than it may"),
                )
    chosen = [p for p in points if p.default]
    if chosen:
        axes.scatter(
            [p.maps_per_s for p in chosen],
            [p.macro_f1 for p in chosen],
            s=190,
            facecolor="none",
            edgecolor="black",
            lw=1.3,
            zorder=2,
            label="chosen default",
        )
    axes.axvline(reference_per_s, color="0.5", lw=1.0, ls="--", zorder=0, label=reference)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(_ticks([*(p.maps_per_s for p in points), reference_per_s]))
    axes.margins(x=0.12, y=0.12)
    axes.set_xlabel("maps a second, all cores, batches of 128")
    axes.set_ylabel("macro-F1 on lots held out")
    axes.grid(alpha=0.25)
    # Below the axes: a corner inside is free only as long as no model happens to be there.
    figure.legend(fontsize=_FONT_SIZE, loc="outside lower center", ncols=6, frameon=False)
    _write_names(FigureCanvasAgg(figure), axes, points)
    return figure


def _ticks(rates: Sequence[float]) -> list[float]:
    """1, 2 and 5 of each power of ten between the slowest and the fastest, and one beyond each."""
    steps = [step * 10.0**power for power in range(7) for step in (1, 2, 5)]
    inside = [i for i, step in enumerate(steps) if min(rates) <= step <= max(rates)]
    if not inside:
        return steps
    return steps[max(inside[0] - 1, 0) : inside[-1] + 2]


def _write_names(canvas: Any, axes: Any, points: Sequence[FrontierPoint]) -> None:
    """Write each name beside its mark where no other name or mark is.

    Places around the mark are tried from near to far and the first free one is taken, with a thin
    line to the mark when it is a far one.
    """
    canvas.draw()  # text has a size, and the axes their place, only once they were drawn
    renderer = canvas.get_renderer()
    points_per_pixel = 72.0 / canvas.figure.dpi
    marks = [axes.transData.transform((p.maps_per_s, p.macro_f1)) for p in points]
    taken = [(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in marks]
    frame = tuple(axes.get_window_extent(renderer).extents)
    for point, (x, y) in zip(points, marks, strict=True):
        label = axes.annotate(
            f"{point.name} ({point.default})" if point.default else point.name,
            (point.maps_per_s, point.macro_f1),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=_FONT_SIZE,
            fontweight="bold" if point.default else "normal",
            va="center",
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )
        box = label.get_window_extent(renderer)
        dx, dy = _free_place((x, y), (box.width, box.height), taken, frame)
        label.set_position((dx * points_per_pixel, dy * points_per_pixel))
        taken.append((x + dx, y + dy - box.height / 2, x + dx + box.width, y + dy + box.height / 2))
        if abs(dy) > 2 * box.height:
            end = (x + (dx if dx > 0 else dx + box.width), y + dy)
            ends = [(point.maps_per_s, point.macro_f1), axes.transData.inverted().transform(end)]
            axes.plot(*zip(*ends, strict=True), color="0.7", lw=0.6, zorder=1)


_Box = tuple[float, ...]


def _free_place(
    mark: tuple[float, float], size: tuple[float, float], taken: Sequence[_Box], frame: _Box
) -> tuple[float, float]:
    """Where a text of this size begins, in pixels from the mark to its left edge and its middle."""
    x, y = mark
    width, height = size
    gap = _MARK + 1.0
    for ring in range(12):
        lift = ring * height * 0.7
        for dx in (gap, -gap - width, -width / 2):
            for dy in (lift, -lift):
                if dx == -width / 2 and abs(dy) < gap + height / 2:
                    continue  # it would cover its own mark
                box = (x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2)
                if _inside(box, frame) and not any(_overlap(box, other) for other in taken):
                    return dx, dy
    return gap, 0.0


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: _Box, frame: _Box) -> bool:
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]
