"""Models in MLflow: runs a data scientist can compare, versions a server can fetch.

How a version is laid out, for whoever serves it (mlflow-skinny is enough):

- the tag `fabpilot.file` names the ONNX file inside the version's `source` folder,
- the tag `fabpilot.sha256` is the SHA-256 (hex) of its bytes, which are those `export` wrote,
- so the file is `mlflow.artifacts.download_artifacts(f"{source}/{file}")`.

Beside it lies an `MLmodel` file, so that `mlflow.onnx.load_model` and the web page know it too.
Aliases say who serves: 'champion' does, 'challenger' may, 'previous' did.

A store is `sqlite:///path/to/mlflow.db` (artifacts go to `artifacts` beside the file) or the
address of an MLflow server. Nothing here touches MLflow's global state.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import ConflictError, RegistryError
from contracts.model_file import TAG_ACCEPTED, TAG_FILE, TAG_SHA256
from contracts.model_uri import parse_model_uri

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "TAG_PROMOTION",
    "TAG_ROLLBACK",
    "ModelVersion",
    "RunRecord",
    "fetch_run_file",
    "find_version",
    "list_versions",
    "log_and_register",
    "promote",
    "rollback",
    "set_alias",
    "set_tags",
]

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
# What was decided about a version last; each with '.by', '.at' and '.reason' and more behind it.
TAG_PROMOTION, TAG_ROLLBACK = "fabpilot.promotion", "fabpilot.rollback"
_MODEL_FILE = "model.onnx"
# A server that is down is reported in seconds, not after MLflow's own four minutes of retries.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


@dataclass(frozen=True)
class RunRecord:
    """What a training run leaves for people to compare.

    Attributes:
        params: options and facts, name to value.
        epochs: per epoch, (step, metrics).
        metrics: of the finished model on the held-out part.
        datasets: role ('training', 'validation', 'holdout') to (source, fingerprint, maps).
        labels: rows and columns of `confusion`.
        confusion: counts by true (rows) and predicted class, or empty for no picture.
        tags: anything else, such as the command that reproduces the run.
        files: kept with the run under their own names, such as its weights.
    """

    params: Mapping[str, Any]
    epochs: Sequence[tuple[int, Mapping[str, float]]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: Mapping[str, tuple[str, str, int]] = field(default_factory=dict)
    labels: Sequence[str] = ()
    confusion: Sequence[Sequence[int]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class ModelVersion:
    """A registered version.

    Attributes:
        name: of the registered model.
        version: counts from 1.
        aliases: who it is now, sorted.
        sha256: of the ONNX file.
        source: folder that holds `file`, as an MLflow artifact address.
        file: the ONNX file in `source`.
        run_id: the run it came from.
        created_ms: milliseconds since the epoch, UTC.
        metrics: of the run.
        params: of the run, as text.
        holdout: first 36 characters of the fingerprint of the part the run was judged on, or ''.
        tags: of the version, among them what was decided about it.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    sha256: str
    source: str
    file: str
    run_id: str
    created_ms: int
    metrics: dict[str, float]
    params: dict[str, str] = field(default_factory=dict)
    holdout: str = ""
    tags: dict[str, str] = field(default_factory=dict)


def log_and_register(
    uri: str,
    experiment: str,
    name: str,
    onnx_path: Path,
    record: RunRecord,
    *,
    alias: str | None = None,
) -> ModelVersion:
    """Log a finished run and register its file.

    Args:
        uri: of the store.
        experiment: made if it is missing.
        name: of the registered model; made if it is missing.
        onnx_path: the file from `export_model`; stored byte for byte.
        record: what to log.
        alias: whom the version becomes. By default 'champion' if there is none yet, otherwise
            'challenger'.

    Raises:
        RegistryError: the store does not answer or refuses; a run that was begun is marked failed.
    """
    with _errors(uri):
        client = _client(uri)
        run = client.create_run(_experiment(client, uri, experiment))
        run_id: str = run.info.run_id
        try:
            _log(client, run_id, record)
            digest = hashlib.sha256(onnx_path.read_bytes()).hexdigest()
            with tempfile.TemporaryDirectory() as folder:
                _write_model_folder(Path(folder) / "model", onnx_path, run_id)
                client.log_artifacts(run_id, folder)
            version = _register(client, name, f"{run.info.artifact_uri}/model", run_id, digest)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id)
        if alias is None:
            alias = CHALLENGER if CHAMPION in _aliases(client, name) else CHAMPION
        client.set_registered_model_alias(name, alias, str(version))
        return _version(client, name, version)


def list_versions(uri: str, name: str) -> list[ModelVersion]:
    """All versions, newest first; none if there is no such model yet.

    Raises:
        RegistryError: the store does not answer.
    """
    with _errors(uri):
        client = _client(uri)
        found = client.search_model_versions(f"name='{name}'")
        return [
            _version(client, name, number)
            for number in sorted((int(version.version) for version in found), reverse=True)
        ]


def set_alias(uri: str, name: str, alias: str, version: int) -> ModelVersion:
    """Point an alias at a version.

    Raises:
        RegistryError: no such version, or the store does not answer.
    """
    with _errors(uri):
        client = _client(uri)
        client.get_model_version(name, str(version))
        client.set_registered_model_alias(name, alias, str(version))
        return _version(client, name, version)


def find_version(uri: str, name: str, alias: str) -> ModelVersion | None:
    """The version an alias names; None if it names none, or there is no such model.

    Raises:
        RegistryError: the store does not answer.
    """
    with _errors(uri):
        client = _client(uri)
        if not client.search_registered_models(f"name='{name}'"):
            return None
        number = _aliases(client, name).get(alias)
        return None if number is None else _version(client, name, number)


def set_tags(uri: str, name: str, version: int, tags: Mapping[str, str]) -> None:
    """Write tags on a version.

    Raises:
        RegistryError: no such version, or the store does not answer.
    """
    with _errors(uri):
        client = _client(uri)
        for key, value in tags.items():
            client.set_model_version_tag(name, str(version), key, value)


def promote(uri: str, name: str, *, challenger: int, champion: int | None) -> ModelVersion:
    """Make the challenger champion; the champion becomes 'previous'.

    The champion moves last, so that a server never finds none.

    Args:
        uri: of the store.
        name: of the registered model.
        challenger: the version that was judged.
        champion: the version it was compared with; None if there was none.

    Raises:
        ConflictError: the aliases name other versions by now.
        RegistryError: the store does not answer.
    """
    with _errors(uri):
        client = _client(uri)
        aliases = _aliases(client, name)
        if (aliases.get(CHALLENGER), aliases.get(CHAMPION)) != (challenger, champion):
            raise ConflictError(
                f"while version {challenger} of {name} was judged, somebody moved an alias:"
                f" challenger is {aliases.get(CHALLENGER)}, champion {aliases.get(CHAMPION)};"
                " promote again"
            )
        if champion is not None and champion != challenger:
            client.set_registered_model_alias(name, PREVIOUS, str(champion))
        client.set_registered_model_alias(name, CHAMPION, str(challenger))
        client.delete_registered_model_alias(name, CHALLENGER)
        return _version(client, name, challenger)


def rollback(uri: str, name: str, *, why: str) -> ModelVersion:
    """Make the previous champion champion again; the two change places.

    Args:
        uri: of the store.
        name: of the registered model.
        why: noted on the version. It may know fewer patterns than the one it replaces, and
            servers take such a version only with a note.

    Raises:
        RegistryError: there is no previous champion, or the store does not answer.
    """
    with _errors(uri):
        client = _client(uri)
        aliases = _aliases(client, name)
        if PREVIOUS not in aliases:
            raise RegistryError(f"{name} has no previous champion to go back to")
        back = str(aliases[PREVIOUS])
        client.set_model_version_tag(name, back, TAG_ACCEPTED, why)
        client.set_registered_model_alias(name, CHAMPION, back)
        if CHAMPION in aliases:
            client.set_registered_model_alias(name, PREVIOUS, str(aliases[CHAMPION]))
        return _version(client, name, aliases[PREVIOUS])


def fetch_run_file(uri: str, model: str, file: str, folder: Path) -> Path:
    """A file that the run of a registered version kept (`RunRecord.files`).

    Args:
        uri: of the store.
        model: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        file: its name.
        folder: where to put it.

    Raises:
        RegistryError: no such version or file, or the store does not answer.
    """
    name, selector = parse_model_uri(model)
    with _errors(uri):
        client = _client(uri)
        found = (
            client.get_model_version(name, selector)
            if selector.isdigit()
            else client.get_model_version_by_alias(name, selector)
        )
        if not found.run_id or file not in {f.path for f in client.list_artifacts(found.run_id)}:
            raise RegistryError(
                f"version {found.version} of {name} has no {file}: it was registered by an older"
                " fabpilot; train it again"
            )
        return Path(client.download_artifacts(found.run_id, file, str(folder)))


@contextmanager
def _errors(uri: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RegistryError(f"the registry {uri} refused or did not answer: {reason}") from error


def _client(uri: str) -> MlflowClient:
    folder = _sqlite_folder(uri)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _sqlite_folder(uri: str) -> Path | None:
    if not uri.startswith("sqlite:///"):
        if "://" not in uri or uri.startswith("file:"):
            raise RegistryError(
                f"{uri!r} is not a store: use sqlite:///PATH or http://HOST:PORT"
                " (MLflow no longer supports plain folders)"
            )
        return None
    return Path(uri.removeprefix("sqlite:///")).resolve().parent


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The experiment's id; a new one keeps its artifacts beside the SQLite file."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    folder = _sqlite_folder(uri)
    location = None if folder is None else (folder / "artifacts" / name).as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _log(client: MlflowClient, run_id: str, record: RunRecord) -> None:
    now_ms = time.time_ns() // 1_000_000
    last = record.epochs[-1][0] if record.epochs else 0
    points = [*record.epochs, (last, record.metrics)]
    client.log_batch(
        run_id,
        metrics=[
            Metric(key, value, now_ms, step)
            for step, metrics in points
            for key, value in metrics.items()
        ],
        params=[Param(key, str(value)) for key, value in record.params.items()],
        tags=[RunTag(key, value) for key, value in record.tags.items()],
    )
    client.log_inputs(
        run_id,
        [
            DatasetInput(
                # MLflow keeps 36 characters of a digest; the whole one is in the profile.
                Dataset(
                    name=role,
                    digest=fingerprint[:36],
                    source_type="local",
                    source=json.dumps({"uri": source}),
                    profile=f'{{"maps": {maps}, "sha256": "{fingerprint}"}}',
                ),
                tags=[InputTag("mlflow.data.context", role)],
            )
            for role, (source, fingerprint, maps) in record.datasets.items()
        ],
    )
    for path in record.files:
        client.log_artifact(run_id, str(path))
    if record.confusion:
        # Here, because who only reads the registry need not have matplotlib.
        from models.figures import confusion_figure

        figure = confusion_figure(record.labels, record.confusion)
        client.log_figure(run_id, figure, "confusion_matrix.png")


def _write_model_folder(folder: Path, onnx_path: Path, run_id: str) -> None:
    """The ONNX file as it is, and an MLmodel file that tells MLflow how to load it."""
    folder.mkdir()
    shutil.copyfile(onnx_path, folder / _MODEL_FILE)
    model = Model(artifact_path="model", run_id=run_id)
    providers = ["CPUExecutionProvider"]
    model.add_flavor("onnx", data=_MODEL_FILE, providers=providers, onnx_version="1", code=None)
    model.add_flavor("python_function", loader_module="mlflow.onnx", data=_MODEL_FILE)
    model.save(str(folder / "MLmodel"))


def _register(client: MlflowClient, name: str, source: str, run_id: str, digest: str) -> int:
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(
        name, source, run_id, tags={TAG_FILE: _MODEL_FILE, TAG_SHA256: digest}
    )
    return int(version.version)


def _aliases(client: MlflowClient, name: str) -> dict[str, int]:
    aliases = client.get_registered_model(name).aliases
    return {alias: int(version) for alias, version in aliases.items()}


def _version(client: MlflowClient, name: str, number: int) -> ModelVersion:
    version = client.get_model_version(name, str(number))
    run = client.get_run(version.run_id) if version.run_id else None
    datasets = run.inputs.dataset_inputs if run and run.inputs else []
    return ModelVersion(
        name=name,
        version=number,
        aliases=tuple(sorted(a for a, v in _aliases(client, name).items() if v == number)),
        sha256=version.tags.get(TAG_SHA256, ""),
        source=version.source or "",
        file=version.tags.get(TAG_FILE, _MODEL_FILE),
        run_id=version.run_id or "",
        created_ms=int(version.creation_timestamp),
        metrics=dict(run.data.metrics) if run else {},
        params=dict(run.data.params) if run else {},
        holdout=next((d.dataset.digest for d in datasets if d.dataset.name == "holdout"), ""),
        tags=dict(version.tags),
    )
