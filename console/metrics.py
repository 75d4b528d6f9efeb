"""The console's own figures for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from console.views import Strip

__all__ = ["exposition"]


class _StripCollector(Collector):
    def __init__(self, strip: Strip) -> None:
        self._strip = strip

    def collect(self) -> Iterator[Metric]:
        strip = self._strip
        figures: tuple[tuple[str, str, float | None], ...] = (
            ("wafers", "Wafers with a map in the read model", strip.wafers),
            ("alerts_open", "Alerts that are new or acknowledged", strip.alerts_open),
            (
                "alerts_per_engineer_hour",
                "Alerts raised in the last hour, per engineer deciding",
                strip.alerts_per_hour,
            ),
            ("dead_letters", "Records that could not be processed", strip.dead_letters),
            ("last_wafer_seconds", "Seconds since the last wafer arrived", strip.last_wafer_s),
            ("lag_records", "Records in the log that are not shown yet", strip.lag_records),
            (
                "projector_running",
                "1 if the log is being read",
                1.0 if strip.projector == "running" else 0.0,
            ),
        )
        for name, text, value in figures:
            if value is not None:
                yield GaugeMetricFamily(f"fabpilot_console_{name}", text, value=float(value))


def exposition(strip: Strip) -> bytes:
    """The figures in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_StripCollector(strip))
    return generate_latest(registry)
