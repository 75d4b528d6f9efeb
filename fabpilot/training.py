"""From maps to a registered model: split, train, judge, export, log, register."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from fabpilot import __version__
from fabpilot.map_data import HOLDOUT, part_of
from fabpilot.model_report import ModelReport, write_report
from fabpilot.wiring import MODEL_NAME
from models.checkpoint import CheckpointFile, run_key
from models.data import MapSet, concat
from models.evaluate import EvaluationReport, judge, predict_all
from models.export import build_card, export_model, reference_of
from models.mistakes import worst_mistakes
from models.notices import class_table, notice
from models.options import EpochMetrics, Progress, TrainOptions
from models.registry import RunRecord, fetch_run_file, log_and_register
from models.splits import split_blocks, without_duplicates
from models.train import Trained, predictor, train
from models.weights import WEIGHTS_FILE, Weights, load_weights, save_weights

__all__ = ["Origin", "TrainReport", "train_and_register"]

_log = structlog.get_logger(__name__)

_EXPERIMENT = "wafer-map"
# Share of the training lots on which temperature and thresholds are chosen.
_VALIDATION = 0.06
_VALIDATION_SEED = 1
_NONE = "None"
_RESAMPLES = 1000
_SHOWN_MISTAKES = 36
# Of the training part, for what drift is measured against.
_REFERENCE_MAPS = 4000


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the maps of a run can be had again, and how the run is made again.

    Attributes:
        data: what `--data` would be: an absolute path or `sim:SCENARIO`.
        wafers: with `sim:SCENARIO`, how many.
        seed: with `sim:SCENARIO`, of the fab.
        command: complete, with every default spelled out.
    """

    data: str
    wafers: int = 0
    seed: int = 0
    command: str


class TrainReport(msgspec.Struct, frozen=True):
    """What came of a training run.

    Attributes:
        model: where it is registered, as `models:/NAME/VERSION`.
        aliases: what it is called there now.
        n: held-out maps it was judged on; `accuracy` to `ece` are of those.
        intervals: 95 %, by resampling lots.
        resumed_at: epochs that a killed run of the same command had done before.
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
    intervals: dict[str, tuple[float, float]]
    exact_match: float | None
    epochs: int
    stopped_by: str
    seconds: float
    resumed_at: int = 0


def train_and_register(
    maps: MapSet,
    options: TrainOptions,
    *,
    origin: Origin,
    mlflow_uri: str,
    alias: str | None,
    out: Path | None = None,
    init: str | None = None,
    extra: Sequence[MapSet] = (),
    checkpoints: Path | None = None,
    fresh: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
) -> TrainReport | None:
    """Train on maps, judge on lots held out, register the model.

    Args:
        maps: all of them; some lots are held out and never trained on.
        options: how to train.
        origin: of `maps`, for whoever judges or trains again.
        mlflow_uri: of the registry.
        alias: whom it becomes; None: champion if there is none, else challenger.
        out: also put the model file here.
        init: whose weights to start from: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a
            weights file.
        extra: more maps to learn from, never judged on, such as synthetic ones; of the same kind
            (one label a map or several).
        checkpoints: folder for the checkpoint; a killed run of the same data and options goes on
            from there. None: no checkpoint.
        fresh: begin again all the same.
        on_progress: called after every step.
        on_epoch: called after every epoch.

    Returns:
        None in the processes of a `torchrun` team that are not the first.

    Raises:
        DatasetError: too few lots or classes.
        ModelFileError: `init` does not fit, or the exported file does not say what the network
            says.
        RegistryError: MLflow refuses.
    """
    began = time.perf_counter()
    parts = _split(maps, extra)
    weights = None if init is None else _weights(init, mlflow_uri)
    checkpoint = _checkpoint(checkpoints, options, parts, init, fresh=fresh)
    trained = train(
        parts.training,
        parts.validation,
        options,
        # What was made or confirmed on purpose says nothing about how often a pattern occurs.
        priors=_priors(parts.real),
        init=weights,
        checkpoint=checkpoint,
        on_progress=on_progress,
        on_epoch=on_epoch,
    )
    if not trained.leads:
        return None
    probabilities = predict_all(predictor(trained.net), parts.holdout, options.size)
    how = (trained.labels, trained.multi_label, trained.thresholds)
    judged = judge(probabilities, *how, parts.holdout, resamples=_RESAMPLES)
    card = build_card(
        trained.net,
        labels=trained.labels,
        thresholds=trained.thresholds,
        reference=reference_of(trained.net, _sample(parts.real).canonical(options.size)),
        size=options.size,
        examples=_examples(parts.holdout, options.size),
        data_fingerprint=parts.training.fingerprint(),
        metrics=judged.metrics(),
        code_version=__version__,
        name=MODEL_NAME,
    )
    with tempfile.TemporaryDirectory(prefix="fabpilot-model-") as folder:
        path, kept = Path(folder) / "model.onnx", Path(folder) / WEIGHTS_FILE
        export_model(trained.net, card, path)
        save_weights(trained.net, trained.labels, kept)
        pages = write_report(
            ModelReport(
                title=f"{MODEL_NAME}: {options.backbone}",
                facts={"command": origin.command, "data": maps.source, "seed": str(options.seed)},
                judged=judged,
                mistakes=worst_mistakes(probabilities, *how, parts.holdout, _SHOWN_MISTAKES),
                robustness={},
                latency_ms={},
                classes=class_table(parts.by_role()),
                notice=notice(parts.training.source),
            ),
            Path(folder) / "report",
        )
        record = _record(parts, trained, judged, origin, init, extra, (kept, *pages))
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out)
        version = log_and_register(mlflow_uri, _EXPERIMENT, MODEL_NAME, path, record, alias=alias)
    if checkpoint is not None:
        # Not before: were the registry away, the same command would have to train again.
        checkpoint.clear()
    return TrainReport(
        model=f"models:/{version.name}/{version.version}",
        aliases=version.aliases,
        sha256=version.sha256,
        run_id=version.run_id,
        train_maps=len(parts.training),
        validation_maps=len(parts.validation),
        n=judged.n,
        accuracy=judged.accuracy,
        macro_f1=judged.macro_f1,
        per_class_f1=judged.per_class_f1,
        ece=judged.ece,
        intervals=dict(judged.intervals),
        exact_match=judged.exact_match,
        epochs=len(trained.history),
        stopped_by=trained.stopped_by,
        seconds=time.perf_counter() - began,
        resumed_at=trained.resumed_at,
    )


@dataclass(frozen=True)
class _Parts:
    """A set cut for a run; all parts have the same classes.

    Attributes:
        real: the training part without what was added from other sets.
    """

    training: MapSet
    real: MapSet
    validation: MapSet
    holdout: MapSet

    def by_role(self) -> dict[str, MapSet]:
        """Each part by what it is for."""
        return {"training": self.training, "validation": self.validation, "holdout": self.holdout}


def _split(maps: MapSet, extra: Sequence[MapSet]) -> _Parts:
    learning, holdout = part_of(maps, "train"), part_of(maps, "holdout")
    real, validation = split_blocks(learning, holdout=_VALIDATION, seed=_VALIDATION_SEED)
    training = real
    for more in extra:
        unseen = without_duplicates(without_duplicates(more, holdout), validation)
        training = concat(training, unseen, f"{training.source} + {more.source}")
    others = (_relabelled(part, training) for part in (real, validation, holdout))
    return _Parts(training, *others)


def _checkpoint(
    folder: Path | None, options: TrainOptions, parts: _Parts, init: str | None, *, fresh: bool
) -> CheckpointFile | None:
    """The file of this very run: same data, same options, same code."""
    if folder is None:
        return None
    prints = (parts.training.fingerprint(), parts.validation.fingerprint())
    checkpoint = CheckpointFile(folder, run_key(options.params(), *prints, init, __version__))
    if fresh:
        checkpoint.clear()
    elif checkpoint.path.exists():
        _log.info("going on where this command was ended", checkpoint=str(checkpoint.path))
    return checkpoint


def _record(
    parts: _Parts,
    trained: Trained,
    judged: EvaluationReport,
    origin: Origin,
    init: str | None,
    extra: Sequence[MapSet],
    files: Sequence[Path],
) -> RunRecord:
    """What the run leaves for people to compare."""
    return RunRecord(
        params={
            **trained.options.params(),
            "data": parts.real.source,
            "data_argument": origin.data,
            "wafers": origin.wafers,
            "data_seed": origin.seed,
            "init": init or "",
            "extra": ", ".join(more.source for more in extra),
            "holdout_share": HOLDOUT,
            "precision_used": trained.precision,
            "device_used": trained.device,
        },
        epochs=[(epoch.epoch, epoch.metrics()) for epoch in trained.history],
        metrics={**judged.metrics(), **_per_class(judged), **_ends(judged)},
        datasets={
            role: (part.source, part.fingerprint(), len(part))
            for role, part in parts.by_role().items()
        },
        tags={"fabpilot.version": __version__, "fabpilot.command": origin.command},
        files=files,
    )


def _priors(maps: MapSet) -> dict[str, int]:
    """How often each class is taken to occur where the model will serve, in the order of classes.

    As in `maps`, without those that people chose. A pattern that they alone show is taken to be as
    frequent as the rarest of the others: it was labelled because it turned up, and were it taken to
    be as rare as its few labels, the model would hardly dare to name it; taken to be more frequent,
    the known pattern most like it pays (docs/models.md).
    """
    if maps.chosen is None:
        return maps.class_counts()
    counts = maps.subset(np.flatnonzero(~maps.chosen)).class_counts()
    rarest = min((n for name, n in counts.items() if n and name != _NONE), default=1)
    shown = maps.class_counts()
    return {name: count or min(shown[name], 1) * rarest for name, count in counts.items()}


def _relabelled(part: MapSet, training: MapSet) -> MapSet:
    """`part` with the classes of `training`, which come first in the same order."""
    if part.multi_label:
        missing = len(training.label_names) - len(part.label_names)
        labels = np.pad(part.labels, ((0, 0), (0, missing)))
        return replace(part, labels=labels, label_names=training.label_names)
    return replace(part, label_names=training.label_names)


def _weights(init: str, mlflow_uri: str) -> Weights:
    if not init.startswith("models:/"):
        return load_weights(Path(init))
    with tempfile.TemporaryDirectory(prefix="fabpilot-weights-") as folder:
        return load_weights(fetch_run_file(mlflow_uri, init, WEIGHTS_FILE, Path(folder)))


def _examples(maps: MapSet, size: int) -> npt.NDArray[np.uint8]:
    """(N, S, S): a few maps of every class that occurs, for the golden batch."""
    shown = maps.one_hot().argmax(axis=1)
    rows = [np.flatnonzero(shown == number)[:2] for number in np.unique(shown)]
    return maps.subset(np.concatenate(rows)).canonical(size)


def _sample(maps: MapSet) -> MapSet:
    """As many as a mean needs, evenly spread over the lots."""
    rows = np.unique(np.linspace(0, len(maps) - 1, _REFERENCE_MAPS).astype(np.int64))
    return maps.subset(rows)


def _per_class(judged: EvaluationReport) -> dict[str, float]:
    return {f"f1_{name}": value for name, value in judged.per_class_f1.items()}


def _ends(judged: EvaluationReport) -> dict[str, float]:
    """Both ends of every interval."""
    return {
        f"{name}_{side}": value
        for name, ends in judged.intervals.items()
        for side, value in zip(("low", "high"), ends, strict=True)
    }
