"""`fabpilot train`: from labelled maps, or from traces, to a registered model."""

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fabpilot.commands.options import JsonOption
from fabpilot.commands.train_trace import trace
from fabpilot.duration import parse_duration
from fabpilot.map_data import SIM_WAFERS, load_named_maps
from fabpilot.output import err, report
from fabpilot.settings import load_settings

if TYPE_CHECKING:
    from fabpilot.training import Origin
    from models.options import TrainOptions

__all__ = ["register"]


def wafer_map(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="A .npz of labelled maps, LSWMD.pkl, or sim:SCENARIO for the synthetic fab.",
            metavar="PATH|sim:SCENARIO",
        ),
    ],
    budget: Annotated[
        str, typer.Option("--budget", help="Time to train, such as 90s or 17m.")
    ] = "17m",
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Most passes over the data.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="A timm model or one of ours (docs/models.md)."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=16, max=1024, help="Pixels per side of the canonical map."),
    ] = None,
    views: Annotated[
        int,
        typer.Option(
            "--views",
            help="Orientations of each map averaged in serving: 1 is fast, 4 and 8 are"
            " more accurate.",
        ),
    ] = 4,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            help="Start from these weights: a registered model, or a run's weights.safetensors.",
            metavar="MODEL|FILE",
        ),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            "--extra",
            help="More maps to train on, never used for judging. May be repeated.",
            metavar="PATH|sim:SCENARIO",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience", min=1, help="Stop after this many epochs without an improvement."
        ),
    ] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile; worth it in long runs on a GPU.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume/--fresh", help="Continue where the same command was interrupted."),
    ] = True,
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
    wafers: Annotated[
        int, typer.Option("--wafers", min=500, help="Number of maps, with sim:SCENARIO.")
    ] = SIM_WAFERS,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of weights, draws and views.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a wafer-map model, judge it on held-out lots, and register it in MLflow.

    For example:

      fabpilot train wafer-map --data wm811k.npz

      fabpilot train wafer-map --data sim:mixed --budget 2m --alias challenger

      fabpilot train wafer-map --data wm811k.npz --init models:/wafer-map@champion --budget 5m

      torchrun --nproc-per-node 4 -m fabpilot train wafer-map --data wm811k.npz
    """
    settings = load_settings()
    seconds = parse_duration(budget)
    maps = load_named_maps(data, wafers=wafers, seed=seed)
    err.print(f"{len(maps)} maps of {maps.source}" + _skipped(maps.skipped))
    more = [load_named_maps(name, wafers=wafers, seed=seed) for name in extra or ()]
    # torch takes seconds to import: not before the data is known to be good.
    from fabpilot.training import train_and_register
    from models.options import TrainOptions, batch_for

    wanted = {"backbone": backbone, "epochs": epochs, "size": size, "patience": patience}
    chosen: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    chosen["batch"] = batch_for(len(maps))
    options = TrainOptions(
        budget_s=seconds, seed=seed, device=settings.device.value, compile=compile_, **chosen
    )
    with (
        warnings.catch_warnings(),
        Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=err,
            disable=not err.is_terminal,
        ) as bar,
    ):
        # Notes of libraries to their developers are not for the person who trains.
        warnings.simplefilter("ignore")
        task = bar.add_task("training", total=1.0, said="")
        result = train_and_register(
            maps,
            options,
            origin=_origin(data, wafers, options, init, extra or []),
            mlflow_uri=settings.mlflow_uri,
            alias=alias,
            out=out,
            init=init,
            extra=more,
            checkpoints=settings.home / "training",
            fresh=not resume,
            on_progress=lambda p: bar.update(
                task,
                completed=p.share,
                said=f"epoch {p.epoch}, loss {p.loss:.3f}, {p.maps_per_s:.0f} maps/s,"
                f" {_clock(p.eta_s)} left",
            ),
            on_epoch=lambda e: err.print(
                f"epoch {e.epoch}: accuracy {e.validation_accuracy:.3f},"
                f" macro-F1 {e.validation_macro_f1:.3f} on validation lots, {_clock(e.elapsed_s)}"
            ),
        )
    if result is None:
        return  # torchrun: the first process reports
    report(result, as_json=as_json, title="trained")
    err.print("Look at the run: mlflow ui --backend-store-uri " + settings.mlflow_uri)


def _origin(
    data: str, wafers: int, options: "TrainOptions", init: str | None, extra: Sequence[str]
) -> "Origin":
    """The command with every default spelled out: defaults change, a run's record must not."""
    from fabpilot.training import Origin

    named = [_absolute(name) for name in (data, *extra)]
    asked: dict[str, object] = {"data": named[0], "wafers": wafers, "seed": options.seed}
    asked |= {"budget": f"{options.budget_s:g}s", "epochs": options.epochs}
    asked |= {"backbone": options.backbone, "size": options.size, "patience": options.patience}
    asked |= {"views": options.views, "init": _absolute(init) if init else None}
    words = ["fabpilot", "train", "wafer-map"]
    for name, value in asked.items():
        words += [] if value is None else [f"--{name}", str(value)]
    for name in named[1:]:
        words += ["--extra", name]
    words += ["--compile"] if options.compile else []
    command = f"FABPILOT_DEVICE={options.device} {shlex.join(words)}"
    return Origin(data=named[0], wafers=wafers, seed=options.seed, command=command)


def _absolute(name: str) -> str:
    """A file's whole path; other names, of models and scenarios, as they are."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def _skipped(count: int) -> str:
    return f"; {count} were no die grids and are left out" if count else ""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    train = typer.Typer(help="Train models.", no_args_is_help=True)
    train.command("wafer-map")(wafer_map)
    train.command("trace")(trace)
    train.callback()(lambda: None)
    app.add_typer(train, name="train")
