"""What SQLite's errors mean for whoever runs us, and what to do about each."""

import sqlite3

__all__ = ["advice", "disk_is_full"]

# A commit that finds no room, and a start that finds none for the file that processes share.
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
_ADVICE = {
    "SQLITE_NOTADB": "the file is not an embedded log nor a database of ours; name another one",
    "SQLITE_CORRUPT": "the file is damaged; restore it from a backup or start a new one",
    "SQLITE_READONLY": "the file, its folder or the disk cannot be written; check owner and mode,"
    " and whether the disk is mounted read-only",
    "SQLITE_PERM": "the file cannot be opened; check owner and mode",
    "SQLITE_CANTOPEN": "the file cannot be opened or made; check path, owner and mode, and whether"
    " the disk is full or mounted read-only",
    "SQLITE_IOERR": "the disk gave an error; look at the system's log",
}


def _name(error: BaseException | None) -> str:
    # A name of SQLite's extended result codes; not there for errors of the driver itself.
    return getattr(error, "sqlite_errorname", "") or "" if isinstance(error, sqlite3.Error) else ""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether the same may succeed once there is room; nothing of the transaction was kept."""
    return _name(error).startswith(_FULL)


def advice(error: BaseException | None) -> str | None:
    """What is wrong with the file and what to do, if SQLite says as much."""
    name = _name(error)
    return next((text for prefix, text in _ADVICE.items() if name.startswith(prefix)), None)
