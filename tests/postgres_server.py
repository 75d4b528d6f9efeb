"""A real PostgreSQL server on a free loopback port, and a fresh database for each test.

The programs are Debian's (`apt-get install postgresql`); no server needs to be running. Each test
process starts one of its own when a test first asks for it, so that a test may restart or kill it.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Literal, LiteralString

import psycopg
import pytest
from psycopg import sql

__all__ = [
    "PASSWORD",
    "USER",
    "PostgresServer",
    "free_port",
    "postgres_server",
    "postgres_url",
    "programs",
]

USER, PASSWORD = "fabpilot", "only-for-tests"
Mode = Literal["smart", "fast", "immediate"]

# pg_ctl(1): what its stop modes send to the server.
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# Recovery after a kill reads little here; this is for a machine that has other things to do.
_START_S = 60.0
_SMALL = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_wal_size": "64MB",
    "max_connections": "60",
    "lc_messages": "C",
}


@cache
def programs() -> Path | None:
    """The folder with initdb and postgres, of the newest version there is."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: float(path.parent.parent.name),
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def free_port() -> int:
    """A loopback port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """A server with its data in a folder of its own; nothing runs before `start`.

    PostgreSQL refuses to run as root, so for root the server belongs to the user `postgres`.
    """

    def __init__(self) -> None:
        bin_folder = programs()
        assert bin_folder is not None, "no PostgreSQL here (Debian: apt-get install postgresql)"
        self._bin = bin_folder
        self._user = "postgres" if os.geteuid() == 0 else None
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # Not below pytest's folder: that one is closed to other users.
        self._folder = Path(tempfile.mkdtemp(prefix="fabpilot-postgres-"))
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)

    @property
    def pid(self) -> int:
        """Of the server's first process, 0 if it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Start and wait until it takes connections. Makes the data folder the first time."""
        if not (self._folder / "data").exists():
            self._make()
        deadline = time.monotonic() + _START_S
        # After a kill the old server's children hold its shared memory for a moment longer, and a
        # new one ends at once; then it is tried again.
        while not self._started(deadline):
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def stop(self, mode: Mode = "fast") -> None:
        """Stop as an administrator would; 'fast' rolls back what is under way."""
        self._end(_SIGNALS[mode])

    def kill(self) -> None:
        """End the server as a lack of memory or a loss of power would."""
        self._end(signal.SIGKILL)

    def restart(self, mode: Mode = "fast") -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop and remove the data. May be called twice."""
        self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_database(self, template: str = "template1") -> str:
        """A new database, a copy of one that nobody is connected to; its name."""
        name = f"t{uuid.uuid4().hex}"
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def output(self) -> str:
        """What the server said last."""
        path = self._folder / "server.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def _administer(self, command: LiteralString, *names: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host="127.0.0.1",
            port=self._port,
            user=USER,
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def _make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run(
            [
                self._bin / "initdb",
                f"--pgdata={self._folder / 'data'}",
                f"--username={USER}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                # The server itself syncs as it does by default.
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            **self._as_owner(),
        )

    def _as_owner(self) -> dict[str, str | list[str] | Path]:
        identity = {"user": self._user, "group": self._user, "extra_groups": []}
        # The working directory may be closed to that user.
        return {"cwd": self._folder, **(identity if self._user else {})}  # type: ignore[dict-item]

    def _started(self, deadline: float) -> bool:
        settings = [f"--{name}={value}" for name, value in _SMALL.items()]
        with (self._folder / "server.log").open("ab") as said:
            self._process = self._launch([f"--port={self._port}", *settings], said)
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                self._connect().close()
                return True
            except psycopg.OperationalError:
                time.sleep(0.02)
        return False

    def _launch(self, options: list[str], said: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self._bin / "postgres", "-D", self._folder / "data", *options],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            **self._as_owner(),
        )

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(_START_S)
        self._process = None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server; whoever stops it must start it again."""
    if programs() is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is required in CI; .ci/run installs it")
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)
