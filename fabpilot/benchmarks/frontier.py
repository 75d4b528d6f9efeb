"""Which model to serve: accuracy on held-out lots against speed, all speeds from one run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from contracts.errors import ConfigError
from fabpilot.benchmarks.model_speed import REFERENCE, REFERENCE_SIZE, reference_file
from fabpilot.benchmarks.timing import BATCH, Timed, cores, file_runner, interleaved, turn
from models.data import MapSet
from models.evaluate import EvaluationReport
from models.frontier_figure import FrontierPoint
from models.quantize import (
    INT8_SUFFIX,
    Int8Loss,
    calibration_maps,
    is_int8,
    judge_file,
    quantize,
    read_card,
)

__all__ = [
    "CLOSE_POINTS",
    "Frontier",
    "FrontierRow",
    "choose",
    "figure_points",
    "markdown",
    "measure_frontier",
]

CLOSE_POINTS = 2.0
"""The fast default is the fastest model within so many points of macro-F1 of the best one."""

Precision = Literal["float32", "int8"]


class FrontierRow(msgspec.Struct, frozen=True):
    """One model.

    Attributes:
        name: of its file.
        architecture: from its card.
        precision: float32, or int8 made from it in this run.
        canonical_size: S.
        megabytes: of the file.
        maps_per_s: all cores, batches of 128.
        over_reference: its maps a second over those of mobilenetv3_small_100 at 64x64.
        macro_f1: on the maps it was judged on; the next two too.
        accuracy: share of right answers.
        ece: expected calibration error.
        drop_points: of macro-F1, int8 against float32; None for float32.
        allowed: it may serve: an int8 form that lost too much may not.
        front: no other that may serve is as fast and as accurate and better in one of both.
        default: 'accurate' for the best macro-F1, 'fast' for the fastest within two points of it.
    """

    name: str
    architecture: str
    precision: Precision
    canonical_size: int
    megabytes: float
    maps_per_s: float
    over_reference: float
    macro_f1: float
    accuracy: float
    ece: float
    drop_points: float | None = None
    allowed: bool = True
    front: bool = False
    default: str = ""


class Frontier(msgspec.Struct, frozen=True):
    """All models of one run.

    Attributes:
        data: what they were judged on.
        n: how many maps.
        cores: used at once.
        reference: the peer's name.
        reference_per_s: its maps a second in the same run.
        cores_got: share of the cores this process had meanwhile; well below 1, other work was in
            the way and the speeds are rough.
        fast_over_accurate: how many times faster the fast default is than the accurate one.
        points_behind: how far the fast default is behind it, in points of macro-F1.
        rows: the fastest first.
    """

    data: str
    n: int
    cores: int
    reference: str
    reference_per_s: float
    cores_got: float
    fast_over_accurate: float
    points_behind: float
    rows: tuple[FrontierRow, ...]


def measure_frontier(
    files: Mapping[str, bytes],
    learned: MapSet,
    judged: MapSet,
    *,
    rounds: int = 7,
    seconds: float = 0.5,
    on_judged: Callable[[], None] | None = None,
) -> Frontier:
    """Judge and time model files and their int8 forms.

    Args:
        files: name to content of float32 model files.
        learned: maps for the ranges of the int8 forms, none of them judged on.
        judged: maps for the figures.
        rounds: in each of which every model has one turn.
        seconds: of a turn.
        on_judged: called after each of two judgements a file.

    Raises:
        ModelFileError: a file is none of ours, or int8 already.
        DatasetError: data and a model have no class in common.
    """
    contents: dict[tuple[str, Precision], bytes] = {}
    reports: dict[tuple[str, Precision], EvaluationReport] = {}
    for name, content in files.items():
        card = read_card(content)
        if is_int8(card):
            raise ConfigError(f"{name} is int8: name float32 files, their int8 forms are made here")
        int8 = quantize(content, calibration_maps(learned, card.canonical_size))
        forms: dict[Precision, bytes] = {"float32": content, "int8": int8}
        for precision, form in forms.items():
            contents[name, precision] = form
            reports[name, precision] = judge_file(form, judged)
            if on_judged is not None:
                on_judged()
    timed = _speeds(contents, judged, rounds, seconds)
    speeds, reference_per_s = timed.best, timed.best[_REFERENCE_KEY]
    rows = []
    for (name, precision), content in contents.items():
        card, report = read_card(content), reports[name, precision]
        loss = Int8Loss.of(reports[name, "float32"], report) if precision == "int8" else None
        rows.append(
            FrontierRow(
                name=name,
                architecture=card.architecture,
                precision=precision,
                canonical_size=card.canonical_size,
                megabytes=len(content) / 1e6,
                maps_per_s=speeds[name, precision],
                over_reference=speeds[name, precision] / reference_per_s,
                macro_f1=report.macro_f1,
                accuracy=report.accuracy,
                ece=report.ece,
                drop_points=loss.drop_points if loss else None,
                allowed=loss.allowed if loss else True,
            )
        )
    chosen = choose(rows)
    fast, accurate = _default(chosen, "fast"), _default(chosen, "accurate")
    return Frontier(
        data=judged.source,
        n=len(judged),
        cores=cores(),
        reference=f"{REFERENCE} at {REFERENCE_SIZE}x{REFERENCE_SIZE}",
        reference_per_s=reference_per_s,
        cores_got=timed.cores_got,
        fast_over_accurate=fast.maps_per_s / accurate.maps_per_s,
        points_behind=100.0 * (accurate.macro_f1 - fast.macro_f1),
        rows=tuple(chosen),
    )


def choose(rows: Sequence[FrontierRow]) -> list[FrontierRow]:
    """The rows, fastest first, with the front and the two defaults marked.

    Args:
        rows: at least one that is allowed.
    """
    ordered = sorted(rows, key=lambda row: (-row.maps_per_s, -row.macro_f1))
    may = [row for row in ordered if row.allowed]
    accurate = max(may, key=lambda row: row.macro_f1)
    close = accurate.macro_f1 - CLOSE_POINTS / 100.0
    fast = next(row for row in may if row.macro_f1 >= close)
    marked, best = [], -1.0
    for row in ordered:
        # The fastest first: a row is on the front if it is more accurate than all faster ones.
        front = row.allowed and row.macro_f1 > best
        best = max(best, row.macro_f1) if row.allowed else best
        roles = [role for role, one in (("fast", fast), ("accurate", accurate)) if one is row]
        marked.append(msgspec.structs.replace(row, front=front, default=" and ".join(roles)))
    return marked


def figure_points(frontier: Frontier) -> list[FrontierPoint]:
    """What the picture shows."""
    return [
        FrontierPoint(
            name=f"{row.name} int8" if row.precision == "int8" else row.name,
            maps_per_s=row.maps_per_s,
            macro_f1=row.macro_f1,
            int8=row.precision == "int8",
            front=row.front,
            default=row.default,
            allowed=row.allowed,
        )
        for row in frontier.rows
    ]


def markdown(frontier: Frontier) -> str:
    """The table, for a page."""
    lines = [
        f"{frontier.n} maps of {frontier.data}; {frontier.cores} cores, batches of {BATCH};"
        f" {frontier.reference}: {frontier.reference_per_s:,.0f} maps/s in the same run"
        f" ({frontier.cores_got:.0%} of the cores were ours).",
        "",
        "| model | network | pixels | precision | MB | maps/s | of the reference | macro-F1"
        " | accuracy | ECE | int8 loses | |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in frontier.rows:
        loses = "" if row.drop_points is None else f"{row.drop_points:+.2f} points"
        notes = [row.default and f"**{row.default} default**", "front" if row.front else ""]
        if not row.allowed:
            notes.append("loses too much to serve")
        lines.append(
            f"| {row.name} | {row.architecture.removesuffix(INT8_SUFFIX)} | {row.canonical_size}"
            f" | {row.precision} | {row.megabytes:.2f} | {row.maps_per_s:,.0f}"
            f" | {row.over_reference:.2f} | {row.macro_f1:.4f} | {row.accuracy:.4f}"
            f" | {row.ece:.3f} | {loses} | {', '.join(filter(None, notes))} |"
        )
    return "\n".join(lines) + "\n"


_REFERENCE_KEY: tuple[str, Precision] = ("", "float32")  # no file has this name


def _speeds(
    contents: Mapping[tuple[str, Precision], bytes], maps: MapSet, rounds: int, seconds: float
) -> Timed[tuple[str, Precision]]:
    """Maps a second of each file and of the reference."""
    rows = np.arange(BATCH) % len(maps)
    every = {**contents, _REFERENCE_KEY: reference_file()}
    sizes = {key: read_card(content).canonical_size for key, content in every.items()}
    batches = {size: maps.subset(rows).canonical(size) for size in set(sizes.values())}
    return interleaved(
        {
            key: turn(file_runner(content), batches[sizes[key]], seconds)
            for key, content in every.items()
        },
        rounds,
    )


def _default(rows: Sequence[FrontierRow], role: str) -> FrontierRow:
    return next(row for row in rows if role in row.default)
