"""The services of a site in processes of their own, killed, and started again by a supervisor."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, Protocol

from tests.command_line import Home
from tests.kafka_server import KafkaCluster
from tests.postgres_server import PostgresServer

__all__ = ["Broker", "Command", "Database", "Service", "Supervisor"]

# Docker's first wait before it starts a container again is 0.1 s; a process needs longer to start.
_BACKOFF_S = 0.5
# A service that ends so often by itself does not come up at all.
_MOST_ENDS = 20


class Service(Protocol):
    """Something that runs, can be killed and be started again."""

    name: str

    @property
    def finished(self) -> bool:
        """Whether it ended because its work is done."""

    @property
    def pid(self) -> int:
        """Of its first process, 0 if it does not run."""

    def kill(self) -> None:
        """SIGKILL."""

    def start(self) -> None:
        """Start it (again)."""


class Command:
    """A command of fabpilot.

    Args:
        name: among the services.
        home: where it lives.
        arguments: of `fabpilot`.
        ends: whether it may end by itself, with exit code 0, when its work is done.
    """

    def __init__(self, name: str, home: Home, arguments: Sequence[str], *, ends: bool) -> None:
        self.name = name
        self._home = home
        self._arguments = list(arguments)
        self._ends = ends
        self._process: subprocess.Popen[bytes] | None = None
        self.log = home.folder / f"{name}.log"

    @property
    def finished(self) -> bool:
        """Whether it ended because its work is done."""
        return self._ends and self._process is not None and self._process.poll() == 0

    @property
    def pid(self) -> int:
        """Of the process, 0 if it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Start it (again)."""
        with self.log.open("ab") as said:
            self._process = self._launch(said)

    def stop(self) -> int:
        """Tell it to end; its exit code."""
        assert self._process is not None
        # Nobody starts it again.
        self._ends = True
        self._process.terminate()
        return self._process.wait(60)

    def _launch(self, said: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "fabpilot", *self._arguments],
            env=self._home.environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )


class Broker:
    """Apache Kafka, one node."""

    name = "kafka"
    finished = False

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster

    @property
    def pid(self) -> int:
        """Of the node, 0 if it does not run."""
        return self._cluster.pid(1)

    def kill(self) -> None:
        """SIGKILL."""
        self._cluster.kill(1)

    def start(self) -> None:
        """Start it again; who needs it waits by itself."""
        self._cluster.start_node(1, wait=False)


class Database:
    """PostgreSQL."""

    name = "postgres"
    finished = False

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    @property
    def pid(self) -> int:
        """Of the server's first process, 0 if it does not run."""
        return self._server.pid

    def kill(self) -> None:
        """SIGKILL."""
        self._server.kill()

    def start(self) -> None:
        """Start it again."""
        self._server.start()


class Supervisor:
    """Starts again whatever has ended, as Compose does (`unless-stopped`)."""

    def __init__(self, services: Sequence[Service], running: Sequence[str] = ()) -> None:
        self.services = {service.name: service for service in services}
        self._down_since: dict[str, float] = {}
        self._killed: set[str] = set()
        self._held: set[str] = set()
        self.ended_by_itself: dict[str, int] = {}
        for service in services:
            if service.name not in running:
                service.start()

    def kill(self, name: str) -> None:
        """SIGKILL a service."""
        self._killed.add(name)
        self.services[name].kill()

    def hold(self, name: str) -> None:
        """Do not start a service again before `release`, as if its machine were gone."""
        self._held.add(name)

    def release(self, name: str) -> None:
        """Start it again."""
        self._held.discard(name)

    def look(self) -> None:
        """Start again what has ended long enough ago.

        Raises:
            RuntimeError: a service ends by itself again and again.
        """
        for name, service in self.services.items():
            if service.pid or service.finished or name in self._held:
                continue
            since = self._down_since.setdefault(name, time.monotonic())
            if time.monotonic() - since < _BACKOFF_S:
                continue
            del self._down_since[name]
            if name in self._killed:
                self._killed.remove(name)
            else:
                ends = self.ended_by_itself[name] = self.ended_by_itself.get(name, 0) + 1
                if ends > _MOST_ENDS:
                    raise RuntimeError(f"{name} has ended by itself {ends} times")
            service.start()

    def close(self) -> None:
        """Leave no command behind."""
        for service in self.services.values():
            if isinstance(service, Command):
                with contextlib.suppress(ProcessLookupError):
                    service.kill()
