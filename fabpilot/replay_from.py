"""Where a group is to begin: from what a person writes after `--from`."""

import re
from datetime import UTC, datetime
from typing import Literal

from contracts.errors import ConfigError
from contracts.records import TopicPartition
from streaming.log import Log, Offsets

__all__ = ["Start", "parse_start", "start_offsets"]

Start = datetime | dict[int, int] | Literal["beginning", "end"]
"""A moment, offsets by partition, or a word."""

_OFFSETS = re.compile(r"\d+:\d+(?:,\d+:\d+)*")


def parse_start(text: str) -> Start:
    """What `--from` says.

    Args:
        text: a time (ISO 8601, UTC unless it says otherwise), 'beginning', 'end', or offsets as
            PARTITION:OFFSET[,PARTITION:OFFSET...].

    Raises:
        ConfigError: it is none of these.

    >>> parse_start("0:1200,3:17")
    {0: 1200, 3: 17}
    """
    if text == "beginning":
        return "beginning"
    if text == "end":
        return "end"
    if _OFFSETS.fullmatch(text):
        pairs = (pair.split(":") for pair in text.split(","))
        return {int(partition): int(offset) for partition, offset in pairs}
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--from {text!r}: write a time such as 2026-01-01T00:00, 'beginning', 'end', or"
            " offsets such as 0:1200,1:980"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def start_offsets(log: Log, topic: str, start: Start) -> Offsets:
    """The offset in every partition of `topic` at which `start` lies.

    Partitions that offsets leave out begin at their end: only what was asked for is done again.

    Raises:
        ConfigError: an offset lies beyond the end, or there is no such partition.
    """
    ends = log.ends([topic])
    if start == "beginning":
        return dict.fromkeys(ends, 0)
    if start == "end":
        return ends
    if isinstance(start, datetime):
        return log.offsets_at([topic], int(start.timestamp() * 1000))
    wanted = {TopicPartition(topic, number): offset for number, offset in start.items()}
    for partition, offset in wanted.items():
        if offset > ends.get(partition, -1):
            raise ConfigError(
                f"--from {partition.partition}:{offset}: partition {partition.partition} of {topic}"
                + (f" ends at {ends[partition]}" if partition in ends else " does not exist")
            )
    return {**ends, **wanted}
