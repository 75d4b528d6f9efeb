"""Which model serves: an alias resolved once, checked, and swapped between batches.

A broken or missing new model never replaces one that works: it is reported and the old one serves
on. `current()` is one attribute read, so a batch in flight keeps the model it began with.
"""

import threading
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from contracts.clock import Clock, SystemClock
from contracts.errors import FabpilotError, ModelError, RegistryError
from serving.device import Device
from serving.session import Session, open_session

__all__ = ["FileSource", "Loaded", "ModelRef", "ModelRepository", "ModelSource", "RepositoryStatus"]

_log = structlog.get_logger(__name__)


class ModelRef(msgspec.Struct, frozen=True):
    """One version of a model.

    Attributes:
        sha256: of its file; None where the source does not know before reading it.
    """

    name: str
    version: str
    sha256: str | None


class ModelSource(Protocol):
    """Where models come from."""

    def resolve(self) -> ModelRef:
        """The version that shall serve now.

        Raises:
            RegistryError: there is none, or the registry does not answer.
        """
        ...

    def fetch(self, ref: ModelRef) -> Path:
        """The version's file on this machine.

        Raises:
            RegistryError: it cannot be had.
        """
        ...


class FileSource:
    """A model file on disk, for development and tests. Its version is its modification time."""

    def __init__(self, path: Path, name: str = "wafer-map") -> None:
        self._path = path
        self._name = name

    def resolve(self) -> ModelRef:
        """The file as it is now."""
        try:
            modified = self._path.stat().st_mtime_ns
        except OSError as error:
            raise RegistryError(f"no model file {self._path}: {error.strerror}") from error
        return ModelRef(self._name, f"file-{modified}", None)

    def fetch(self, ref: ModelRef) -> Path:
        """The file itself."""
        return self._path


class Loaded(msgspec.Struct, frozen=True):
    """A model that serves."""

    ref: ModelRef
    session: Session


class RepositoryStatus(msgspec.Struct, frozen=True):
    """What the repository says of itself.

    Attributes:
        refused: the version that was refused last, or ''.
        error: why, or ''.
        checked_ms: when the alias was last resolved, machine clock; 0 if never.
    """

    refused: str
    error: str
    checked_ms: int


class ModelRepository:
    """Holds the serving model of one alias.

    Args:
        source: where versions come from.
        device: where they shall run.
        threads: per run on the CPU; 0 takes all cores.
    """

    def __init__(
        self,
        source: ModelSource,
        device: Device,
        *,
        threads: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._source = source
        self._device = device
        self._threads = threads
        self._clock = clock or SystemClock()
        self._loaded: Loaded | None = None
        self._status = RepositoryStatus("", "", 0)
        self._refreshing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def current(self) -> Loaded:
        """The model that serves now.

        Raises:
            ModelError: none was loaded yet; call `refresh` first.
        """
        if self._loaded is None:
            raise ModelError(self._status.error or "no model is loaded yet")
        return self._loaded

    @property
    def status(self) -> RepositoryStatus:
        """What happened at the last refresh."""
        return self._status

    def refresh(self) -> bool:
        """Resolve the alias and load the version if it is a new one.

        Returns:
            True if another model serves from now on.

        Raises:
            ModelError: nothing serves and nothing could be loaded. With a model serving, errors
                are kept in `status` and logged instead.
        """
        with self._refreshing:
            version = ""
            try:
                ref = self._source.resolve()
                version = ref.version
                if self._loaded is not None and ref == self._loaded.ref:
                    self._status = RepositoryStatus("", "", self._clock.now_ms())
                    return False
                session = open_session(
                    self._source.fetch(ref),
                    self._device,
                    threads=self._threads,
                    sha256=ref.sha256,
                )
            except FabpilotError as error:
                self._refuse(version, error)
                if self._loaded is None:
                    raise
                return False
            self._loaded = Loaded(ref, session)
            self._status = RepositoryStatus("", "", self._clock.now_ms())
            _log.info(
                "model serves",
                name=ref.name,
                version=ref.version,
                sha256=session.sha256[:12],
                provider=session.provider,
            )
            return True

    def _refuse(self, version: str, error: FabpilotError) -> None:
        # A registry that stays broken is asked every few seconds: say each reason once.
        if (version, str(error)) != (self._status.refused, self._status.error):
            serving = self._loaded.ref.version if self._loaded else None
            _log.error("model refused", version=version, error=str(error), still_serving=serving)
        self._status = RepositoryStatus(version, str(error), self._clock.now_ms())

    def follow(self, interval_s: float) -> None:
        """Refresh every `interval_s` seconds in the background until `close`."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._follow, args=(interval_s,), name="model-repository", daemon=True
            )
            self._thread.start()

    def _follow(self, interval_s: float) -> None:
        while not self._stop.wait(interval_s):
            try:
                self.refresh()
            except ModelError:
                # Already logged and in `status`; the next round may find the registry well.
                continue

    def close(self) -> None:
        """Stop following. May be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
