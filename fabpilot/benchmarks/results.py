"""Results of a long benchmark, kept one by one, so that a killed run goes on where it was."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from contracts.errors import ConfigError

__all__ = ["Results"]


class Results:
    """Lines of JSON in a file, of which those of one question count.

    Args:
        path: of the file; made with the first result. Results of other questions stay in it.
        question: everything the results depend on, such as data and options.

    Raises:
        ConfigError: the file cannot be read.
    """

    def __init__(self, path: Path, question: dict[str, Any]) -> None:
        self._path = path
        asked = json.dumps(question, sort_keys=True, default=str)
        self._key = hashlib.sha256(asked.encode()).hexdigest()[:16]
        self._found: dict[str, dict[str, Any]] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"results in {path} cannot be read: {error}") from error
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # cut off by a kill; what it said is measured again
            if isinstance(row, dict) and row.get("question") == self._key:
                self._found[row["name"]] = row["result"]

    def get(self, name: str) -> dict[str, Any] | None:
        """An earlier result."""
        return self._found.get(name)

    def add(self, name: str, result: dict[str, Any]) -> dict[str, Any]:
        """Keep a result, on the disk before this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"question": self._key, "name": name, "result": result})
        with self._path.open("a", encoding="utf-8") as file:
            # A line that a kill cut off must not swallow this one.
            file.write(("" if self._ends_whole() else "\n") + line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._found[name] = result
        return result

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            return file.read(1) in (b"", b"\n")
