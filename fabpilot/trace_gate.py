"""Whether a challenger among trace models may take the champion's place.

Both are judged on the same runs through the runtime that serves them, and opened as a processor
opens them. A challenger that could not serve, that answers something else, that was trained on the
very runs, or whose figure is worse than the champion's, is refused.
"""

from pathlib import Path
from typing import Any

from contracts.errors import DatasetError, ModelFileError
from contracts.trace_model import Task
from fabpilot.model_path import model_path
from fabpilot.promotion import Contest, open_version
from fabpilot.settings import Settings
from fabpilot.trace_judge import judge_traces
from models.gate import Check, GateDecision, decided, refused
from models.registry import ModelVersion
from serving.trace_scorer import trace_opener

__all__ = ["judge_trace_contest"]

# What each task is judged by, and whether more of it is better.
_FIGURES: dict[Task, tuple[str, bool]] = {
    "metrology": ("rmse", False),
    "fault": ("auc", True),
    "risk": ("auc", True),
}
# Intervals promise 90 %; this is what is still worth being told (docs/trace_serving.md).
_COVERAGE = 0.8


def judge_trace_contest(
    settings: Settings, task: Task, contest: Contest, data: Path, part: str
) -> GateDecision:
    """Both models on the same runs, and what follows from it.

    Args:
        settings: registry and device.
        task: of both.
        contest: whose files are loaded.
        data: a folder or file of traces that neither was trained on.
        part: of it, or 'all'.

    Raises:
        DatasetError: the runs cannot be read, or say nothing about the task.
        RegistryError: a file cannot be fetched.
    """
    try:
        challenger = open_version(settings, contest.challenger, trace_opener(task))
    except ModelFileError as error:
        return refused("file", str(error))
    said = _judged(settings, contest.challenger, data, part)
    if contest.champion is None:
        return decided([_unseen([said]), *_checks(task, said, None)], runs=said["n"])
    try:
        champion = open_version(settings, contest.champion, trace_opener(task))
    except ModelFileError as error:
        sentence = f"the champion's file cannot be loaded, so nothing can be compared: {error}"
        return refused("champion", sentence)
    before = _judged(settings, contest.champion, data, part)
    missing = [one for one in champion.answers if one not in challenger.answers]
    answers = Check(
        "answers",
        float(len(missing)),
        0.0,
        not missing,
        f"it cannot tell {', '.join(missing)}, which the champion can"
        if missing
        else f"it tells {', '.join(challenger.answers)}, as the champion does",
    )
    return decided([answers, _unseen([said, before]), *_checks(task, said, before)], runs=said["n"])


def _judged(settings: Settings, version: ModelVersion, data: Path, part: str) -> dict[str, Any]:
    file = model_path(settings, f"models:/{version.name}/{version.version}")
    return judge_traces(settings, file, data, part)


def _unseen(reports: list[dict[str, Any]]) -> Check:
    seen = sum(bool(report.get("seen_in_training")) for report in reports)
    sentence = (
        "a model was trained on these very runs: export newer ones"
        if seen
        else "no model was trained on this very set"
    )
    return Check("unseen", float(seen), 0.0, not seen, sentence)


def _checks(task: Task, said: dict[str, Any], before: dict[str, Any] | None) -> list[Check]:
    name, more_is_better = _FIGURES[task]
    value = said.get(name)
    if value is None:
        raise DatasetError(
            f"the runs say nothing of {name}: for {task} they need"
            + (" both outcomes" if task == "risk" else " normal and faulty runs with labels")
        )
    limit = None if before is None else float(before[name])
    better = limit is None or (value >= limit if more_is_better else value <= limit)
    sentence = f"{name} {value:.4g} on {said['n']} runs" + (
        ", nobody serves yet" if limit is None else f", the champion's {limit:.4g}"
    )
    checks = [Check(name, float(value), limit, better, sentence)]
    if task == "metrology":
        coverage = float(said["more"]["coverage90_alone"])
        sentence = f"its intervals hold {coverage:.1%} of the measured values, of 90 % promised"
        checks.append(Check("coverage90", coverage, _COVERAGE, coverage >= _COVERAGE, sentence))
    return checks
