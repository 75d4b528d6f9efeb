"""Processes that the log tests start: `python log_writers.py ROLE URL ...`."""

import sys
import time
from pathlib import Path

from contracts.records import Message, TopicPartition
from streaming.embedded import EmbeddedLog
from streaming.log import Log
from streaming.open import open_log


def open_for_test(url: str) -> Log:
    """As `open_log`; the embedded log with a short session, so that tests need not wait."""
    kind, _, rest = url.partition(":")
    return (
        EmbeddedLog(Path(rest), session_timeout_ms=60_000) if kind == "embedded" else open_log(url)
    )


def append(url: str, topic: str, name: str, count: str) -> None:
    """Append `count` messages, three at a time, as the source `name`."""
    log = open_for_test(url)
    for first in range(0, int(count), 3):
        messages = [Message(topic, name.encode(), f"{name}:{first + i}".encode()) for i in range(3)]
        log.append(messages, source=name, position=first)
    log.close()


def hold(url: str, topic: str, group: str) -> None:
    """Join a group, say which partitions were seen, commit nothing, and stay."""
    consumer = open_for_test(url).consumer(group, [topic])
    while True:
        records = consumer.poll(1000, 0.2)
        if records:
            seen = {TopicPartition(r.topic, r.partition) for r in records}
            sys.stdout.write(f"{len(records)} {len(seen)}\n")
            sys.stdout.flush()
        else:
            time.sleep(0.05)


if __name__ == "__main__":
    {"append": append, "hold": hold}[sys.argv[1]](*sys.argv[2:])
