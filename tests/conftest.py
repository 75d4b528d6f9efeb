"""What every test gets: a clean environment, and markers that say why a test does not run here."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.quiet import keep_libraries_quiet
from tests import kafka_server
from tests.kafka_server import kafka_brokers, own_kafka
from tests.postgres_server import postgres_server, postgres_url

__all__ = ["data_folder", "kafka_brokers", "own_kafka", "postgres_server", "postgres_url"]

# Test modules import libraries before anything of ours that would keep them quiet.
keep_libraries_quiet()

# In CI what is optional for a newcomer is required: a missing browser is a failure there.
_REQUIRED = bool(os.environ.get("CI"))
_KEPT = ("FABPILOT_DATA", "FABPILOT_KAFKA")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """No setting of the person who runs the tests reaches them."""
    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if name.startswith("FABPILOT_") and name not in _KEPT:
            patch.delenv(name)
    yield
    patch.undo()


def data_folder() -> Path:
    """The folder with the public data sets, whether it exists or not."""
    return Path(os.environ.get("FABPILOT_DATA", "../shared/data"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, with the reason."""
    if item.get_closest_marker("data") and not data_folder().is_dir():
        pytest.skip(f"no public data in {data_folder()}; FABPILOT_DATA names their folder")
    if item.get_closest_marker("kafka") and (problem := kafka_server.missing()):
        if _REQUIRED:
            pytest.fail(f"Kafka is required in CI: {problem}")
        pytest.skip(problem)
    if item.get_closest_marker("browser") and not shutil.which("chromium"):
        if _REQUIRED:
            pytest.fail("Chromium is required in CI; .ci/run installs it")
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")


def pytest_configure(config: pytest.Config) -> None:
    """The process that began the tests, not one of its workers, owns the shared Kafka."""
    if not hasattr(config, "workerinput"):
        kafka_server.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the shared Kafka."""
    if not hasattr(config, "workerinput"):
        kafka_server.end()
