"""`fabpilot train trace`: from sensor traces to a registered model."""

import shlex
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from contracts.trace_model import TASKS, Task
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, report
from fabpilot.settings import load_settings

__all__ = ["trace"]


def trace(
    task: Annotated[
        str,
        typer.Option("--task", help="What to predict.", metavar="|".join(TASKS)),
    ],
    data: Annotated[
        Path,
        typer.Option("--data", help="A folder or file of traces (docs/traces.md)."),
    ],
    part: Annotated[
        str | None,
        typer.Option("--part", help="Part of the set to learn from (default: all of it)."),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias",
            help="Its alias (default: champion if there is none yet, otherwise challenger).",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the ONNX file here.")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="Kept with the run; today's tasks draw nothing at random."
        ),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a model of sensor traces, judge it on runs left out, and register it in MLflow.

    Virtual metrology is cross-validated by group (such as the lot); faults and risk are judged on
    later runs than those learned from (docs/traces.md).

    For example:

      fabpilot train trace --task metrology --data phm2016_cmp --part train

      fabpilot train trace --task fault --data lam9600.npz --part normal-29
    """
    chosen = _task(task)
    settings = load_settings()
    # scikit-learn and mlflow take seconds to import: not for `--help`.
    from fabpilot.trace_training import train_and_register_traces
    from models.traces import load_traces

    traces = load_traces(data, part)
    err.print(f"{len(traces)} runs of {traces.name}, part {traces.part}")
    words = ["fabpilot", "train", "trace", "--task", task, "--data", str(data.resolve())]
    words += ["--part", traces.part, "--seed", str(seed)]
    with Progress(
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=err,
        disable=not err.is_terminal,
    ) as bar:
        shown = bar.add_task("training", total=1.0)
        result = train_and_register_traces(
            traces,
            chosen,
            command=shlex.join(words),
            mlflow_uri=settings.mlflow_uri,
            alias=alias,
            out=out,
            seed=seed,
            on_progress=lambda share: bar.update(shown, completed=share),
        )
    plain = msgspec.to_builtins(result)
    # The same names at the same place as `fabpilot evaluate` has them.
    folds = plain.pop("folds")
    report({**plain, **folds}, as_json=as_json, title="trained")


def _task(name: str) -> Task:
    for task in TASKS:
        if name == task:
            return task
    raise typer.BadParameter(f"use one of {', '.join(TASKS)}", param_hint="--task")
