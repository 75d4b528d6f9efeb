"""How our Kafka clients are set up, each setting with its reason."""

from typing import Any

from contracts.codec import DEAD_LETTER_ENVELOPE
from contracts.topics import MAX_RECORD_BYTES

__all__ = [
    "CALL_LIMIT_S",
    "MAX_MESSAGE_BYTES",
    "admin_settings",
    "consumer_settings",
    "producer_settings",
]

# A record's value, twice the dead-letter envelope (for a letter's own fields, and for the key and
# headers), and Kafka's framing. Kafka's own default is 1 MiB.
MAX_MESSAGE_BYTES = MAX_RECORD_BYTES + 2 * DEAD_LETTER_ENVELOPE + 4096

# A process that dies within a transaction holds up read-committed readers for as long as this:
# the default is a minute. Ours take well under a second.
_TRANSACTION_TIMEOUT_MS = 15_000
# How long transaction calls, which Kafka's client does not limit, may take; longer than the
# transaction may live, so that their outcome is certain by then.
CALL_LIMIT_S = 30.0
_BOOTSTRAP_TIMEOUT_MS = 15_000


def admin_settings(brokers: str) -> dict[str, Any]:
    """For topics, offsets and ends."""
    return {
        "bootstrap_servers": brokers.split(","),
        "client_id": "fabpilot",
        "bootstrap_timeout_ms": _BOOTSTRAP_TIMEOUT_MS,
    }


def producer_settings(brokers: str, transactional_id: str, compression: str) -> dict[str, Any]:
    """An idempotent, transactional producer."""
    return {
        **admin_settings(brokers),
        "transactional_id": transactional_id,
        "transaction_timeout_ms": _TRANSACTION_TIMEOUT_MS,
        # No longer than the transaction that needs it.
        "delivery_timeout_ms": _TRANSACTION_TIMEOUT_MS,
        "request_timeout_ms": _TRANSACTION_TIMEOUT_MS - 1000,
        "max_block_ms": _TRANSACTION_TIMEOUT_MS,
        "acks": "all",
        "compression_type": compression,
        "max_request_size": MAX_MESSAGE_BYTES,
        # We send in batches: a little waiting makes few large requests of them.
        "batch_size": 256 * 1024,
        "linger_ms": 5,
        "allow_auto_create_topics": False,
    }


def consumer_settings(brokers: str, group: str | None) -> dict[str, Any]:
    """A consumer that sees committed records only and commits nothing by itself."""
    return {
        **admin_settings(brokers),
        "group_id": group,
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "fetch_max_wait_ms": 100,
        "max_partition_fetch_bytes": MAX_MESSAGE_BYTES,
        # A topic made a moment ago is found within this time.
        "metadata_max_age_ms": 10_000,
        # Takes over from a member that hangs or was killed; must outlast a pause of the process.
        "session_timeout_ms": 15_000,
    }
