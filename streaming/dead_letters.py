"""Dead letters as both loops send them."""

from collections.abc import Iterable

import msgspec

from contracts.codec import dead_letter, encode
from contracts.errors import ConfigError, RecordTooLargeError
from contracts.records import Message, Record
from contracts.topics import STREAM_SPECS, Stream, parse_topic, topic_name

__all__ = ["check_topics", "dead_letter_message", "dead_letter_topics"]


def dead_letter_message(record: Record, error: Exception, stage: str) -> Message:
    """The message that sends `record` to its site's dead letters.

    Whatever the record is, this succeeds: should it not fit even so, its headers and the end of
    its value stay behind (`value_bytes` tells).
    """
    site, _ = parse_topic(record.topic)
    letter = dead_letter(record, error, site=site, stage=stage)
    try:
        return encode(letter)
    except RecordTooLargeError:
        half = letter.value[: len(letter.value) // 2]
        return encode(msgspec.structs.replace(letter, value=half, source_headers=()))


def dead_letter_topics(topics: Iterable[str]) -> dict[str, int]:
    """The dead-letter topics that readers of `topics` need, with their partitions."""
    sites = {parse_topic(topic)[0] for topic in topics}
    partitions = STREAM_SPECS[Stream.DEAD_LETTERS].partitions
    return {topic_name(site, Stream.DEAD_LETTERS): partitions for site in sites}


def check_topics(topics: Iterable[str]) -> tuple[str, ...]:
    """The topics a loop is to read, sorted.

    Raises:
        ConfigError: a name is not one of ours, or is that of dead letters: reading those, a loop
            would feed itself.
    """
    checked = tuple(sorted(set(topics)))
    for topic in checked:
        if parse_topic(topic)[1] is Stream.DEAD_LETTERS:
            raise ConfigError(f"{topic!r} holds dead letters; no loop may read them")
    return checked
