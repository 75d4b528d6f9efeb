"""`fabpilot models quantize`: the int8 form of a model file, judged beside it."""

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from contracts.errors import ModelError
from contracts.model_file import ModelCard
from fabpilot import __version__
from fabpilot.benchmarks.timing import BATCH, file_runner, golden_batch, interleaved, turn
from fabpilot.commands.options import JsonOption
from fabpilot.map_data import load_named_maps, part_of
from fabpilot.model_path import model_path
from fabpilot.output import report
from fabpilot.settings import Settings, load_settings
from models.data import MapSet
from models.evaluate import EvaluationReport
from models.quantize import (
    MOST_POINTS_LOST,
    Int8Loss,
    calibration_maps,
    judge_file,
    quantize,
    read_card,
    with_card,
)

__all__ = ["QuantizeReport", "register"]

_EXPERIMENT = "wafer-map"
_ROUNDS, _SECONDS = 5, 0.3


class QuantizeReport(msgspec.Struct, frozen=True):
    """What 8 bits gained and cost.

    Attributes:
        model: the float32 file it was made from.
        file: where the int8 file is, or '' if it was only judged or registered.
        registered: its version as `models:/NAME/VERSION`, or ''.
        sha256: of the int8 file.
        n: held-out maps both were judged on.
        macro_f1_fp32: of the float32 file.
        macro_f1_int8: of the int8 file.
        drop_points: what was lost, in points of a hundred.
        allowed: not more than 0.3 points.
        fp32_maps_per_s: all cores, batches of 128, both in one run.
        int8_maps_per_s: the same.
    """

    model: str
    file: str
    registered: str
    sha256: str
    n: int
    macro_f1_fp32: float
    macro_f1_int8: float
    drop_points: float
    allowed: bool
    fp32_maps_per_s: float
    int8_maps_per_s: float


def quantize_(
    model: Annotated[
        str, typer.Argument(help="A float32 ONNX file or models:/wafer-map@champion.")
    ],
    data: Annotated[
        str, typer.Option("--data", help="The maps it was trained on: a .npz, or sim:SCENARIO.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Write the int8 file here.")] = None,
    register_it: Annotated[
        bool,
        typer.Option(
            "--register",
            help="Register it as challenger if it loses at most 0.3 points of macro-F1.",
        ),
    ] = False,
    wafers: Annotated[
        int, typer.Option("--wafers", min=1, help="Number of maps, with sim:SCENARIO.")
    ] = 4_000,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the maps, with sim:SCENARIO.")
    ] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """Make the int8 form of a model, and report what it gains in speed and loses in macro-F1.

    Value ranges come from training maps, the figures from the held-out maps.

    For example:

      fabpilot models quantize models:/wafer-map@champion --data wm811k.npz --register
    """
    settings = load_settings()
    content = model_path(settings, model).read_bytes()
    maps = load_named_maps(data, wafers=wafers, seed=seed)
    learned, holdout = part_of(maps, "train"), part_of(maps, "holdout")
    card = read_card(content)
    int8 = quantize(content, calibration_maps(learned, card.canonical_size))
    before, after = judge_file(content, holdout), judge_file(int8, holdout)
    int8 = with_card(int8, msgspec.structs.replace(read_card(int8), metrics=after.metrics()))
    loss = Int8Loss.of(before, after)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(int8)
    if register_it and not loss.allowed:
        raise ModelError(
            f"int8 loses {loss.drop_points:.2f} points of macro-F1 ({before.macro_f1:.4f} to"
            f" {after.macro_f1:.4f}), at most {MOST_POINTS_LOST} may be lost: not registered;"
            " the float32 model serves on"
        )
    rates = _rates({"fp32": content, "int8": int8}, card)
    registered = _register(settings, model, int8, holdout, after, loss) if register_it else ""
    report(
        QuantizeReport(
            model=model,
            file=str(out or ""),
            registered=registered,
            sha256=hashlib.sha256(int8).hexdigest(),
            n=after.n,
            macro_f1_fp32=loss.macro_f1_fp32,
            macro_f1_int8=loss.macro_f1_int8,
            drop_points=loss.drop_points,
            allowed=loss.allowed,
            fp32_maps_per_s=rates["fp32"],
            int8_maps_per_s=rates["int8"],
        ),
        as_json=as_json,
        title="int8",
    )


def _rates(files: dict[str, bytes], card: ModelCard) -> dict[str, float]:
    batch = golden_batch(card, BATCH)
    turns = {name: turn(file_runner(file), batch, _SECONDS) for name, file in files.items()}
    return interleaved(turns, _ROUNDS).best


def _register(
    settings: Settings,
    model: str,
    int8: bytes,
    holdout: MapSet,
    judged: EvaluationReport,
    loss: Int8Loss,
) -> str:
    """Log and register the file; its version as a URI."""
    # mlflow takes seconds to import, and only this needs it.
    from models.registry import RunRecord, log_and_register

    card = read_card(int8)
    per_class = {f"f1_{name}": value for name, value in judged.per_class_f1.items()}
    lost = {"macro_f1_fp32": loss.macro_f1_fp32, "int8_drop_points": loss.drop_points}
    record = RunRecord(
        params={
            "backbone": card.architecture.split(",")[0],
            "size": card.canonical_size,
            "precision": "int8",
            "quantized_from": model,
            "data": holdout.source,
        },
        metrics={**judged.metrics(), **per_class, **lost},
        datasets={"holdout": (holdout.source, holdout.fingerprint(), len(holdout))},
        labels=judged.labels,
        confusion=judged.confusion,
        tags={
            "fabpilot.version": __version__,
            "fabpilot.command": " ".join(["fabpilot", *sys.argv[1:]]),
        },
    )
    with tempfile.TemporaryDirectory(prefix="fabpilot-int8-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(int8)
        version = log_and_register(settings.mlflow_uri, _EXPERIMENT, card.name, path, record)
    return f"models:/{version.name}/{version.version}"


def register(models: typer.Typer) -> None:
    """Add the command to `fabpilot models`."""
    models.command("quantize")(quantize_)
