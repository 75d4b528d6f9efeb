"""How our Kafka clients are set up, each setting with its reason."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

from contracts.codec import DEAD_LETTER_ENVELOPE
from contracts.topics import MAX_RECORD_BYTES

__all__ = [
    "SASL_MECHANISM",
    "Cluster",
    "admin_settings",
    "consumer_settings",
    "producer_settings",
    "room_for",
]

SASL_MECHANISM = "SCRAM-SHA-512"
"""How users prove who they are: the strongest way that needs no further service."""

_REQUEST_MS = 10_000
_BOOTSTRAP_MS = 5_000


class _Hidden(str):
    """Text that never shows itself: Kafka's client writes its settings to its debug log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster, how to reach it, and how patient to be with it.

    Attributes:
        brokers: host:port, comma-separated.
        tls: encrypt, and check the brokers' certificates and names.
        ca_file: PEM file of the authorities to trust; None takes the system's.
        user: for SASL/SCRAM-SHA-512; '' for none.
        password: of the user. Never shown.
        instance: a name of this process that it keeps over restarts, unique in its group: then a
            restart gets the same partitions back without a rebalance (static membership). '' for
            none.
        compression: of what is published: lz4 costs little, zstd saves more.
        session_timeout_ms: how long a silent member keeps its partitions; must outlast a pause of
            the process.
        poll_interval_ms: how long a member may go without a poll. It is also how long a rebalance
            waits for it.
        stop: once set, no call waits for the cluster for more than a few seconds.
        transaction_timeout_ms: a process that dies within a transaction holds up read-committed
            readers for as long as this. The default is a minute; ours take well under a second.
    """

    brokers: str
    tls: bool = False
    ca_file: Path | None = None
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    instance: str = ""
    compression: str = "lz4"
    session_timeout_ms: int = 15_000
    poll_interval_ms: int = 60_000
    transaction_timeout_ms: int = 15_000
    stop: threading.Event = dataclasses.field(
        default_factory=threading.Event, repr=False, compare=False
    )

    @property
    def call_limit_s(self) -> float:
        """How long any single call may take.

        Kafka's client does not limit those of transactions, and after this time the broker has
        aborted a transaction that it has not seen the end of. A broker that died is replaced
        sooner: after 9 seconds (broker.session.timeout.ms), and an election.
        """
        return self.transaction_timeout_ms / 1000


def room_for(value_bytes: int) -> int:
    """What a topic must allow a message to have for a value of so many bytes.

    Twice the dead-letter envelope (for a letter's own fields, and for the key and headers), and
    Kafka's framing.
    """
    return value_bytes + 2 * DEAD_LETTER_ENVELOPE + 4096


_LARGEST_MESSAGE = room_for(MAX_RECORD_BYTES)


def admin_settings(cluster: Cluster) -> dict[str, Any]:
    """For topics, offsets and ends; what all clients have in common."""
    settings: dict[str, Any] = {
        "bootstrap_servers": cluster.brokers.split(","),
        "client_id": "fabpilot",
        # A loop tries again and says so; a person wants to know soon.
        "bootstrap_timeout_ms": _BOOTSTRAP_MS,
        # A broker that hangs is given up after this long; the cluster itself takes 9 seconds
        # (broker.session.timeout.ms). The default of half a minute would be added to every outage.
        "request_timeout_ms": _REQUEST_MS,
        # Likewise: how long after its return a broker that was away may be ignored.
        "reconnect_backoff_max_ms": 1000,
        "security_protocol": ("SASL_" if cluster.user else "")
        + ("SSL" if cluster.tls else "PLAINTEXT"),
    }
    if cluster.tls and cluster.ca_file is not None:
        settings["ssl_cafile"] = str(cluster.ca_file)
    if cluster.user:
        settings["sasl_mechanism"] = SASL_MECHANISM
        settings["sasl_plain_username"] = cluster.user
        settings["sasl_plain_password"] = _Hidden(cluster.password)
    return settings


def producer_settings(cluster: Cluster, transactional_id: str) -> dict[str, Any]:
    """An idempotent, transactional producer."""
    return {
        **admin_settings(cluster),
        "transactional_id": transactional_id,
        "transaction_timeout_ms": cluster.transaction_timeout_ms,
        # No longer than the transaction that needs it.
        "delivery_timeout_ms": cluster.transaction_timeout_ms,
        "request_timeout_ms": cluster.transaction_timeout_ms - 1000,
        "max_block_ms": cluster.transaction_timeout_ms,
        "acks": "all",
        # Coordinators are looked up and first asked with a pause of this before each second try; of
        # the default, 100 ms, the first transaction of every process would take four.
        "retry_backoff_ms": 20,
        "compression_type": cluster.compression,
        "max_request_size": _LARGEST_MESSAGE,
        # A commit sends what is there at once; until then, waiting makes few large requests of many
        # small records.
        "batch_size": 256 * 1024,
        "linger_ms": 100,
        "allow_auto_create_topics": False,
    }


def consumer_settings(cluster: Cluster, group: str | None) -> dict[str, Any]:
    """A consumer that sees committed records only and commits nothing by itself."""
    settings = {
        **admin_settings(cluster),
        "group_id": group,
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        # A broker answers at once when there is a record, and after this when there is none.
        "fetch_max_wait_ms": 100,
        # What is fetched ahead, which bounds memory: thousands of maps. A record that is larger
        # comes all the same, alone (KIP-74); the next fetch waits until all of it is handed out.
        "max_partition_fetch_bytes": 1024 * 1024,
        "fetch_max_bytes": 4 * 1024 * 1024,
        # A topic made a moment ago is found within this time.
        "metadata_max_age_ms": 10_000,
        "session_timeout_ms": cluster.session_timeout_ms,
        # Members learn of a rebalance with their next heartbeat. The default of three seconds is
        # what every rebalance would last at least.
        "heartbeat_interval_ms": 500,
        "max_poll_interval_ms": cluster.poll_interval_ms,
    }
    if group is not None and cluster.instance:
        settings["group_instance_id"] = f"{group}.{cluster.instance}"
    return settings
