"""Reads the controller's YAML files into structs; what is wrong is told with file, line and key."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from contracts.errors import ConfigError

__all__ = ["Section", "Wrong", "read_struct"]

Wrong = tuple[tuple[str, ...], str]
"""A key, and what is wrong with it."""
T = TypeVar("T")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a file: unknown keys are errors."""


class _Where:
    """Where in the file each key is: a path such as ('limits', 'min_confidence') to its line."""

    def __init__(self, path: Path, root: yaml.Node) -> None:
        self._path = path
        self._lines: dict[tuple[str, ...], int] = {}
        self._note((), root)

    def _note(self, key: tuple[str, ...], node: yaml.Node) -> None:
        self._lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                child = (*key, str(name.value))
                if child in self._lines:
                    line = name.start_mark.line + 1
                    raise ConfigError(f"{self._path}:{line}: {'.'.join(child)} is given twice")
                self._lines[child] = name.start_mark.line + 1
                self._note(child, value)

    def error(self, key: tuple[str, ...], reason: str) -> ConfigError:
        """The error for one key, with the nearest line that is known."""
        known = key
        while known and known not in self._lines:
            known = known[:-1]
        line = self._lines.get(known, 1)
        return ConfigError(f"{self._path}:{line}: {'.'.join(key) or 'the file'}: {reason}")


def read_struct(
    source: Path,
    wanted: type[T],
    contradictions: Callable[[T], Iterable[Wrong]],
    *,
    what: str,
    complete: Callable[[dict[str, Any]], None] = lambda data: None,
) -> T:
    """Read a file.

    Args:
        source: the file.
        wanted: the struct it must fit.
        contradictions: what is well formed and makes no sense, as (key, reason).
        what: the file is, for errors: 'policy'.
        complete: may add to the mapping before it is converted.

    Raises:
        ConfigError: no such file, not YAML, an unknown or missing key, a wrong type, or a
            contradiction; with file, line and key.
    """
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the {what} {source}: {error}") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{source}:{line}: not YAML: {problem}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{source}:1: a {what} is a mapping; see the one shipped in control/")
    where = _Where(source, root)
    complete(data)
    try:
        found = msgspec.convert(data, wanted)
    except msgspec.ValidationError as error:
        raise where.error(*_place(str(error))) from error
    for key, reason in contradictions(found):
        raise where.error(key, reason)
    return found


def _place(message: str) -> Wrong:
    """Msgspec's message taken apart: the key it is about, and the reason."""
    reason, _, path = message.partition(" - at ")
    key = tuple(re.findall(r"[A-Za-z_][\w-]*", path.strip("`$")))
    field = re.search(r"(?:unknown|required) field `([^`]+)`", reason)
    return ((*key, field.group(1)) if field else key), reason
