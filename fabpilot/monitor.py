"""What a process shows of itself: /metrics to Prometheus, /healthz to whoever started it.

A process is well while its loop turns and nothing it has in hand stays there. A loop that waits for
a log or a database that is away does not turn, so whoever asks learns of that too; it goes on by
itself once they are back.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import ConfigError, LogError
from fabpilot import __version__
from fabpilot.settings import Settings

__all__ = ["Monitor"]

_log = structlog.get_logger(__name__)

# Prometheus asks every fifteen seconds or so; asking the log more often would show nothing more.
_LOOK_EVERY_S = 5.0
# A turn takes a quarter of a second, a commit to a broker that fails over 20 s: well over both.
_STALLED_AFTER_S = 60.0
# A client that connects and says nothing holds a thread; it is let go.
_CLIENT_TIMEOUT_S = 10.0


class Health(msgspec.Struct, frozen=True):
    """What /healthz answers: whether all is well, and why not."""

    ok: bool
    reason: str = ""


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        """Without the look for our own name of `HTTPServer`, which may ask a name server."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)


class Monitor:
    """Registry, heartbeat and page of one process.

    Args:
        settings: port, address and home.
        process: what it is: 'processor', 'controller', 'fab' or 'console'.
        clock: seconds, monotonic; for tests.
    """

    def __init__(
        self, settings: Settings, process: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.registry = CollectorRegistry()
        self._settings = settings
        self._clock = clock
        self._began = clock()
        self._beat: float | None = None
        self._looks: list[Callable[[], None]] = []
        self._checks: list[Callable[[], str]] = []
        ProcessCollector(registry=self.registry)
        Gauge(
            "fabpilot_build_info",
            "1 for the version that runs.",
            ("process", "version"),
            registry=self.registry,
        ).labels(process, __version__).set(1)
        Gauge(
            "fabpilot_turn_age_seconds",
            "How long ago the loop turned last; seconds since the start before it first did.",
            registry=self.registry,
        ).set_function(self.turn_age_s)
        free = Gauge(
            "fabpilot_disk_free_bytes",
            "Room left where this process keeps its files.",
            registry=self.registry,
        )
        total = Gauge(
            "fabpilot_disk_bytes", "Size of the disk it keeps them on.", registry=self.registry
        )

        def look_at_disk() -> None:
            if settings.home.exists():
                usage = shutil.disk_usage(settings.home)
                free.set(usage.free)
                total.set(usage.total)

        self.look(look_at_disk)

    def beat(self) -> None:
        """The loop has turned."""
        self._beat = self._clock()

    def turn_age_s(self) -> float:
        """Seconds since the last turn."""
        return self._clock() - (self._began if self._beat is None else self._beat)

    def look(self, look: Callable[[], None]) -> None:
        """Have `look` called every few seconds to set gauges; a log that is away is no matter."""
        self._looks.append(look)

    def check(self, check: Callable[[], str]) -> None:
        """Ask `check` for health as well; it gives what is wrong, or ''."""
        self._checks.append(check)

    def health(self) -> Health:
        """Whether this process does its work."""
        if self._beat is None:
            return Health(False, "not at work yet")
        if (age := self.turn_age_s()) > _STALLED_AFTER_S:
            return Health(False, f"the loop has not turned for {age:.0f} s; the log says why")
        for check in self._checks:
            if reason := check():
                return Health(False, reason)
        return Health(True)

    @contextmanager
    def serve(self) -> Iterator[int]:
        """Show it at FABPILOT_METRICS_PORT, if that is set; gives the port, 0 for none.

        Raises:
            ConfigError: the port is taken.
        """
        if not self._settings.metrics_port:
            yield 0
            return
        with self.serve_at(self._settings.metrics_host, self._settings.metrics_port) as port:
            yield port

    @contextmanager
    def serve_at(self, host: str, port: int) -> Iterator[int]:
        """Show it at an address; port 0 takes a free one.

        Raises:
            ConfigError: the port is taken.
        """
        try:
            server = _Server((host, port), _handler(self))
        except OSError as error:
            raise ConfigError(f"FABPILOT_METRICS_PORT {port}: {error.strerror}") from error
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                for one in self._looks:
                    # The loop itself says that the log or the database is away; until they are
                    # back, the last figures stay.
                    with suppress(LogError, SQLAlchemyError, OSError):
                        one()
                done.wait(_LOOK_EVERY_S)

        threads = [
            threading.Thread(target=server.serve_forever, name="metrics", daemon=True),
            threading.Thread(target=look, name="looks", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield server.server_port
        finally:
            done.set()
            server.shutdown()
            server.server_close()
            for thread in threads:
                thread.join()


def _handler(monitor: Monitor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_TIMEOUT_S
        server_version = "fabpilot"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(monitor.registry))
            elif self.path == "/healthz":
                health = monitor.health()
                body = msgspec.json.encode(health) + b"\n"
                self._answer(200 if health.ok else 503, "application/json", body)
            else:
                self._answer(404, "text/plain", b"here are /metrics and /healthz\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A line a scrape would bury everything else."""

    return Handler
