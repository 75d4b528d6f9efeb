"""YAML read safely, remembering on which line each key stands."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from contracts.errors import ConfigError

__all__ = ["MAX_BYTES", "YamlFile", "read_yaml"]

# The built-in scenarios have 1 to 3 KB. A larger file than this is not a scenario.
MAX_BYTES = 64 * 1024
# A scenario nests four deep.
_MAX_DEPTH = 20
_PATH_PART = re.compile(r"\.([^.\[]+)|\[(\d+)\]")

KeyPath = tuple[str | int, ...]


class YamlFile:
    """Plain data from a file and the place of every key in it.

    Args:
        name: the file's name, for messages.
        data: what it holds.
        lines: line of every path, from 1.
    """

    def __init__(self, name: str, data: Any, lines: dict[KeyPath, int]) -> None:
        self.name = name
        self.data = data
        self._lines = lines

    def error(self, path: Sequence[str | int], problem: str) -> ConfigError:
        """The error that says what is wrong with the value at `path`, and where that is."""
        found = tuple(path)
        while found and found not in self._lines:
            found = found[:-1]
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        line = self._lines.get(found, 1)
        return ConfigError(f"{self.name}, line {line}, key '{shown.lstrip('.')}': {problem}")

    @staticmethod
    def path_of(shown: str) -> KeyPath:
        """The path that msgspec writes as `$.excursions[0].mode`."""
        return tuple(
            int(index) if index else key for key, index in _PATH_PART.findall(shown.lstrip("$"))
        )


def read_yaml(path: Path) -> YamlFile:
    """Read a YAML file of plain values.

    Raises:
        ConfigError: it cannot be read, is too large, is not YAML, uses aliases or tags, names a
            key twice, or holds a number that is not finite. The message names file and line.
    """
    name = path.name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{name}: more than {MAX_BYTES} bytes; that is not a scenario")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text: {error.reason}") from error
    lines: dict[KeyPath, int] = {}
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise ConfigError(f"{name}: nested more than {_MAX_DEPTH} deep")
            if isinstance(event, yaml.AliasEvent):
                # A few lines of nested aliases can stand for gigabytes.
                mark = event.start_mark
                where = f", line {mark.line + 1}" if mark is not None else ""
                raise ConfigError(f"{name}{where}: aliases are not allowed; write it out")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _walk(name, root, (), lines)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{name}{where}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise ConfigError(f"{name}: not a YAML file of plain values: {error}") from error
    file = YamlFile(name, data, lines)
    _check_finite(file, data, ())
    return file


def _walk(name: str, node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(name, item, (*path, index), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{name}, line {line}: a key must be a plain word")
            child = (*path, str(key.value))
            if child in lines:
                raise ConfigError(f"{name}, line {line}: key '{key.value}' is there twice")
            lines[child] = line
            _walk(name, value, child, lines)


def _check_finite(file: YamlFile, value: Any, path: KeyPath) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise file.error(path, "must be a finite number")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_finite(file, item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_finite(file, item, (*path, index))
