"""A Kafka with TLS, passwords and an authorizer; the rights of its users as the docs list them."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from streaming.kafka.settings import admin_settings
from streaming.log import Log
from streaming.open import KafkaAccess, kafka_cluster, open_log
from tests.kafka_server import KafkaCluster, missing

__all__ = [
    "Right",
    "Rights",
    "access",
    "another_authority",
    "documented",
    "environment",
    "log_as",
    "roles",
    "secure_cluster",
    "url",
]

_PAGE = Path(__file__).parents[1] / "docs" / "streaming.md"
_ROW = re.compile(r"^\| (\w+) \| ([a-z ]+) \| `([^`]+)` \| ([A-Za-z, ]+) \|$", re.MULTILINE)


@contextmanager
def secure_cluster(folder: Path) -> Iterator[KafkaCluster]:
    """A node that lets in its own users only; tests are skipped where none can be had."""
    if problem := missing(own=True):
        pytest.skip(problem)
    cluster = KafkaCluster(folder, secure=True, heap_mb=384)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


class Right(NamedTuple):
    """One operation on one resource. A name that ends with '*' is a prefix."""

    resource: str
    name: str
    operation: str


def roles() -> dict[str, list[Right]]:
    """Every role of docs/streaming.md, 'Access', and its rights; names still say <site>."""
    found: dict[str, list[Right]] = {}
    for role, resource, name, operations in _ROW.findall(_PAGE.read_text()):
        found.setdefault(role, []).extend(
            Right(resource, name, operation) for operation in operations.split(", ")
        )
    return found


def documented(role: str, site: str) -> list[Right]:
    """The rights of a role at a site."""
    return [right._replace(name=right.name.replace("<site>", site)) for right in roles()[role]]


def url(kafka: KafkaCluster) -> str:
    """What FABPILOT_LOG says."""
    return f"kafka+tls://{kafka.brokers}"


def access(kafka: KafkaCluster, user: str) -> KafkaAccess:
    """How a user is let in."""
    return KafkaAccess(kafka.ca_file, user, kafka.password_file(user))


def log_as(kafka: KafkaCluster, user: str) -> Log:
    """The log as a user sees it."""
    return open_log(url(kafka), access(kafka, user))


def another_authority(folder: Path) -> Path:
    """The certificate of a cluster that is not here."""
    # Its folder is on the path once tests.kafka_server is imported.
    from kafka_secrets import make_secrets

    make_secrets(folder)
    return folder / "ca.pem"


def environment(kafka: KafkaCluster, user: str) -> dict[str, str]:
    """What a command needs to be let in."""
    return {
        "FABPILOT_LOG": url(kafka),
        "FABPILOT_KAFKA_CA_FILE": str(kafka.ca_file),
        "FABPILOT_KAFKA_USER": user,
        "FABPILOT_KAFKA_PASSWORD_FILE": str(kafka.password_file(user)),
    }


class Rights:
    """What a user may do, given and taken by the administrator."""

    def __init__(self, kafka: KafkaCluster) -> None:
        cluster = kafka_cluster(url(kafka), access(kafka, "admin"))
        assert cluster is not None
        self._admin = KafkaAdminClient(**admin_settings(cluster))

    def only(self, user: str, rights: Iterable[Right]) -> None:
        """Give a user these rights and no others; returns once the broker goes by them."""
        everything = ACLFilter(
            f"User:{user}",
            "*",
            ACLOperation.ANY,
            ACLPermissionType.ANY,
            ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
        )
        wanted = {_rule(user, right) for right in rights}
        present = set(self._admin.describe_acls(everything)[0])
        if wanted - present:
            self._admin.create_acls(list(wanted - present))
        if present - wanted:
            self._admin.delete_acls([_filter(rule) for rule in present - wanted])
        while set(self._admin.describe_acls(everything)[0]) != wanted:
            pass  # each look is a question to the broker

    def close(self) -> None:
        """Let go of the connection."""
        self._admin.close()


def _rule(user: str, right: Right) -> Any:
    prefix = right.name.endswith("*")
    kind = ACLResourcePatternType.PREFIXED if prefix else ACLResourcePatternType.LITERAL
    resource = ResourceType[right.resource.replace(" ", "_").upper()]
    return ACL(
        f"User:{user}",
        "*",
        ACLOperation[right.operation.upper()],
        ACLPermissionType.ALLOW,
        ResourcePattern(resource, right.name.removesuffix("*"), kind),
    )


def _filter(rule: Any) -> Any:
    place = rule.resource_pattern
    return ACLFilter(
        rule.principal,
        rule.host,
        rule.operation,
        rule.permission_type,
        ResourcePatternFilter(place.resource_type, place.resource_name, place.pattern_type),
    )
