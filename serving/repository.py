"""Which model serves: an alias resolved once, checked, and swapped between batches.

A broken or missing new model never replaces one that works: it is reported and the old one serves
on, over a restart as well if it is remembered (`LastGood`). `current()` is one attribute read, so a
batch in flight keeps the model it began with. What a model is of, wafer maps or traces, is the
business of who opens its file.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from contracts.clock import Clock, SystemClock
from contracts.errors import FabpilotError, ModelError, ModelFileError, RegistryError
from contracts.model_file import missing_patterns
from serving.device import Device

__all__ = [
    "FileSource",
    "LastGood",
    "Loaded",
    "ModelRef",
    "ModelRepository",
    "ModelSource",
    "Opener",
    "RepositoryStatus",
    "Served",
]

_log = structlog.get_logger(__name__)


class Served(Protocol):
    """A model file that was opened and checked.

    Attributes:
        sha256: digest of the file.
        provider: the ONNX Runtime provider that really runs it.
    """

    sha256: str
    provider: str

    @property
    def answers(self) -> tuple[str, ...]:
        """What it can say, such as the patterns it names; a later version must say as much."""
        ...


S = TypeVar("S", bound=Served)
S_co = TypeVar("S_co", bound=Served, covariant=True)


class Opener(Protocol[S_co]):
    """Opens one kind of model file, such as `serving.session.open_session`."""

    def __call__(
        self, path: Path, device: Device, *, threads: int = 0, sha256: str | None = None
    ) -> S_co:
        """Load a file and check it.

        Raises:
            ModelFileError: it is damaged, of another kind, or not the one of this digest.
            DeviceError: the device asked for is not the one we would get.
        """
        ...


class ModelRef(msgspec.Struct, frozen=True):
    """One version of a model.

    Attributes:
        sha256: of its file; None where the source does not know before reading it.
        accepted: why it may serve although it names fewer patterns than the one before, or ''.
    """

    name: str
    version: str
    sha256: str | None
    accepted: str = ""

    def is_same(self, other: "ModelRef") -> bool:
        """Whether both are one file of one version, whatever was decided about it since."""
        mine = (self.name, self.version, self.sha256)
        return mine == (other.name, other.version, other.sha256)


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


class Loaded(msgspec.Struct, Generic[S], frozen=True):
    """A model that serves."""

    ref: ModelRef
    session: S


class _Remembered(msgspec.Struct, frozen=True):
    ref: ModelRef
    file: str
    labels: tuple[str, ...]


class LastGood:
    """Remembers on disk which model served last, for a start while the registry is away.

    Args:
        path: of a small JSON file; one for each alias.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> _Remembered | None:
        """What served last; None if nobody knows."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Remembered)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("the model that served last is forgotten", error=str(error))
            return None

    def save(self, loaded: Loaded[S], file: Path) -> None:
        """Remember a model that serves and where its file lies."""
        kept = _Remembered(loaded.ref, str(file.absolute()), loaded.session.answers)
        # Several processors share the folder: written aside and renamed, it is always whole.
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(msgspec.json.encode(kept))
            aside.replace(self._path)
        except OSError as error:
            # The model serves all the same; a later start will need the registry.
            _log.warning("cannot remember which model serves", error=str(error))


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


class ModelRepository(Generic[S]):
    """Holds the serving model of one alias.

    Args:
        source: where versions come from.
        device: where they shall run.
        opener: of their files.
        threads: per run on the CPU; 0 takes all cores.
        last_good: go on with what it remembers if nothing better can be had at the start.
    """

    def __init__(
        self,
        source: ModelSource,
        device: Device,
        opener: Opener[S],
        *,
        threads: int = 0,
        last_good: LastGood | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._source = source
        self._device = device
        self._opener = opener
        self._threads = threads
        self._last_good = last_good
        self._clock = clock or SystemClock()
        self._loaded: Loaded[S] | None = None
        self._status = RepositoryStatus("", "", 0)
        self._refreshing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def current(self) -> Loaded[S]:
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
                if self._loaded is not None and ref.is_same(self._loaded.ref):
                    self._status = RepositoryStatus("", "", self._clock.now_ms())
                    return False
                file = self._source.fetch(ref)
                loaded = self._open(ref, file)
                self._check_answers(loaded)
            except FabpilotError as error:
                self._refuse(version, error)
                if self._loaded is not None:
                    return False
                if not self._go_on():
                    raise
                return True
            if self._last_good is not None:
                self._last_good.save(loaded, file)
            self._serve(loaded, "model serves")
            self._status = RepositoryStatus("", "", self._clock.now_ms())
            return True

    def _open(self, ref: ModelRef, file: Path) -> Loaded[S]:
        session = self._opener(file, self._device, threads=self._threads, sha256=ref.sha256)
        return Loaded(ref, session)

    def _check_answers(self, loaded: Loaded[S]) -> None:
        """A pattern that is no longer named raises no alert, and nobody would notice."""
        before = self._answers_before()
        missing = missing_patterns(loaded.session.answers, before)
        if missing and not loaded.ref.accepted:
            raise ModelFileError(
                f"version {loaded.ref.version} of {loaded.ref.name} cannot name"
                f" {', '.join(missing)}, which the model that serves can; if that is meant, use"
                " 'fabpilot models rollback' or 'fabpilot models promote --force'"
            )

    def _answers_before(self) -> Sequence[str]:
        if self._loaded is not None:
            return self._loaded.session.answers
        kept = self._last_good.load() if self._last_good is not None else None
        return kept.labels if kept else ()

    def _go_on(self) -> bool:
        """Serve the model that served last; False if there is none that can."""
        kept = self._last_good.load() if self._last_good is not None else None
        if kept is None:
            return False
        try:
            loaded = self._open(kept.ref, Path(kept.file))
        except FabpilotError as error:
            _log.error("the model that served last is of no use", error=str(error))
            return False
        self._serve(loaded, "the last good model serves until a better one can be had")
        return True

    def _serve(self, loaded: Loaded[S], said: str) -> None:
        self._loaded = loaded
        _log.info(
            said,
            name=loaded.ref.name,
            version=loaded.ref.version,
            sha256=loaded.session.sha256[:12],
            provider=loaded.session.provider,
        )

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
            except Exception:
                # A registry may answer anything. Were this thread to end, no promotion would ever
                # be followed again, and nobody would be told.
                _log.exception("resolving the model failed in a way that was not foreseen")

    def close(self) -> None:
        """Stop following. May be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
