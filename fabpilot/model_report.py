"""A model's report for people: one page of Markdown and its pictures, in a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from models.evaluate import EvaluationReport
from models.figures import class_figure, confusion_figure, mistakes_figure, reliability_figure
from models.mistakes import Mistake

__all__ = ["ModelReport", "write_report"]

_DPI = 110
_FIGURES = ("accuracy", "macro_f1", "exact_match", "ece")


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the page tells.

    Attributes:
        title: which model.
        facts: name to value, in the order they are shown: file, data, part, machine.
        judged: on that data.
        mistakes: surest first.
        robustness: macro-F1 under each perturbation; empty if it was not tried.
        latency_ms: of one map; empty if it was not measured.
        classes: how many maps each part had, as a Markdown table.
        notice: citation and licence of the data.
    """

    title: str
    facts: Mapping[str, str]
    judged: EvaluationReport
    mistakes: Sequence[Mistake]
    robustness: Mapping[str, float]
    latency_ms: Mapping[str, float]
    classes: str
    notice: str


def write_report(told: ModelReport, folder: Path) -> list[Path]:
    """Write report.md and its pictures into `folder`, over an earlier report there.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    judged = told.judged
    figures: dict[str, Any] = {
        "classes.png": class_figure(judged),
        "confusion_matrix.png": confusion_figure(judged.labels, judged.confusion),
        "reliability.png": reliability_figure(judged.reliability, judged.ece),
    }
    if told.mistakes:
        figures["mistakes.png"] = mistakes_figure(told.mistakes)
    written = []
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=_DPI)
        written.append(folder / name)
    page = folder / "report.md"
    page.write_text(_page(told), encoding="utf-8")
    return [page, *written]


def _page(told: ModelReport) -> str:
    judged = told.judged
    parts = [
        f"# {told.title}\n",
        "\n".join(f"- {name}: {value}" for name, value in told.facts.items()) + "\n",
        f"## Figures on {judged.n:,} maps\n",
        _table(("", "value", "95 % interval"), _figures(judged)),
        "## Classes\n\n![F1 of every class](classes.png)\n",
        _table(
            ("class", "F1", "95 % interval"),
            [
                (name, f"{f1:.3f}", _interval(judged.per_class_intervals.get(name)))
                for name, f1 in judged.per_class_f1.items()
            ],
        ),
        "## What is taken for what\n\n![Confusion matrix](confusion_matrix.png)\n",
        "## Does it mean what it says\n\n![Reliability](reliability.png)\n",
    ]
    if told.mistakes:
        parts.append("## Worst mistakes\n\n![The most surely wrong maps](mistakes.png)\n")
    if told.robustness:
        rows = [
            (name.replace("_", " "), f"{f1:.3f}", f"{f1 - judged.macro_f1:+.3f}")
            for name, f1 in told.robustness.items()
        ]
        parts += ["## Under perturbation\n", _table(("", "macro-F1", "change"), rows)]
    if told.latency_ms:
        shown = ", ".join(f"{name} {ms:.2f} ms" for name, ms in told.latency_ms.items())
        parts.append(f"## One map at a time\n\n{shown}, from die grid to probabilities.\n")
    parts += ["## Data\n", told.classes, told.notice]
    return "\n".join(parts)


def _figures(judged: EvaluationReport) -> list[tuple[str, str, str]]:
    values = judged.metrics()
    return [
        (name.replace("_", " "), f"{values[name]:.4f}", _interval(judged.intervals.get(name)))
        for name in _FIGURES
        if name in values
    ]


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
