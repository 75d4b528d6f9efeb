"""Everything a site keeps, in one file: made while everything runs, restored into an empty home.

The embedded log, the database and MLflow's store are copied as they were at one moment
(`streaming.snapshot`), so the copy is a state that a crash could have left, and every process goes
on from it as from a crash: nothing lost, nothing twice. The artifacts of models are copied after
the registry that names them; they are written once and never changed.

A database on PostgreSQL is dumped with its own `pg_dump`, in one transaction, and so is that of an
MLflow server (`fabpilot.backup_registry`). Kafka is not in here (docs/decisions/0022).

The file is a tar of flat names with `manifest.json` first, which says what each part is, how large
and with which SHA-256. Restoring checks all of it before the first byte is written, and never
overwrites.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from sqlalchemy.engine import URL, make_url

from contracts.errors import ConfigError, DataError
from fabpilot.backup_file import (
    Kind,
    Manifest,
    Part,
    check_part,
    extract,
    open_backup,
    write_backup,
)
from fabpilot.backup_registry import (
    check_artifacts,
    check_empty_database,
    empty_database,
    registry_places,
    relocate,
)
from fabpilot.postgres_tools import dump_database, restore_database
from fabpilot.settings import Settings
from streaming.snapshot import copy_at_one_moment

__all__ = ["BackupReport", "OnProgress", "back_up", "restore"]

# Beside the files themselves: what a copy must leave free.
_SPARE_BYTES = 256 * 1024 * 1024


class BackupReport(msgspec.Struct, frozen=True):
    """What was put into a file, or taken out of one.

    Attributes:
        path: the backup's file.
        bytes: of its parts together.
        parts: how many of each kind.
        missing: what is not in it, and why.
        made_at: when it was made, ISO 8601, UTC.
    """

    path: str
    bytes: int
    parts: dict[str, int]
    missing: tuple[str, ...]
    made_at: str


OnProgress = Callable[[int, int], None]
"""Called with the bytes done and all bytes."""


def back_up(
    settings: Settings, target: Path, on_progress: OnProgress | None = None
) -> BackupReport:
    """Write a backup of what `settings` name.

    Args:
        settings: where everything is.
        target: the file to make; readable by its owner alone.
        on_progress: see `OnProgress`.

    Raises:
        ConfigError: the target is there already, the disk has no room, there is nothing to back
            up, or `pg_dump` is missing or failed.
        LogError: a file cannot be read, or is locked for too long.
    """
    with _disk_errors("backup", target):
        return _back_up(settings, target, on_progress)


def _back_up(settings: Settings, target: Path, on_progress: OnProgress | None) -> BackupReport:
    if target.exists():
        raise ConfigError(
            f"{target} is there already; name a new file, backups are never overwritten"
        )
    where = _Places(settings)
    if not where.sqlite and where.postgres is None and where.registry is None:
        raise ConfigError(
            f"there is nothing to back up in {settings.home}; is FABPILOT_HOME the one that the"
            " other processes have?"
        )
    if where.registry is not None:
        check_artifacts(where.registry, where.artifacts)
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_room(target.parent, 2 * where.bytes())
    total = where.bytes()
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done = min(done + count, 2 * total)
        if on_progress is not None:
            on_progress(done, 2 * total)

    # Beside the target: there is room there, and the last step is a rename.
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as name:
        folder = Path(name)
        # 1. Databases and log, at one moment.
        copies = {source: folder / kind for kind, source in where.sqlite.items()}
        copy_at_one_moment(copies, step)
        found: list[tuple[Kind, str, Path]] = [(kind, "", folder / kind) for kind in where.sqlite]
        if where.postgres is not None:
            dump_database(where.postgres, folder / "postgres")
            found.append(("postgres", "", folder / "postgres"))
        if where.registry is not None:
            dump_database(where.registry, folder / "registry")
            found.append(("registry", "", folder / "registry"))
        # 2. What they refer to.
        found += where.files()
        # 3. One file.
        partial = folder / "partial"
        artifacts = str(where.artifacts) if where.artifacts.is_dir() else ""
        manifest = write_backup(
            partial, found, artifacts=artifacts, missing=where.missing, step=step
        )
        partial.replace(target)
    _sync(target.parent)
    return _reported(target, manifest)


def restore(settings: Settings, path: Path, on_progress: OnProgress | None = None) -> BackupReport:
    """Put back what a backup holds, where `settings` say, into places that are empty.

    Args:
        settings: where everything is to be.
        path: the backup.
        on_progress: see `OnProgress`.

    Raises:
        ConfigError: the file cannot be read, a place is not empty, the disk has no room, or
            `pg_restore` is missing or failed.
        DataError: it is no backup of ours, or damaged. Nothing was written.
    """
    with _disk_errors("restore", settings.home):
        return _restore(settings, path, on_progress)


def _restore(settings: Settings, path: Path, on_progress: OnProgress | None) -> BackupReport:
    where = _Places(settings)
    with open_backup(path) as (tar, manifest):
        targets = {part.name: where.target(part, manifest) for part in manifest.parts}
        _check_empty(targets.values())
        for part in manifest.parts:
            if (database := where.database(part)) is not None:
                check_empty_database(database)
        total = sum(part.bytes for part in manifest.parts)
        _check_room(settings.home, total)
        done = 0

        def step(count: int) -> None:
            nonlocal done
            done += count
            if on_progress is not None:
                on_progress(done, 2 * total)

        # 1. All of it is read and checked before anything is touched.
        for part in manifest.parts:
            check_part(tar, part, path, step)
        # 2. Into a folder beside the home; 3. moved where they belong, the log last: until it is
        # there, no process finds a site to work for.
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.home) as name:
            folder = Path(name)
            for part in manifest.parts:
                extract(tar, part, folder / part.name, step)
            mlflow = next((p for p in manifest.parts if p.kind == "mlflow"), None)
            if mlflow is not None and manifest.artifacts:
                relocate(folder / mlflow.name, manifest.artifacts, where.artifacts)
            with _all_or_nothing() as (moved, filled):
                for part in sorted(manifest.parts, key=lambda part: part.kind == "log"):
                    place = targets[part.name]
                    if place is None:
                        database = where.database(part)
                        assert database is not None
                        restore_database(database, folder / part.name)
                        filled.append(database)
                    else:
                        moved.append(place)
                        place.parent.mkdir(parents=True, exist_ok=True)
                        shutil.move(folder / part.name, place)
    return _reported(path, manifest)


class _Places:
    """Where everything of a site is.

    Attributes:
        sqlite: kind to the SQLite files that exist.
        postgres: the database, if it is on PostgreSQL, with its password.
        registry: database of an MLflow server, with its password, if the settings name it.
        artifacts: folder of MLflow's artifacts: beside its SQLite file, or the server's.
        missing: what cannot be in a backup, and why.
    """

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home.absolute()
        self.missing: list[str] = []
        self.postgres: URL | None = None
        self.registry: URL | None = None
        self._files: dict[Kind, Path] = {}
        scheme, _, rest = settings.log_url.partition(":")
        if scheme == "embedded":
            self._files["log"] = Path(rest).absolute()
        else:
            self.missing.append("the log: Kafka keeps its own copies (docs/deploy.md)")
        database = make_url(settings.database_url)
        if database.get_backend_name() == "sqlite":
            self._files["database"] = Path(database.database or "").absolute()
        else:
            password = settings.database_password
            self.postgres = database if password is None else database.set(password=password)
        mlflow = settings.mlflow_uri
        self.artifacts = self._home / "artifacts"
        if mlflow.startswith("sqlite:"):
            self._files["mlflow"] = Path(make_url(mlflow).database or "").absolute()
            self.artifacts = self._files["mlflow"].parent / "artifacts"
        else:
            server = registry_places(settings)
            if server is None:
                self.missing.append(
                    f"the registry: {_without_password(mlflow)} keeps it; set"
                    " FABPILOT_MLFLOW_DATABASE and FABPILOT_MLFLOW_ARTIFACTS (docs/deploy.md)"
                )
            else:
                self.registry, self.artifacts = server
        self.sqlite = {kind: path for kind, path in self._files.items() if path.is_file()}

    def files(self) -> list[tuple[Kind, str, Path]]:
        """Artifacts, and what else the home has: kind, path below its folder, file."""
        found: list[tuple[Kind, str, Path]] = []
        if self.artifacts.is_dir() and ("mlflow" in self._files or self.registry is not None):
            found += [
                ("artifact", path.relative_to(self.artifacts).as_posix(), path)
                for path in sorted(self.artifacts.rglob("*"))
                if path.is_file() and not path.is_symlink()
            ]
        # What says which fab made the log's events, and the model that served last.
        for pattern in ("fab.*.json", "models/*"):
            found += [
                ("home", path.relative_to(self._home).as_posix(), path)
                for path in sorted(self._home.glob(pattern))
                if path.is_file() and not path.is_symlink()
            ]
        return found

    def bytes(self) -> int:
        """Of all files together, about."""
        files = [*self.sqlite.values(), *(path for _, _, path in self.files())]
        return sum(path.stat().st_size for path in files)

    def target(self, part: Part, manifest: Manifest) -> Path | None:
        """Where a part belongs; None for a dump, which goes into the database.

        Raises:
            ConfigError: the settings have no place for it.
        """
        if part.kind == "artifact":
            return _below(self.artifacts, part)
        if part.kind == "home":
            return _below(self._home, part)
        if part.kind == "postgres":
            if self.postgres is None:
                raise ConfigError(
                    "the backup has a PostgreSQL database: name an empty one in FABPILOT_DATABASE"
                )
            return None
        if part.kind == "registry":
            if self.registry is None:
                raise ConfigError(
                    "the backup has the registry of an MLflow server: name an empty database in"
                    " FABPILOT_MLFLOW_DATABASE and a folder in FABPILOT_MLFLOW_ARTIFACTS, and its"
                    " address in FABPILOT_MLFLOW"
                )
            return None
        place = self._files.get(part.kind)
        if place is None:
            raise ConfigError(
                f"the backup has the {part.kind} in a file of its own, and the settings name a"
                f" server for it: unset FABPILOT_{part.kind.upper()}"
            )
        return place

    def database(self, part: Part) -> URL | None:
        """The database a dump goes into; None for a file."""
        return {"postgres": self.postgres, "registry": self.registry}.get(part.kind)


def _below(folder: Path, part: Part) -> Path:
    """A part's place in a folder, and never outside it."""
    pieces = part.path.split("/")
    if not part.path or any(p in ("", ".", "..") or "\\" in p or "\0" in p for p in pieces):
        raise DataError(f"the backup has a part at {part.path!r}, which is no place for one")
    return folder.joinpath(*pieces)


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextmanager
def _disk_errors(what: str, place: Path) -> Iterator[None]:
    """Say what a disk that is full or cannot be written means here."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"the {what} was not made: {error.strerror or error} ({error.filename or place}); what"
            " was begun is removed, make room or name a place that can be written, and try again"
        ) from error


@contextmanager
def _all_or_nothing() -> Iterator[tuple[list[Path], list[URL]]]:
    """Takes files and databases that were filled; they are empty again if the rest cannot be."""
    files: list[Path] = []
    databases: list[URL] = []
    try:
        yield files, databases
    except BaseException:
        for place in files:
            place.unlink(missing_ok=True)
        for database in databases:
            empty_database(database)
        raise


def _check_room(folder: Path, needed: int) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise ConfigError(
            f"{folder} has {free / 1e9:.1f} GB free, {(needed + _SPARE_BYTES) / 1e9:.1f} GB are"
            " needed; make room or name another place"
        )


def _check_empty(targets: Iterable[Path | None]) -> None:
    for target in targets:
        if target is not None and target.exists():
            raise ConfigError(
                f"{target} is there already; restore into an empty home (FABPILOT_HOME=NEW fabpilot"
                " restore ...), or move the old one away"
            )


def _sync(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reported(path: Path, manifest: Manifest) -> BackupReport:
    parts: dict[str, int] = {}
    for part in manifest.parts:
        parts[part.kind] = parts.get(part.kind, 0) + 1
    return BackupReport(
        path=str(path),
        bytes=sum(part.bytes for part in manifest.parts),
        parts=parts,
        missing=manifest.missing,
        made_at=manifest.made_at,
    )
