"""From maps to a registered model: split, train, judge, export, log, register."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from fabpilot import __version__
from fabpilot.map_data import HOLDOUT, part_of
from fabpilot.wiring import MODEL_NAME
from models.data import MapSet
from models.evaluate import EvaluationReport, evaluate
from models.export import build_card, export_model
from models.options import EpochMetrics, Progress, TrainOptions
from models.registry import RunRecord, log_and_register
from models.splits import split_blocks
from models.train import predictor, train

__all__ = ["TrainReport", "train_and_register"]

_EXPERIMENT = "wafer-map"
# Share of the training lots on which temperature and thresholds are chosen.
_VALIDATION = 0.06
_VALIDATION_SEED = 1


class TrainReport(msgspec.Struct, frozen=True):
    """What came of a training run.

    Attributes:
        model: where it is registered, as `models:/NAME/VERSION`.
        aliases: what it is called there now.
        n: held-out maps it was judged on; `accuracy` to `ece` are of those.
        seconds: in all, from loaded maps to the registered version.
    """

    model: str
    aliases: tuple[str, ...]
    sha256: str
    run_id: str
    train_maps: int
    validation_maps: int
    n: int
    accuracy: float
    macro_f1: float
    per_class_f1: dict[str, float]
    ece: float
    exact_match: float | None
    epochs: int
    stopped_by: str
    seconds: float


def train_and_register(
    maps: MapSet,
    options: TrainOptions,
    *,
    mlflow_uri: str,
    alias: str | None,
    out: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
) -> TrainReport:
    """Train on maps, judge on lots held out, register the model.

    Args:
        maps: all of them; some lots are held out and never trained on.
        options: how to train.
        mlflow_uri: of the registry.
        alias: whom it becomes; None: champion if there is none, else challenger.
        out: also put the model file here.
        on_progress: called after every step.
        on_epoch: called after every epoch.

    Raises:
        DatasetError: too few lots or classes.
        ModelFileError: the exported file does not say what the network says.
        RegistryError: MLflow refuses.
    """
    began = time.perf_counter()
    learning, holdout = part_of(maps, "train"), part_of(maps, "holdout")
    training, validation = split_blocks(learning, holdout=_VALIDATION, seed=_VALIDATION_SEED)
    trained = train(training, validation, options, on_progress=on_progress, on_epoch=on_epoch)
    judged = evaluate(
        predictor(trained.net),
        trained.labels,
        trained.multi_label,
        trained.thresholds,
        holdout,
        options.size,
    )
    fingerprint = training.fingerprint()
    card = build_card(
        trained.net,
        labels=trained.labels,
        thresholds=trained.thresholds,
        size=options.size,
        examples=_examples(holdout, options.size),
        data_fingerprint=fingerprint,
        metrics=judged.metrics(),
        code_version=__version__,
        name=MODEL_NAME,
    )
    with tempfile.TemporaryDirectory(prefix="fabpilot-model-") as folder:
        path = Path(folder) / "model.onnx"
        export_model(trained.net, card, path)
        record = RunRecord(
            params={
                **options.params(),
                "data": maps.source,
                "holdout_share": HOLDOUT,
                "precision_used": trained.precision,
                "device_used": trained.device,
            },
            epochs=[(epoch.epoch, epoch.metrics()) for epoch in trained.history],
            metrics={**judged.metrics(), **_per_class(judged)},
            datasets={
                "training": (maps.source, fingerprint, len(training)),
                "validation": (maps.source, validation.fingerprint(), len(validation)),
                "holdout": (maps.source, holdout.fingerprint(), len(holdout)),
            },
            labels=judged.labels,
            confusion=judged.confusion,
            tags={"fabpilot.version": __version__, "fabpilot.command": _command()},
        )
        version = log_and_register(mlflow_uri, _EXPERIMENT, MODEL_NAME, path, record, alias=alias)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out)
    return TrainReport(
        model=f"models:/{version.name}/{version.version}",
        aliases=version.aliases,
        sha256=version.sha256,
        run_id=version.run_id,
        train_maps=len(training),
        validation_maps=len(validation),
        n=judged.n,
        accuracy=judged.accuracy,
        macro_f1=judged.macro_f1,
        per_class_f1=judged.per_class_f1,
        ece=judged.ece,
        exact_match=judged.exact_match,
        epochs=len(trained.history),
        stopped_by=trained.stopped_by,
        seconds=time.perf_counter() - began,
    )


def _examples(maps: MapSet, size: int) -> npt.NDArray[np.uint8]:
    """(N, S, S): a few maps of every class that occurs, for the golden batch."""
    shown = maps.one_hot().argmax(axis=1)
    rows = [np.flatnonzero(shown == number)[:2] for number in np.unique(shown)]
    return maps.subset(np.concatenate(rows)).canonical(size)


def _per_class(judged: EvaluationReport) -> dict[str, float]:
    return {f"f1_{name}": value for name, value in judged.per_class_f1.items()}


def _command() -> str:
    """The command that makes this model again, without this machine's paths to the program."""
    return " ".join(["fabpilot", *sys.argv[1:]])
