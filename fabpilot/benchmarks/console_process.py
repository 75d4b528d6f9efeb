"""The console as its users run it, with accounts and tokens of people and programs to load it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from console.access import accounts, tokens
from console.access.roles import Right, Role
from console.access.sessions import Lifetimes, open_session
from contracts.clock import SystemClock
from contracts.errors import LogUnavailableError
from fabpilot.benchmarks.console_data import SITE
from streaming.deadline import Deadline

__all__ = ["make_registry", "people", "programs", "running_console"]

_START_LIMIT_S = 60.0


def people(engine: Engine, viewers: int) -> list[dict[str, str]]:
    """Session cookies of `viewers` accounts, viewers and engineers in turn, every fourth in Korean.

    All share one password hash: hashing takes long by design and is not what is measured.
    """
    now_ms = SystemClock().now_ms()
    hashed = accounts.hash_password("no matter which")
    found = []
    for number in range(viewers):
        role = (Role.VIEWER, Role.ENGINEER)[number % 2]
        with engine.begin() as connection:
            name = f"person{number}"
            accounts.add(connection, name, role, hashed, by="bench", now_ms=now_ms)
            secret = open_session(connection, name, "127.0.0.1", now_ms, Lifetimes())
        language = ("en", "ko")[number % 4 == 0]
        found.append({"cookie": f"fabpilot_session={secret}; fabpilot_lang={language}"})
    return found


def programs(engine: Engine, clients: int) -> list[dict[str, str]]:
    """Authorization headers of `clients` API tokens; `people` must have made the first account."""
    now_ms = SystemClock().now_ms()
    found = []
    for _ in range(clients):
        with engine.begin() as connection:
            _, secret = tokens.add(
                connection,
                "person0",
                [Right.LOOK],
                days=1,
                purpose="bench",
                by="bench",
                now_ms=now_ms,
            )
        found.append({"authorization": f"Bearer {secret}"})
    return found


def make_registry(home: Path) -> None:
    """Create MLflow's tables, which takes ten seconds once and is not what is measured."""
    subprocess.run(
        [sys.executable, "-m", "fabpilot", "models", "list", "--json"],
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FABPILOT_")}
    return {
        **kept,
        "FABPILOT_HOME": str(home),
        "FABPILOT_AUTH": "local",
        "FABPILOT_SITE": SITE,
    }


@contextmanager
def running_console(home: Path) -> Iterator[tuple[int, int]]:
    """`fabpilot console` on a free port, until the block is left; gives its port and process id.

    Raises:
        LogUnavailableError: it does not start.
    """
    said = home / "console.err"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fabpilot", "console", "--port", "0"],
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = Deadline(_START_LIMIT_S)
        while "console: http" not in said.read_text():
            if process.poll() is not None or deadline.passed:
                raise LogUnavailableError(f"the console does not start:\n{said.read_text()}")
            time.sleep(0.05)
        line = next(one for one in said.read_text().splitlines() if "console: http" in one)
        yield int(line.rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
