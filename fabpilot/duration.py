"""Durations as people write them."""

import re

from contracts.errors import ConfigError

__all__ = ["parse_duration"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, None: 1.0}


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `2m`, `1.5h` or plain `90`.

    Raises:
        ConfigError: anything else, or nothing at all.

    >>> parse_duration("2m"), parse_duration("90")
    (120.0, 90.0)
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{text!r} is not a duration; write 90s, 20m or 1.5h")
    return float(match[1]) * _SECONDS[match[2]]
