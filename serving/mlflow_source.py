"""Models from an MLflow registry: an alias names the version, its tags name file and digest."""

import hashlib
import os
import re
import tempfile
from pathlib import Path, PurePosixPath

# Before mlflow is imported.
# A registry in trouble is asked again at the next refresh; do not hang in one request.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
# Model files have a few megabytes: no bars among a server's log lines.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import RegistryError
from contracts.model_file import TAG_ACCEPTED, TAG_FILE, TAG_SHA256
from contracts.model_uri import parse_model_uri
from serving.repository import ModelRef

__all__ = ["MlflowSource"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


class MlflowSource:
    """Versions of one registered model.

    Args:
        tracking_uri: of MLflow, such as `sqlite:///.fabpilot/mlflow.db` or `http://mlflow:5000`.
        uri: `models:/name@alias` or `models:/name/version`.
        cache: folder for downloaded files, one folder a digest.
    """

    def __init__(self, tracking_uri: str, uri: str, cache: Path) -> None:
        self._tracking_uri = tracking_uri
        self._name, self._selector = parse_model_uri(uri)
        self._cache = cache
        self._client: MlflowClient | None = None

    def _connected(self) -> MlflowClient:
        if self._client is None:
            self._client = MlflowClient(self._tracking_uri, self._tracking_uri)
        return self._client

    def resolve(self) -> ModelRef:
        """The version the alias names now."""
        try:
            client = self._connected()
            if self._selector.isdigit():
                version = client.get_model_version(self._name, self._selector)
            else:
                version = client.get_model_version_by_alias(self._name, self._selector)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise RegistryError(
                f"MLflow at {_shown(self._tracking_uri)} gives no model"
                f" {self._name}@{self._selector}: {_short(error)};"
                " train one with 'fabpilot train', see 'fabpilot models list'"
            ) from error
        sha256 = version.tags.get(TAG_SHA256, "")
        if not _SHA256.fullmatch(sha256):
            raise RegistryError(
                f"version {version.version} of {self._name} has no {TAG_SHA256} tag:"
                " it was not registered by fabpilot"
            )
        accepted = version.tags.get(TAG_ACCEPTED, "")
        return ModelRef(self._name, str(version.version), sha256, accepted)

    def fetch(self, ref: ModelRef) -> Path:
        """The version's file, downloaded once per digest."""
        # The digest is hexadecimal (checked in resolve), so it is safe as a folder name.
        kept = self._cache / str(ref.sha256) / "model.onnx"
        try:
            if _has_digest(kept, str(ref.sha256)):
                return kept
            client = self._connected()
            version = client.get_model_version(ref.name, ref.version)
            file = version.tags.get(TAG_FILE, "")
            _check_relative(file)
            source = client.get_model_version_download_uri(ref.name, ref.version)
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Several processors share the cache: downloaded aside and renamed, it is always whole.
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self._cache) as aside:
                found = download_artifacts(
                    artifact_uri=f"{source.rstrip('/')}/{file}",
                    dst_path=aside,
                    tracking_uri=self._tracking_uri,
                )
                Path(found).replace(kept)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise RegistryError(
                f"cannot fetch version {ref.version} of {ref.name}: {_short(error)}"
            ) from error
        return kept


def _has_digest(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _check_relative(file: str) -> None:
    """The tag comes from the registry: it must not lead out of the version's folder."""
    path = PurePosixPath(file)
    if not file or path.is_absolute() or ".." in path.parts or "://" in file or "\\" in file:
        raise RegistryError(f"the {TAG_FILE} tag {file!r} is not a plain relative path")


def _shown(uri: str) -> str:
    """The URI without credentials."""
    return re.sub(r"//[^/@]*@", "//…@", uri)


def _short(error: Exception) -> str:
    return _shown(str(error).splitlines()[0][:300]) if str(error) else type(error).__name__
