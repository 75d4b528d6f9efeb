"""From a setting such as `embedded:./.fabpilot/log.db` to a log."""

import re
from pathlib import Path

from contracts.errors import ConfigError
from streaming.embedded import EmbeddedLog
from streaming.log import Log

__all__ = ["open_log"]

_BROKER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")


def open_log(url: str) -> Log:
    """The log that `url` names. Nothing is connected or made yet.

    Args:
        url: `embedded:PATH` or `kafka://HOST:PORT[,HOST:PORT...]`.

    Raises:
        ConfigError: it is neither, or Kafka is named and its client is not installed.
    """
    kind, _, rest = url.partition(":")
    if kind == "embedded" and rest:
        return EmbeddedLog(Path(rest).expanduser())
    if kind == "kafka" and rest.startswith("//"):
        brokers = rest[2:].rstrip("/").split(",")
        if all(_BROKER.fullmatch(broker) for broker in brokers):
            return _kafka(",".join(brokers))
    raise ConfigError(
        f"{url!r} names no log; use embedded:PATH, such as embedded:./.fabpilot/log.db,"
        " or kafka://HOST:PORT[,HOST:PORT...]"
    )


def _kafka(brokers: str) -> Log:
    try:
        from streaming.kafka import KafkaLog
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a Kafka log needs Kafka's client; install it with: pip install 'fabpilot[kafka]'"
        ) from error
    return KafkaLog(brokers)
