"""A real Apache Kafka for tests and benchmarks: one that all share, or a cluster of one's own.

FABPILOT_KAFKA names brokers to use as the shared one; otherwise deploy/kafka-local starts it when a
test first asks, once for all pytest-xdist workers, and the process that began the tests ends it.
"""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "deploy" / "kafka-local"))

from kafka_cluster import KafkaCluster
from kafka_tools import missing_tools

__all__ = ["KafkaCluster", "begin", "end", "kafka_brokers", "missing", "own_kafka"]

# Where the shared broker lives; set by the process that began the tests, inherited by its workers.
_FOLDER = "_FABPILOT_TEST_KAFKA"


def missing(*, own: bool = False) -> str:
    """Why there is no Kafka here, '' if there is one. `own` asks for one that may be killed."""
    if os.environ.get("FABPILOT_KAFKA") and not own:
        return ""
    problem = missing_tools()
    return problem and f"{problem}, and FABPILOT_KAFKA names no brokers"


def begin() -> None:
    """Say where the shared broker shall live. Nothing is started."""
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix="fabpilot-kafka-")


def end() -> None:
    """Stop the shared broker if it was started, and forget its data."""
    folder = Path(os.environ.pop(_FOLDER))
    if (folder / "ports").exists():
        _shared(folder).stop()
    shutil.rmtree(folder, ignore_errors=True)


def _shared(folder: Path) -> KafkaCluster:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = KafkaCluster(folder)
        cluster.start()
    return cluster


@pytest.fixture(scope="session")
def kafka_brokers() -> str:
    """host:port of the shared broker, which nobody may stop. Use topics of your own."""
    return os.environ.get("FABPILOT_KAFKA") or _shared(Path(os.environ[_FOLDER])).brokers


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaCluster]:
    """A node of the test's own, started; it may be killed."""
    if problem := missing(own=True):
        pytest.skip(problem)
    cluster = KafkaCluster(tmp_path / "kafka")
    cluster.start()
    yield cluster
    cluster.stop()
