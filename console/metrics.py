"""The console's own figures for Prometheus."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from console.views import Strip

__all__ = ["StripCollector", "exposition"]


class StripCollector(Collector):
    """Figures of the strip at the top of every page.

    Args:
        strip: gives them; while the database is away there are none.
    """

    def __init__(self, strip: Callable[[], Strip]) -> None:
        self._strip = strip

    def describe(self) -> list[Metric]:
        """Nothing, so that registering asks for no figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        try:
            strip = self._strip()
        except SQLAlchemyError:
            return
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
    registry.register(StripCollector(lambda: strip))
    return generate_latest(registry)
