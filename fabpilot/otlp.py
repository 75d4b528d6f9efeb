"""Spans to a collector over OTLP/HTTP, with OpenTelemetry's SDK. Imported only where that is on."""

import logging
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from fabpilot import __version__
from fabpilot.spans import Span

__all__ = ["OtlpExporter"]

_KINDS = {
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}


class _GivenIds(IdGenerator):
    """Ids that were derived before; set for one span at a time."""

    def __init__(self) -> None:
        self.trace = self.span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Ended(SpanProcessor):
    """Keeps what has ended until it is asked for."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        taken, self._spans = self._spans, []
        return taken


class OtlpExporter:
    """Exports batches of spans. Used by one thread; `close` may be called by another.

    The OTEL_* variables of the SDK that docs/tracing.md names are read here, by the SDK.

    Args:
        url: where spans are posted to.
        headers: to be sent along.
        service: what this process is: 'processor', 'controller', ...
        instance: its name among its like.
        site: the fab it works for.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], *, service: str, instance: str, site: str
    ) -> None:
        # It says of every try that it failed; we say once that nobody answers.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(endpoint=url, headers=dict(headers))
        self._ids, self._ended = _GivenIds(), _Ended()
        provider = TracerProvider(
            id_generator=self._ids,
            sampler=ALWAYS_ON,
            resource=Resource.create(
                {
                    "service.namespace": "fabpilot",
                    "service.name": service,
                    "service.version": __version__,
                    "service.instance.id": instance,
                    "fabpilot.site": site,
                }
            ),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("fabpilot", __version__)

    def export(self, spans: Sequence[Span]) -> bool:
        """Send spans; whether they arrived. Tries for OTEL_EXPORTER_OTLP_TIMEOUT at most."""
        for span in spans:
            self._make(span)
        return self._exporter.export(self._ended.take()) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Give up what is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _make(self, span: Span) -> None:
        self._ids.trace, self._ids.span = int(span.trace_id, 16), int(span.span_id, 16)
        context = None
        if span.parent_id:
            parent = NonRecordingSpan(_context(span.trace_id, span.parent_id))
            context = set_span_in_context(parent)
        made = self._tracer.start_span(
            span.name,
            context=context,
            kind=_KINDS[span.kind],
            attributes=span.attributes,
            links=[Link(_context(*link)) for link in span.links],
            start_time=span.start_ns,
        )
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.end_ns)


def _context(trace_id: str, span_id: str) -> SpanContext:
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled)
