"""From traces to a registered model: train, judge on folds, export, log, register."""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from contracts.trace_model import REGISTERED_NAMES, Task
from fabpilot import __version__
from models.registry import RunRecord, log_and_register
from models.traces.data import TraceSet
from models.traces.task import TraceReport
from models.traces.tasks import task_named

__all__ = ["TraceTrainReport", "train_and_register_traces"]


class TraceTrainReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a training run.

    Attributes:
        model: where it is registered, as `models:/NAME/VERSION`.
        aliases: what it is called there now.
        folds: how good it is on runs of its own part that it had not seen.
        seconds: in all, from loaded traces to the registered version.
    """

    model: str
    aliases: tuple[str, ...]
    sha256: str
    run_id: str
    runs: int
    folds: TraceReport
    seconds: float


def train_and_register_traces(
    traces: TraceSet,
    task: Task,
    *,
    command: str,
    mlflow_uri: str,
    alias: str | None,
    out: Path | None,
    seed: int,
    on_progress: Callable[[float], None],
) -> TraceTrainReport:
    """Train on traces and register the model under the task's name.

    Args:
        traces: the part to learn from.
        task: what to learn.
        command: that makes the run again, for its record.
        mlflow_uri: of the registry.
        alias: whom it becomes; None: champion if there is none, else challenger.
        out: also put the model file here.
        seed: of whatever is drawn.
        on_progress: called with the share that is done.

    Raises:
        DatasetError: the set does not have what the task needs.
        ModelFileError: the exported file does not say what the model says.
        RegistryError: MLflow refuses.
    """
    began = time.perf_counter()
    trained = task_named(task).train(
        traces, seed=seed, code_version=__version__, on_progress=on_progress
    )
    record = RunRecord(
        params={
            **trained.params,
            "task": task,
            "data": traces.name,
            "part": traces.part,
            "architecture": trained.card.architecture,
            "seed": seed,
        },
        metrics=trained.report.metrics(),
        datasets={"training": (traces.name, traces.fingerprint(), len(traces))},
        tags={"fabpilot.version": __version__, "fabpilot.command": command},
    )
    with tempfile.TemporaryDirectory(prefix="fabpilot-model-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(trained.content)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out)
        name = REGISTERED_NAMES[task]
        version = log_and_register(mlflow_uri, name, name, path, record, alias=alias)
    return TraceTrainReport(
        model=f"models:/{version.name}/{version.version}",
        aliases=version.aliases,
        sha256=version.sha256,
        run_id=version.run_id,
        runs=len(traces),
        folds=trained.report,
        seconds=time.perf_counter() - began,
    )
