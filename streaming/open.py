"""From a setting such as `embedded:./.fabpilot/log.db` to a log."""

import dataclasses
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from pydantic import SecretStr

from contracts.errors import ConfigError
from streaming.embedded import EmbeddedLog, Retention
from streaming.log import Log

if TYPE_CHECKING:
    from streaming.kafka import Cluster

__all__ = ["KafkaAccess", "kafka_cluster", "open_log"]

_BROKER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")
# What Kafka allows in the name of a group member.
_INSTANCE = re.compile(r"[A-Za-z0-9._-]{0,100}")
_SCHEMES = {"kafka": False, "kafka+tls": True}
_PASSWORD_SETTINGS = "FABPILOT_KAFKA_PASSWORD_FILE or FABPILOT_KAFKA_PASSWORD"  # noqa: S105


class KafkaAccess(msgspec.Struct, frozen=True):
    """How to be let in by a Kafka cluster, and under which name.

    Attributes:
        ca_file: PEM file of the authorities whose brokers to trust; None takes the system's.
        user: for SASL/SCRAM-SHA-512; '' comes without a name.
        password_file: the file with the user's password, alone or followed by a line break.
        password: instead of the file.
        instance: a name that this process keeps over restarts; '' for none.
    """

    ca_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    password: SecretStr | None = None
    instance: str = ""


def open_log(
    url: str,
    access: KafkaAccess | None = None,
    *,
    stop: threading.Event | None = None,
    retention: Retention | None = None,
) -> Log:
    """The log that `url` names. Nothing is connected or made yet.

    Args:
        url: `embedded:PATH`, `kafka://HOST:PORT[,HOST:PORT...]`, or `kafka+tls://...`.
        access: for Kafka.
        stop: of this process: once set, no call waits for Kafka for more than a few seconds.
        retention: of an embedded log; Kafka's topics have their own.

    Raises:
        ConfigError: it is neither, or Kafka is named and its client is not installed or `access`
            is not usable.
    """
    kind, _, rest = url.partition(":")
    if kind == "embedded" and rest:
        return EmbeddedLog(Path(rest).expanduser(), retention=retention)
    cluster = kafka_cluster(url, access or KafkaAccess())
    if cluster is not None:
        from streaming.kafka import KafkaLog

        return KafkaLog(dataclasses.replace(cluster, stop=stop or threading.Event()))
    raise ConfigError(
        f"{url!r} names no log; use embedded:PATH, such as embedded:./.fabpilot/log.db,"
        " kafka://HOST:PORT[,HOST:PORT...], or kafka+tls://HOST:PORT[,...] for TLS"
    )


def kafka_cluster(url: str, access: KafkaAccess) -> "Cluster | None":
    """The Kafka cluster that `url` names and how to be let in, None if it names none.

    Raises:
        ConfigError: Kafka's client is not installed, or `access` is not usable.
    """
    kind, _, rest = url.partition(":")
    if kind not in _SCHEMES or not rest.startswith("//"):
        return None
    brokers = rest[2:].rstrip("/").split(",")
    if not all(_BROKER.fullmatch(broker) for broker in brokers):
        return None
    return _cluster(",".join(brokers), _SCHEMES[kind], access)


def _cluster(brokers: str, tls: bool, access: KafkaAccess) -> "Cluster":
    try:
        from streaming.kafka import Cluster
        from streaming.kafka.access import tls_context
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a Kafka log needs Kafka's client; install it with: pip install 'fabpilot[kafka]'"
        ) from error
    if access.ca_file is not None and not tls:
        raise ConfigError("FABPILOT_KAFKA_CA_FILE is for TLS; write kafka+tls:// in FABPILOT_LOG")
    if access.ca_file is not None:
        tls_context(access.ca_file)  # now rather than with the first connection
    if set(access.user) & set(",="):
        # They are the syntax of SCRAM's messages, and Kafka's client does not escape them.
        raise ConfigError("FABPILOT_KAFKA_USER: a user's name may hold neither ',' nor '='")
    if access.user and not tls:
        raise ConfigError(
            "FABPILOT_KAFKA_USER: a password goes over TLS only; write kafka+tls:// in FABPILOT_LOG"
        )
    if not _INSTANCE.fullmatch(access.instance):
        raise ConfigError(
            f"FABPILOT_INSTANCE {access.instance!r}: use letters, digits, '.', '_' and '-'"
        )
    return Cluster(
        brokers,
        tls=tls,
        ca_file=access.ca_file,
        user=access.user,
        password=_password(access),
        instance=access.instance,
    )


def _password(access: KafkaAccess) -> str:
    if access.password_file is not None and access.password is not None:
        raise ConfigError(
            "FABPILOT_KAFKA_PASSWORD_FILE and FABPILOT_KAFKA_PASSWORD are both set; unset one"
        )
    if bool(access.user) != (access.password_file is not None or access.password is not None):
        raise ConfigError(
            f"FABPILOT_KAFKA_USER belongs together with {_PASSWORD_SETTINGS}; set user and password"
        )
    if access.password is not None:
        if not access.password.get_secret_value():
            raise ConfigError("FABPILOT_KAFKA_PASSWORD is empty; set it to the user's password")
        return access.password.get_secret_value()
    if access.password_file is None:
        return ""
    try:
        password = access.password_file.read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"FABPILOT_KAFKA_PASSWORD_FILE: cannot read {access.password_file}:"
            f" {type(error).__name__}"
        ) from error
    if not password:
        raise ConfigError(f"FABPILOT_KAFKA_PASSWORD_FILE: {access.password_file} is empty")
    return password
