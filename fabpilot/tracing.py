"""What the loops tell of each wafer's way, where FABPILOT_OTLP_ENDPOINT asks for it."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from contracts.errors import ConfigError
from contracts.events import Event
from contracts.records import Record
from fabpilot.settings import Settings
from fabpilot.spans import Span, SpanMaker
from streaming.merge import Refused, Taken
from streaming.pipeline import Handled

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from fabpilot.span_sender import SpanSender

__all__ = ["Led", "Tracing", "endpoint_url", "otlp_headers", "tracing"]

_PATH = "/v1/traces"

Led = tuple[Record, Event, Sequence[Event], int]
"""A record that a controller took in, its event, what followed, and when it began (ns)."""


class Tracing:
    """Makes spans of what happened and has them sent. Nothing here waits or raises.

    Args:
        sender: takes the spans.
        maker: makes them.
    """

    def __init__(self, sender: "SpanSender", maker: SpanMaker) -> None:
        self._sender, self._maker = sender, maker

    def sent(self, events: Sequence[tuple[Event, int]], sent_ns: int) -> None:
        """A source put events onto the log; beside each, when it was made."""
        self._sender.offer(
            lambda: [
                span
                for event, made_ns in events
                for span in self._maker.sent(event, made_ns, sent_ns)
            ]
        )

    def decided(self, event: Event) -> None:
        """A person decided something; its event is on its way to the log."""
        now_ns = time.time_ns()
        self.sent([(event, now_ns)], now_ns)

    def handled(self, records: Sequence[Handled]) -> None:
        """A processor committed what became of records."""
        self._sender.offer(lambda: [span for one in records for span in self._of_handled(one)])

    def applied(self, led: Sequence[Led], taken: Sequence[Taken], ended_ns: int) -> None:
        """A controller committed records, and what followed from each."""
        self._sender.offer(
            lambda: [
                span
                for record, event, outputs, began_ns in led
                for span in self._maker.applied(record, event, outputs, began_ns, ended_ns)
            ]
        )
        self._refused(taken, "control", ended_ns, ended_ns)

    def shown(self, taken: Sequence[Taken], began_ns: int, ended_ns: int) -> None:
        """A console committed records to what it shows."""
        self._sender.offer(
            lambda: [
                span
                for one in taken
                if not isinstance(one, Refused)
                for span in self._maker.shown(one.record, one.event, began_ns, ended_ns)
            ]
        )
        self._refused(taken, "console", began_ns, ended_ns)

    def _of_handled(self, one: Handled) -> Iterator[Span]:
        if isinstance(one.answer, Exception):
            return self._maker.refused(
                one.record, one.answer, "process", one.taken_ns, one.committed_ns
            )
        assert one.event is not None
        return self._maker.handled(
            one.record,
            one.event,
            one.answer,
            one.taken_ns,
            one.committed_ns,
            one.ended_ns - one.began_ns,
        )

    def _refused(self, taken: Sequence[Taken], stage: str, began_ns: int, ended_ns: int) -> None:
        refused = [one for one in taken if isinstance(one, Refused)]
        if refused:
            self._sender.offer(
                lambda: [
                    span
                    for one in refused
                    for span in self._maker.refused(
                        one.record, one.error, stage, began_ns, ended_ns
                    )
                ]
            )


@contextmanager
def tracing(
    settings: Settings,
    service: str,
    registry: "CollectorRegistry | None" = None,
    *,
    site: str,
    group: str = "",
) -> Iterator[Tracing | None]:
    """What to tell of wafers to, for as long as the context lasts; None where nobody asked.

    Args:
        settings: where to, and how much.
        service: what this process is called.
        registry: shows what was sent and lost; None for a command that shows no figures.
        site: the fab it works for.
        group: the consumer group or loop it reads as.

    Raises:
        ConfigError: the settings are wrong, or what is needed for it is not installed.
    """
    if not settings.otlp_endpoint:
        yield None
        return
    url, headers = endpoint_url(settings.otlp_endpoint), otlp_headers(settings)
    if find_spec("opentelemetry") is None or not _exporter_there():
        raise ConfigError(
            "FABPILOT_OTLP_ENDPOINT is set, but what sends spans is not installed:"
            " pip install 'fabpilot[otel]', or unset it"
        )
    # Here, because it takes half a second and nobody else needs it.
    from prometheus_client import CollectorRegistry

    from fabpilot.otlp import OtlpExporter
    from fabpilot.span_sender import SpanSender

    exporter = OtlpExporter(
        url,
        headers,
        service=service,
        instance=settings.instance or f"{os.uname().nodename}.{os.getpid()}",
        site=site,
    )
    sender = SpanSender(exporter, registry or CollectorRegistry())
    system = "kafka" if settings.log_url.startswith("kafka") else "embedded"
    try:
        yield Tracing(sender, SpanMaker(settings.otlp_sample, system=system, group=group))
    finally:
        sender.close()


def _exporter_there() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:
        return False


def endpoint_url(endpoint: str) -> str:
    """Where spans are posted to: the endpoint's traces.

    Raises:
        ConfigError: it is no HTTP address.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ConfigError(
            "FABPILOT_OTLP_ENDPOINT: write a collector's address without a password, such as"
            " http://collector:4318; headers that let one in go into FABPILOT_OTLP_HEADERS_FILE"
        )
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def otlp_headers(settings: Settings) -> Mapping[str, str]:
    """The headers in the file that FABPILOT_OTLP_HEADERS_FILE names, a `name: value` a line.

    Raises:
        ConfigError: it cannot be read, or a line is no header.
    """
    headers: dict[str, str] = {}
    for number, line in enumerate((settings.secret("otlp_headers_file") or "").splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip().isascii() or not name.strip().replace("-", "").isalnum():
            raise ConfigError(
                f"FABPILOT_OTLP_HEADERS_FILE: line {number} is no header; write NAME: VALUE"
            )
        headers[name.strip()] = value.strip()
    return headers
