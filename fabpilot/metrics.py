"""What a processor shows to Prometheus: throughput, dead letters, lag."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from contracts.errors import ConfigError, LogError
from streaming.log import Log
from streaming.processor import ProcessorReport

__all__ = ["ProcessorMetrics", "serve_metrics"]

# Prometheus asks every fifteen seconds or so; asking the log more often would show nothing more.
_LAG_EVERY_S = 5.0


class ProcessorMetrics:
    """Counters of one processor and the lag of its group. Call it with each report.

    Args:
        group: the consumer group.
        site: the fab.
    """

    def __init__(self, group: str, site: str) -> None:
        self.registry = CollectorRegistry()
        names = ("site", "group")
        values = (site, group)
        self._consumed = Counter(
            "fabpilot_records_consumed",
            "Records read and settled, dead letters included.",
            names,
            registry=self.registry,
        ).labels(*values)
        self._produced = Counter(
            "fabpilot_events_produced", "Events published.", names, registry=self.registry
        ).labels(*values)
        self._dead = Counter(
            "fabpilot_dead_letters",
            "Records that could not be processed.",
            names,
            registry=self.registry,
        ).labels(*values)
        self._lag = Gauge(
            "fabpilot_group_lag_records",
            "Records that the whole group has not committed yet; on Kafka an upper bound, for it"
            " counts the markers of transactions.",
            (*names, "topic", "partition"),
            registry=self.registry,
        )
        self._place = values
        self._before = ProcessorReport()

    def __call__(self, report: ProcessorReport) -> None:
        """Take in how far the processor is."""
        self._consumed.inc(report.consumed - self._before.consumed)
        self._produced.inc(report.produced - self._before.produced)
        self._dead.inc(report.dead_letters - self._before.dead_letters)
        self._before = report

    def look(self, log: Log, group: str, topics: Sequence[str]) -> None:
        """Take in how far the group is behind."""
        done = log.committed(group, topics)
        for partition, end in log.ends(topics).items():
            place = (*self._place, partition.topic, str(partition.partition))
            self._lag.labels(*place).set(end - done.get(partition, 0))


@contextmanager
def serve_metrics(
    metrics: ProcessorMetrics, log: Log, group: str, topics: Sequence[str], port: int
) -> Iterator[int]:
    """Show metrics at 127.0.0.1:`port`/metrics and keep the lag fresh; gives the port.

    Raises:
        ConfigError: the port is taken.
    """
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=metrics.registry)
    except OSError as error:
        raise ConfigError(f"FABPILOT_METRICS_PORT {port}: {error.strerror}") from error
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            # The processor itself says that the log is away; until it is back, the last lag stays.
            with suppress(LogError):
                metrics.look(log, group, topics)
            done.wait(_LAG_EVERY_S)

    looking = threading.Thread(target=look, name="lag", daemon=True)
    looking.start()
    try:
        yield server.server_port
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()
