"""The file a backup is: a tar of flat names, whose first member says what the others are.

`manifest.json` has each part's kind, place, size and SHA-256. Nothing in the tar decides where a
part is written: names are numbers, and places are checked by who restores.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

import msgspec

from contracts.errors import ConfigError, DataError
from fabpilot import __version__

__all__ = [
    "Kind",
    "Manifest",
    "Part",
    "check_part",
    "extract",
    "open_backup",
    "write_backup",
]

FORMAT = "fabpilot-backup"
VERSION = 2
_MANIFEST = "manifest.json"
# A manifest names some hundred artifacts of models; this is for a million.
_MAX_MANIFEST = 256 * 1024 * 1024
_CHUNK = 4 * 1024 * 1024

Kind = Literal["log", "database", "postgres", "mlflow", "registry", "artifact", "home"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file in a backup.

    Attributes:
        name: in the tar.
        kind: what it is.
        path: where it belongs below the artifacts or the home; '' for the single files.
        bytes: its size.
        sha256: of its content.
    """

    name: str
    kind: Kind
    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds.

    Attributes:
        format: `FORMAT`; `version` is its version.
        made_at: ISO 8601, UTC.
        fabpilot: version of the program that made it.
        artifacts: folder in which the registry looked for artifacts; '' if there were none.
        missing: what is not in it, and why.
        parts: everything in it, in order.
    """

    format: str
    version: int
    made_at: str
    fabpilot: str
    artifacts: str
    missing: tuple[str, ...]
    parts: tuple[Part, ...]


Step = Callable[[int], None]
"""Called with the bytes done since the last call."""


def write_backup(
    target: Path,
    found: Sequence[tuple[Kind, str, Path]],
    *,
    artifacts: str,
    missing: Sequence[str],
    step: Step,
) -> Manifest:
    """Put files into a new backup.

    Args:
        target: the file to make, readable by its owner alone.
        found: kind, place and file of each part.
        artifacts: folder the registry has its artifacts in; '' if there are none.
        missing: what is left out, and why.
        step: see `Step`.

    Raises:
        ConfigError: a file changed meanwhile.
    """
    before = [_state(file) for _, _, file in found]
    parts = tuple(
        Part(f"{number:06d}", kind, path, file.stat().st_size, _sha256(file))
        for number, (kind, path, file) in enumerate(found)
    )
    manifest = Manifest(
        FORMAT,
        VERSION,
        datetime.now(UTC).isoformat(timespec="seconds"),
        __version__,
        artifacts,
        tuple(missing),
        parts,
    )
    # 0600: it has the hashes of passwords and tokens, and all of the fab's data.
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as raw,
        tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        tar.addfile(_header(_MANIFEST, len(content)), BytesIO(content))
        for part, (_, _, file), state in zip(parts, found, before, strict=True):
            with file.open("rb") as source:
                tar.addfile(_header(part.name, part.bytes), source)
            # Somebody may be writing it: a digest of something else would be found at the restore.
            if _state(file) != state:
                raise ConfigError(f"{file} changed while it was copied; make the backup again")
            step(part.bytes)
        tar.close()
        raw.flush()
        os.fsync(raw.fileno())
    return manifest


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    return info


def _state(path: Path) -> tuple[int, int, int]:
    """Changes when a file is written to."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def open_backup(path: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """A backup and what it says it holds; its parts are not looked at yet.

    Raises:
        ConfigError: the file cannot be read.
        DataError: it is no backup of ours, damaged, or of a version we do not know.
    """
    try:
        with _opened(path) as tar:
            yield tar, _manifest(tar, path)
    except tarfile.TarError as error:
        raise DataError(f"{path} is no backup of fabpilot, or it is damaged: {error}") from error


def _opened(path: Path) -> tarfile.TarFile:
    # Nothing but this: a disk that gives an error later may be that of the place to restore to.
    try:
        return tarfile.open(path, mode="r:")
    except OSError as error:
        raise ConfigError(f"the backup {path} cannot be read: {error}") from error


def _manifest(tar: tarfile.TarFile, path: Path) -> Manifest:
    first = tar.next()
    if first is None or first.name != _MANIFEST or not first.isreg() or first.size > _MAX_MANIFEST:
        raise DataError(f"{path} is no backup of fabpilot: it does not begin with {_MANIFEST}")
    content = _member(tar, first).read(_MAX_MANIFEST)
    try:
        plain = msgspec.json.decode(content)
        version = plain.get("version") if isinstance(plain, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise DataError(
                f"{path} has format {version}, this program reads {VERSION}: use the fabpilot that"
                f" made it ({plain.get('fabpilot')}) or a newer one"
            )
        manifest = msgspec.convert(plain, Manifest)
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: its manifest cannot be read ({error})") from error
    if manifest.format != FORMAT:
        raise DataError(f"{path} is no backup of fabpilot")
    names = [part.name for part in manifest.parts]
    if len(set(names)) != len(names) or not all(re.fullmatch(r"\d{6,9}", name) for name in names):
        raise DataError(f"{path}: its manifest has names that no backup has")
    return manifest


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(info)
    if file is None:
        raise DataError(f"the backup's part {info.name} is no file")
    return file


@contextmanager
def _part(tar: tarfile.TarFile, part: Part, path: str) -> Iterator[IO[bytes]]:
    try:
        info = tar.getmember(part.name)
    except KeyError:
        raise DataError(
            f"{path}: part {part.name} ({part.kind}) is missing; it was cut off"
        ) from None
    if not info.isreg() or info.size != part.bytes:
        raise DataError(f"{path}: part {part.name} ({part.kind}) is not what its manifest says")
    with closing(_member(tar, info)) as file:
        yield file


def check_part(tar: tarfile.TarFile, part: Part, path: Path, step: Step) -> None:
    """Read a part and compare it with its digest.

    Raises:
        DataError: it is missing or damaged.
    """
    digest = hashlib.sha256()
    with _part(tar, part, str(path)) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            step(len(chunk))
    if digest.hexdigest() != part.sha256:
        raise DataError(
            f"{path}: part {part.name} ({part.kind} {part.path}) is damaged; use another backup"
        )


def extract(tar: tarfile.TarFile, part: Part, target: Path, step: Step) -> None:
    """Write a part to a new file, safely on the disk when this returns."""
    with _part(tar, part, str(tar.name)) as file, target.open("xb") as out:
        while chunk := file.read(_CHUNK):
            out.write(chunk)
            step(len(chunk))
        out.flush()
        os.fsync(out.fileno())
