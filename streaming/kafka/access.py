"""Whether a cluster lets us in, and if not, why.

Kafka's client tries to connect again and again until its time is up, whatever the broker said, and
then reports the time alone (kafka-python 3.0.12: what goes wrong in TLS or SASL is only logged).
To an operator, and to a loop that waits out outages, a wrong password would look like a broker that
is down. So we knock ourselves before a client is made: one connection, TLS if asked for, and the
first two requests of every client that has a user (SaslHandshake and SaslAuthenticate).

A broker that does not answer is not judged here; the client says so, and trying again may help.
"""

import logging
import random
import socket
import ssl
import struct
from pathlib import Path

from kafka.net.sasl.scram import ScramClient

from contracts.errors import ConfigError, LogAccessError
from streaming.kafka.settings import SASL_MECHANISM, Cluster

__all__ = ["check_access", "tls_context"]

# Of each step with one broker. One that takes longer is left to the client, which is more patient.
_STEP_S = 2.0
# Kafka's protocol: the keys of the two requests, and the error codes that settle the matter.
_SASL_HANDSHAKE, _SASL_AUTHENTICATE = 17, 36
_NONE, _UNSUPPORTED_MECHANISM, _ILLEGAL_STATE, _AUTHENTICATION_FAILED = 0, 33, 34, 58
# Answers have some hundred bytes. What claims to have more is not Kafka.
_LARGEST_ANSWER = 64 * 1024
_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH = 62, 64  # of OpenSSL's X509_V_ERR_*
_PASSWORD = "FABPILOT_KAFKA_PASSWORD_FILE or FABPILOT_KAFKA_PASSWORD"  # noqa: S105


class _Discreet(logging.Filter):
    """Keeps what SCRAM exchanges out of the client's debug log.

    It is not the password, but enough to try passwords on at leisure.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return "SaslAuthenticate" not in record.getMessage()


for _name in ("kafka.net.connection", "kafka.protocol.parser"):
    logging.getLogger(_name).addFilter(_Discreet())


class _GarbledError(Exception):
    """What answers does not speak Kafka, or hangs up on us."""


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What a client of ours checks of a broker: certificate, name, TLS 1.2 or newer.

    Args:
        ca_file: PEM file of the authorities to trust; None takes the system's.

    Raises:
        ConfigError: the file cannot be read or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ConfigError(
            f"FABPILOT_KAFKA_CA_FILE: {ca_file} holds no certificate in PEM form"
            " (-----BEGIN CERTIFICATE-----)"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"FABPILOT_KAFKA_CA_FILE: cannot read {ca_file}: {error.strerror}"
        ) from error
    return context


def check_access(cluster: Cluster) -> bool:
    """Knock at the brokers in turn until one lets us in or all have been asked.

    Returns:
        Whether one let us in; False if none answers.

    Raises:
        LogAccessError: some broker refuses us, and none lets us in.
        ConfigError: the file of authorities is not usable any more.
    """
    context = tls_context(cluster.ca_file) if cluster.tls else None
    refusal: LogAccessError | None = None
    brokers = cluster.brokers.split(",")
    # In any order, as the client does it: one that hangs does not hold up every knock.
    for broker in random.sample(brokers, len(brokers)):
        try:
            _knock(cluster, broker, context)
        except LogAccessError as error:
            refusal = error
        except OSError:
            continue
        else:
            return True
    if refusal is not None:
        raise refusal
    return False


def _knock(cluster: Cluster, broker: str, context: ssl.SSLContext | None) -> None:
    """Go through the door of one broker.

    Raises:
        LogAccessError: it refuses us for good.
        OSError: it does not answer, or says nothing that settles it.
    """
    try:
        with _connected(broker, context) as wire:
            _authenticate(cluster, broker, wire)
    except ssl.SSLCertVerificationError as error:
        raise _distrust(cluster, broker, error) from error
    except (_GarbledError, ConnectionResetError, BrokenPipeError, ssl.SSLError) as error:
        if context is not None and _speaks_kafka(broker):
            raise LogAccessError(
                f"Kafka at {broker} does not speak TLS; write kafka:// instead of kafka+tls:// in"
                " FABPILOT_LOG, or name its port for TLS"
            ) from error
        if context is None and _speaks_tls(broker):
            raise LogAccessError(
                f"Kafka at {broker} speaks TLS; write kafka+tls:// instead of kafka:// in"
                " FABPILOT_LOG"
            ) from error
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            raise LogAccessError(
                f"Kafka at {broker} and we do not agree on TLS ({error.reason}); fabpilot speaks"
                " TLS 1.2 and 1.3 and shows no certificate of its own"
            ) from error
        raise ConnectionError(f"{broker} hung up") from error


def _connected(broker: str, context: ssl.SSLContext | None) -> socket.socket:
    host, _, port = broker.rpartition(":")
    host = host.strip("[]")
    wire = socket.create_connection((host, int(port)), timeout=_STEP_S)
    if context is None:
        return wire
    try:
        # The name is checked as the client checks it.
        return context.wrap_socket(wire, server_hostname=host.rstrip("."))
    except BaseException:
        wire.close()
        raise


def _authenticate(cluster: Cluster, broker: str, wire: socket.socket) -> None:
    # 1. Which mechanisms are there? A listener without users answers 'illegal state'.
    code, mechanisms = _handshake(wire)
    if not cluster.user and code in (_NONE, _UNSUPPORTED_MECHANISM):
        raise LogAccessError(
            f"Kafka at {broker} lets nobody in without a name; set FABPILOT_KAFKA_USER, and"
            f" {_PASSWORD}"
        )
    if not cluster.user:
        return
    if code == _ILLEGAL_STATE:
        raise LogAccessError(
            f"Kafka at {broker} asks for no user at this port; unset FABPILOT_KAFKA_USER, or name"
            " its port for SASL"
        )
    if code == _UNSUPPORTED_MECHANISM:
        raise LogAccessError(
            f"Kafka at {broker} lets users in by {', '.join(mechanisms)}, not by {SASL_MECHANISM},"
            " the one way fabpilot knows; add it to sasl.enabled.mechanisms of the brokers"
        )
    if code != _NONE:
        return  # nothing that we know how to judge
    # 2. SCRAM (RFC 5802): two messages each way; the password itself never travels.
    scram = ScramClient(cluster.user, cluster.password, SASL_MECHANISM)
    try:
        scram.process_server_first_message(_prove(cluster, broker, wire, scram.first_message()))
        scram.process_server_final_message(_prove(cluster, broker, wire, scram.final_message()))
    except (ValueError, KeyError) as error:
        raise LogAccessError(
            f"Kafka at {broker} does not prove that it knows the password of {cluster.user!r};"
            " check that FABPILOT_LOG names the right cluster"
        ) from error


def _prove(cluster: Cluster, broker: str, wire: socket.socket, message: bytes) -> bytes:
    answer = _Answer(_ask(wire, _SASL_AUTHENTICATE, 0, struct.pack(">i", len(message)) + message))
    code, said = answer.number(), answer.text()
    if code == _AUTHENTICATION_FAILED:
        raise LogAccessError(
            f"Kafka at {broker} does not let user {cluster.user!r} in ({said}); check"
            f" FABPILOT_KAFKA_USER and {_PASSWORD}, and that the cluster has this user"
        )
    if code != _NONE:
        raise ConnectionError(f"{broker} answers {code}: {said}")
    return answer.data()


def _handshake(wire: socket.socket) -> tuple[int, list[str]]:
    name = SASL_MECHANISM.encode()
    answer = _Answer(_ask(wire, _SASL_HANDSHAKE, 1, struct.pack(">h", len(name)) + name))
    code = answer.number()
    return code, [answer.text() for _ in range(answer.count())]


def _ask(wire: socket.socket, key: int, version: int, body: bytes) -> bytes:
    client = b"fabpilot"
    head = struct.pack(">hhih", key, version, 0, len(client)) + client
    wire.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    (size,) = struct.unpack(">i", _read(wire, 4))
    if not 4 <= size <= _LARGEST_ANSWER:
        raise _GarbledError
    return _read(wire, size)[4:]


def _read(wire: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = wire.recv(size - len(data))
        if not more:
            raise _GarbledError
        data += more
    return data


class _Answer:
    """The fields of an answer, in their order."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self) -> int:
        return int(struct.unpack(">h", self._take(2))[0])

    def count(self) -> int:
        return max(0, int(struct.unpack(">i", self._take(4))[0]))

    def text(self) -> str:
        return self._take(max(0, self.number())).decode("utf-8", "replace")

    def data(self) -> bytes:
        return self._take(self.count())

    def _take(self, size: int) -> bytes:
        if size > len(self._data):
            raise _GarbledError
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def _speaks_kafka(broker: str) -> bool:
    """Whether a broker answers without TLS. It is told nothing but a mechanism's name."""
    try:
        with _connected(broker, None) as wire:
            _handshake(wire)
    except (OSError, _GarbledError):
        return False
    return True


def _speaks_tls(broker: str) -> bool:
    # Nothing is sent over it, so it does not matter here who it is.
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        _connected(broker, anybody).close()
    except OSError:
        return False
    return True


def _distrust(cluster: Cluster, broker: str, error: ssl.SSLCertVerificationError) -> LogAccessError:
    if error.verify_code in (_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH):
        return LogAccessError(
            f"the certificate of Kafka at {broker} is for another name ({error.verify_message});"
            " name the broker in FABPILOT_LOG as its certificate does"
        )
    trusted = f"those in {cluster.ca_file}" if cluster.ca_file else "the system's authorities"
    return LogAccessError(
        f"the certificate of Kafka at {broker} is not trusted ({error.verify_message}, asking"
        f" {trusted}); let FABPILOT_KAFKA_CA_FILE name the PEM file of this cluster's authority"
    )
