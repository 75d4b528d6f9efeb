"""What reaches the people who read the log of a process."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from fabpilot.output import configure_logging


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def say() -> None:
    client = logging.getLogger("kafka.net.manager")
    client.error("Connection failed: ECONNREFUSED")
    try:
        raise ValueError("a fault of its own")
    except ValueError:
        client.exception("Unhandled exception in task")
    logging.getLogger("mlflow").warning("something else")


def test_kafkas_client_is_heard_only_about_its_own_faults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(debug=False)
    say()
    said = capsys.readouterr().err
    assert "ECONNREFUSED" not in said
    assert "Unhandled exception in task" in said
    assert "a fault of its own" in said
    assert "something else" in said


def test_debugging_shows_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(debug=True)
    say()
    assert "ECONNREFUSED" in capsys.readouterr().err
