"""`fabpilot evaluate`: how good a model is on a set of maps, through the runtime that serves it."""

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import typer

from fabpilot.commands.options import JsonOption
from fabpilot.map_data import Part, load_named_maps, part_of
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings
from fabpilot.wiring import open_repository
from models.evaluate import evaluate as judge

__all__ = ["register"]


def evaluate(
    model: Annotated[
        str, typer.Argument(help="An ONNX file or models:/wafer-map@champion.", metavar="MODEL")
    ],
    data: Annotated[str, typer.Option("--data", help="A .npz of labelled maps, or sim:SCENARIO.")],
    part: Annotated[
        str,
        typer.Option("--part", help="all, or the train or holdout side of train's own split."),
    ] = "all",
    wafers: Annotated[
        int, typer.Option("--wafers", min=1, help="Maps to make, with sim:SCENARIO.")
    ] = 4_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With sim:SCENARIO.")] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """Judge a model on labelled maps: accuracy, macro-F1, per class, calibration.

    For example:

      fabpilot evaluate models:/wafer-map@champion --data wm811k.npz --part holdout

      fabpilot evaluate wafer-map.onnx --data sim:mixed --json
    """
    if part not in ("all", "train", "holdout"):
        raise typer.BadParameter("use all, train or holdout", param_hint="--part")
    settings = load_settings()
    maps = part_of(load_named_maps(data, wafers=wafers, seed=seed), _as_part(part))
    repository = open_repository(settings, model)
    try:
        session = repository.current().session

        def predict(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return session.run(batch).probabilities

        with progress_bar("evaluating", len(maps)) as bar:
            judged = judge(
                predict,
                session.card.labels,
                session.card.multi_label,
                session.card.thresholds,
                maps,
                session.card.canonical_size,
                on_progress=lambda done, _: bar.update(bar.tasks[0].id, completed=done),
            )
        plain: dict[str, Any] = msgspec.to_builtins(judged)
        plain["provider"] = session.provider
        plain["model_sha256"] = session.sha256
        plain["part"] = part
        report(plain, as_json=as_json, title=f"{model} on {maps.source}")
    finally:
        repository.close()


def _as_part(part: str) -> Part:
    return "train" if part == "train" else "holdout" if part == "holdout" else "all"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)
