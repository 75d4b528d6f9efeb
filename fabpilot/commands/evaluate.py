"""`fabpilot evaluate`: how good a model is on maps or traces, as served."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import typer

from fabpilot.commands.options import JsonOption
from fabpilot.map_data import Part, load_named_maps, part_of
from fabpilot.output import err, progress_bar, report
from fabpilot.settings import load_settings
from fabpilot.wiring import model_source, open_repository
from models.data import MapSet
from models.evaluate import EvaluationReport, judge, predict_all, single_map_ms
from models.robustness import macro_f1_under, perturbations
from serving.session import Session
from serving.trace_session import is_trace_model

__all__ = ["register"]

# Enough that the ends of an interval move by less than a tenth of its width.
_RESAMPLES = 1_000
_SHOWN_MISTAKES = 36


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="An ONNX file, or models:/NAME@ALIAS such as models:/wafer-map@champion.",
            metavar="MODEL",
        ),
    ],
    data: Annotated[
        str,
        typer.Option("--data", help="A .npz of labelled maps, LSWMD.pkl, sim:SCENARIO, or traces."),
    ],
    part: Annotated[
        str,
        typer.Option(
            "--part",
            help="Maps: all, or the train or holdout side of the split that 'train' makes."
            " Traces: a part of the set.",
        ),
    ] = "all",
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Add 95 % intervals, robustness and latency (takes four times as long).",
        ),
    ] = False,
    report_folder: Annotated[
        Path | None,
        typer.Option(
            "--report", help="Folder to write a report with pictures to.", metavar="FOLDER"
        ),
    ] = None,
    wafers: Annotated[
        int, typer.Option("--wafers", min=1, help="Number of maps, with sim:SCENARIO.")
    ] = 4_000,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the maps, with sim:SCENARIO.")
    ] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """Judge a model: accuracy, macro-F1 and calibration for maps; its task's measures for traces.

    For example:

      fabpilot evaluate models:/wafer-map@champion --data wm811k.npz --part holdout

      fabpilot evaluate wafer-map.onnx --data wm811k.npz --part holdout --full --report judged

      fabpilot evaluate models:/trace-metrology@champion --data phm2016_cmp --part validation
    """
    settings = load_settings()
    source = model_source(settings, model)
    file = source.fetch(source.resolve())
    if is_trace_model(file):
        # scikit-learn is a second to load, and maps need none of it.
        from fabpilot.trace_judge import judge_traces

        judged_traces = judge_traces(settings, file, Path(data), part)
        report(judged_traces, as_json=as_json, title=f"{model} on {data}, part {part}")
        return
    if part not in ("all", "train", "holdout"):
        raise typer.BadParameter("use all, train or holdout", param_hint="--part")
    maps = part_of(load_named_maps(data, wafers=wafers, seed=seed), _as_part(part))
    repository = open_repository(settings, model)
    try:
        session = repository.current().session
        card = session.card
        how = (card.labels, card.multi_label, card.thresholds)

        def predict(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return session.run(batch).probabilities

        rounds = 1 + (len(perturbations(0)) if full else 0)
        with progress_bar("evaluating", len(maps) * rounds) as bar:
            task = bar.tasks[0].id
            probabilities = predict_all(
                predict,
                maps,
                card.canonical_size,
                on_progress=lambda done, _: bar.update(task, completed=done),
            )
            # Intervals cost a moment, and a report without them invites comparing noise.
            resamples = _RESAMPLES if full or report_folder else 0
            judged = judge(probabilities, *how, maps, resamples=resamples)
            under: dict[str, float] = {}
            if full:
                under = macro_f1_under(
                    predict,
                    *how,
                    maps,
                    card.canonical_size,
                    on_progress=lambda done: bar.advance(task, done),
                )
        latency = single_map_ms(predict, maps, card.canonical_size) if full else {}
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(judged))
        plain["provider"] = session.provider
        plain["model_sha256"] = session.sha256
        plain["part"] = part
        if full:
            plain["robustness_macro_f1"] = under
            plain["latency_ms"] = latency
        if report_folder is not None:
            _write(report_folder, model, session, part, maps, probabilities, judged, under, latency)
        report(plain, as_json=as_json, title=f"{model} on {maps.source}")
    finally:
        repository.close()


def _write(
    folder: Path,
    model: str,
    session: Session,
    part: str,
    maps: MapSet,
    probabilities: npt.NDArray[np.float32],
    judged: EvaluationReport,
    under: dict[str, float],
    latency: dict[str, float],
) -> None:
    # matplotlib takes a second to import: only for those who want pictures.
    from fabpilot.model_report import ModelReport, write_report
    from models.mistakes import worst_mistakes
    from models.notices import class_table, notice

    card = session.card
    told = ModelReport(
        title=f"{card.name}: {model}",
        facts={
            "architecture": card.architecture,
            "file": f"sha256 {session.sha256}",
            "trained on": f"data with fingerprint {card.data_fingerprint[:16]}, "
            f"fabpilot {card.code_version}",
            "judged on": f"{maps.source}, part {part}, fingerprint {maps.fingerprint()[:16]}",
            "runtime": f"{session.provider}",
        },
        judged=judged,
        mistakes=worst_mistakes(
            probabilities, card.labels, card.multi_label, card.thresholds, maps, _SHOWN_MISTAKES
        ),
        robustness=under,
        latency_ms=latency,
        classes=class_table({part: maps}),
        notice=notice(maps.source),
    )
    written = write_report(told, folder)
    err.print(f"report: {written[0]}")


def _as_part(part: str) -> Part:
    return "train" if part == "train" else "holdout" if part == "holdout" else "all"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)
