"""From a setting such as `embedded:./.fabpilot/log.db` to a log."""

import re
from pathlib import Path

import msgspec

from contracts.errors import ConfigError
from streaming.embedded import EmbeddedLog
from streaming.log import Log

__all__ = ["KafkaAccess", "open_log"]

_BROKER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")
# What Kafka allows in the name of a group member.
_INSTANCE = re.compile(r"[A-Za-z0-9._-]{0,100}")
_SCHEMES = {"kafka": False, "kafka+tls": True}


class KafkaAccess(msgspec.Struct, frozen=True):
    """How to be let in by a Kafka cluster, and under which name.

    Attributes:
        ca_file: PEM file of the authorities whose brokers to trust; None takes the system's.
        user: for SASL/SCRAM-SHA-512; '' comes without a name.
        password_file: the file with the user's password, alone or followed by a line break.
        instance: a name that this process keeps over restarts; '' for none.
    """

    ca_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    instance: str = ""


def open_log(url: str, access: KafkaAccess | None = None) -> Log:
    """The log that `url` names. Nothing is connected or made yet.

    Args:
        url: `embedded:PATH`, `kafka://HOST:PORT[,HOST:PORT...]`, or `kafka+tls://...`.
        access: for Kafka.

    Raises:
        ConfigError: it is neither, or Kafka is named and its client is not installed or `access`
            is not usable.
    """
    kind, _, rest = url.partition(":")
    if kind == "embedded" and rest:
        return EmbeddedLog(Path(rest).expanduser())
    if kind in _SCHEMES and rest.startswith("//"):
        brokers = rest[2:].rstrip("/").split(",")
        if all(_BROKER.fullmatch(broker) for broker in brokers):
            return _kafka(",".join(brokers), _SCHEMES[kind], access or KafkaAccess())
    raise ConfigError(
        f"{url!r} names no log; use embedded:PATH, such as embedded:./.fabpilot/log.db,"
        " kafka://HOST:PORT[,HOST:PORT...], or kafka+tls://HOST:PORT[,...] for TLS"
    )


def _kafka(brokers: str, tls: bool, access: KafkaAccess) -> Log:
    try:
        from streaming.kafka import Cluster, KafkaLog
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a Kafka log needs Kafka's client; install it with: pip install 'fabpilot[kafka]'"
        ) from error
    if access.ca_file is not None and not tls:
        raise ConfigError("FABPILOT_KAFKA_CA_FILE is for TLS; write kafka+tls:// in FABPILOT_LOG")
    if access.ca_file is not None and not access.ca_file.is_file():
        raise ConfigError(f"FABPILOT_KAFKA_CA_FILE: there is no file {access.ca_file}")
    if access.user and not tls:
        raise ConfigError(
            "FABPILOT_KAFKA_USER: a password goes over TLS only; write kafka+tls:// in FABPILOT_LOG"
        )
    if not _INSTANCE.fullmatch(access.instance):
        raise ConfigError(
            f"FABPILOT_INSTANCE {access.instance!r}: use letters, digits, '.', '_' and '-'"
        )
    return KafkaLog(
        Cluster(
            brokers,
            tls=tls,
            ca_file=access.ca_file,
            user=access.user,
            password=_password(access),
            instance=access.instance,
        )
    )


def _password(access: KafkaAccess) -> str:
    if bool(access.user) != (access.password_file is not None):
        raise ConfigError(
            "FABPILOT_KAFKA_USER and FABPILOT_KAFKA_PASSWORD_FILE belong together; set both"
        )
    if access.password_file is None:
        return ""
    try:
        password = access.password_file.read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"FABPILOT_KAFKA_PASSWORD_FILE: cannot read {access.password_file}: {error}"
        ) from error
    if not password:
        raise ConfigError(f"FABPILOT_KAFKA_PASSWORD_FILE: {access.password_file} is empty")
    return password
