"""Which spans follow from what happened to an event. Pure: the times are given.

A trace is about one wafer, one alert or one action (`Event.trace_root`). Every id is derived: the
span of what made an event has the id that the event's `traceparent` says, so what is done again
has the same spans again. docs/tracing.md shows the tree.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import msgspec

from contracts.codec import header
from contracts.events import (
    Action,
    ActionEffect,
    Alert,
    AlertDecision,
    Event,
    Label,
    Prediction,
    ProcessEvent,
    WaferMap,
)
from contracts.ids import derived_id, span_id, trace_id
from contracts.records import Record
from contracts.topics import parse_topic

__all__ = ["Span", "SpanMaker", "picker", "root_id"]

Value = str | int | float | tuple[str, ...]
Link = tuple[str, str]
Kind = Literal["producer", "consumer", "internal"]

# What an event says that helps to find its span, and under which name.
_ATTRIBUTES = {
    "substrate_id": "fabpilot.wafer",
    "lot_id": "fabpilot.lot",
    "step": "fabpilot.step",
    "recipe_id": "fabpilot.recipe",
    "model_name": "fabpilot.model.name",
    "model_version": "fabpilot.model.version",
    "model_sha256": "fabpilot.model.sha256",
    "provider": "fabpilot.model.provider",
    "predicted": "fabpilot.predicted",
    "alert_id": "fabpilot.alert",
    "revision": "fabpilot.alert.revision",
    "severity": "fabpilot.alert.severity",
    "pattern": "fabpilot.alert.pattern",
    "suspect_module": "fabpilot.alert.suspect_module",
    "action_id": "fabpilot.action",
    "status": "fabpilot.status",
    "decision": "fabpilot.decision",
}
_OF_WAFERS, _SHOWN = (Prediction, WaferMap), (Prediction, Alert, AlertDecision, Action, Label)
_BEFORE = {"approved": "proposed", "rejected": "proposed", "applied": "approved"}


class Span(msgspec.Struct, frozen=True):
    """One span.

    Attributes:
        parent_id: '' for the root of a trace.
        start_ns: with `end_ns` wall time, nanoseconds since the epoch.
        links: (trace id, span id) of what it follows from in other traces.
        error: what went wrong, for people; '' if nothing did.
    """

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    links: tuple[Link, ...] = ()
    error: str = ""


def picker(share: float) -> Callable[[str], bool]:
    """Whether a trace is among the `share` of all that are kept; the same answer everywhere.

    As OpenTelemetry's TraceIdRatioBased does: by the low 64 bits of the id.
    """
    bound = round(share * 2**64)
    return lambda trace: int(trace[16:], 16) < bound


def root_id(root: str) -> str:
    """The span id of the root of a trace."""
    return span_id("root", root)


class SpanMaker:
    """Makes the spans of one process.

    Args:
        share: of the traces that is kept, 0 to 1.
        system: what the log is: 'kafka' or 'embedded'.
        group: the consumer group or loop, '' for one that reads nothing.
    """

    def __init__(self, share: float, *, system: str, group: str = "") -> None:
        self._picks = picker(share)
        self._system, self._group = system, group

    def sent(self, event: Event, start_ns: int, end_ns: int) -> Iterator[Span]:
        """A source (a fab, a recording, a person) made an event and put it onto the log."""
        trace = self._trace(event)
        if not trace:
            return
        yield from self._root(event, trace, start_ns, end_ns)
        yield Span(
            f"send {event.stream}",
            "producer",
            trace,
            span_id(event.event_id),
            _earlier(event),
            start_ns,
            end_ns,
            self._sending(event),
        )

    def handled(
        self,
        record: Record,
        event: Event,
        outputs: Sequence[Event],
        start_ns: int,
        end_ns: int,
        scoring_ns: int,
    ) -> Iterator[Span]:
        """A processor made `outputs` of a record; its model took `scoring_ns` for the batch."""
        for output in outputs:
            trace = self._trace(output)
            if trace:
                parent, links = _origin(record, event, trace)
                attributes = self._reading(record, start_ns) | self._saying(output)
                attributes["fabpilot.scoring_ms"] = scoring_ns / 1e6
                made = span_id(output.event_id)
                yield Span(
                    f"score {event.stream}",
                    "consumer",
                    trace,
                    made,
                    parent,
                    start_ns,
                    end_ns,
                    attributes,
                    links,
                )

    def refused(
        self, record: Record, error: Exception, stage: str, start_ns: int, end_ns: int
    ) -> Iterator[Span]:
        """A record became a dead letter, by the loop that dead letters call `stage`."""
        said = _traceparent(record)
        if said is None or not self._picks(said[0]):
            return
        trace, parent = said
        letter = derived_id("dead", stage, record.topic, record.partition, record.offset)
        yield Span(
            f"refuse {parse_topic(record.topic)[1]}",
            "consumer",
            trace,
            span_id(letter),
            parent,
            start_ns,
            end_ns,
            self._reading(record, start_ns) | {"fabpilot.stage": stage},
            error=f"{type(error).__name__}: {error}"[:500],
        )

    def applied(
        self, record: Record, event: Event, outputs: Sequence[Event], start_ns: int, end_ns: int
    ) -> Iterator[Span]:
        """A controller took a record in, and `outputs` followed."""
        trace = trace_id(event.trace_root)
        parent, links = _origin(record, event, trace)
        if isinstance(event, _OF_WAFERS) and self._picks(trace):
            own = span_id("control", event.event_id)
            yield Span(
                f"control {event.stream}",
                "consumer",
                trace,
                own,
                parent,
                start_ns,
                end_ns,
                self._reading(record, start_ns) | self._saying(event),
                links,
            )
            parent = own
        for output in outputs:
            yield from self._followed(output, trace, parent, event, start_ns, end_ns)

    def _followed(
        self, output: Event, trace: str, parent: str, event: Event, start_ns: int, end_ns: int
    ) -> Iterator[Span]:
        if isinstance(output, Alert):
            for wafer in dict.fromkeys(output.affected):
                theirs = trace_id(wafer)
                if self._picks(theirs):
                    yield Span(
                        "alert" if output.revision == 1 else "alert revised",
                        "internal",
                        theirs,
                        span_id("alert", output.event_id, wafer),
                        parent if theirs == trace else root_id(wafer),
                        start_ns,
                        end_ns,
                        self._saying(output) | {"fabpilot.wafer": wafer},
                        ((trace_id(output.trace_root), span_id(output.event_id)),),
                    )
        own = self._trace(output)
        if not own:
            return
        links: tuple[Link, ...] = ()
        if own != trace:
            yield from self._root(output, own, start_ns, end_ns)
            links = ((trace, parent),) if _has_trace(event) else ()
            parent = _earlier(output)
        yield Span(
            f"decide {output.stream}",
            "producer",
            own,
            span_id(output.event_id),
            parent,
            start_ns,
            end_ns,
            self._sending(output),
            links,
        )

    def shown(self, record: Record, event: Event, start_ns: int, end_ns: int) -> Iterator[Span]:
        """A console has taken in what people look at."""
        if not isinstance(event, _SHOWN):
            return
        name = f"show {event.stream}"
        attributes = self._reading(record, start_ns) | self._saying(event)
        if isinstance(event, Alert):
            for wafer in dict.fromkeys(event.affected):
                if self._picks(theirs := trace_id(wafer)):
                    yield Span(
                        name,
                        "consumer",
                        theirs,
                        span_id("show", event.event_id, wafer),
                        span_id("alert", event.event_id, wafer),
                        start_ns,
                        end_ns,
                        attributes | {"fabpilot.wafer": wafer},
                    )
        trace = self._trace(event)
        if trace:
            parent, links = _origin(record, event, trace)
            own = span_id("show", event.event_id)
            yield Span(name, "consumer", trace, own, parent, start_ns, end_ns, attributes, links)

    def _trace(self, event: Event) -> str:
        """The trace of an event; '' if it has none that is kept."""
        if not _has_trace(event):
            return ""
        trace = trace_id(event.trace_root)
        return trace if self._picks(trace) else ""

    def _root(self, event: Event, trace: str, start_ns: int, end_ns: int) -> Iterator[Span]:
        name = _begins(event)
        if name:
            own = root_id(event.trace_root)
            yield Span(name, "internal", trace, own, "", start_ns, end_ns, self._saying(event))

    def _saying(self, event: Event) -> dict[str, Value]:
        found: dict[str, Value] = {
            "fabpilot.site": event.site,
            "fabpilot.event": event.event_id,
            "fabpilot.fab_time_ms": event.time_ms,
        }
        for field, name in _ATTRIBUTES.items():
            value = getattr(event, field, "")
            if value not in ("", ()):
                found[name] = value
        equipment = getattr(event, "equipment_id", "")
        if equipment:
            module = getattr(event, "module_id", "")
            found["fabpilot.module"] = f"{equipment}/{module}" if module else equipment
        return found

    def _sending(self, event: Event) -> dict[str, Value]:
        return self._saying(event) | {
            "messaging.system": self._system,
            "messaging.operation.type": "send",
            "messaging.destination.name": f"fab.{event.site}.{event.stream}",
        }

    def _reading(self, record: Record, start_ns: int) -> dict[str, Value]:
        return {
            "messaging.system": self._system,
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
            # Two clocks that disagree must not make it negative.
            "fabpilot.waited_ms": max(0.0, start_ns / 1e6 - record.timestamp_ms),
        }


def _has_trace(event: Event) -> bool:
    """Whether a trace is about more than this one event."""
    return event.trace_root != event.event_id


def _begins(event: Event) -> str:
    """What the root of an event's trace is called, if the trace begins with it."""
    if isinstance(event, ProcessEvent) and event.phase == "started" and event.sequence == 0:
        return "wafer"
    if isinstance(event, WaferMap) and event.source.startswith("replay:"):
        return "wafer"
    if isinstance(event, Alert) and event.revision == 1:
        return "alert"
    if isinstance(event, Action) and event.status == "proposed":
        return "action"
    return ""


def _earlier(event: Event) -> str:
    """The span that an event follows from in its own trace, as far as the event says."""
    if isinstance(event, Action) and event.status in _BEFORE:
        before = Action.event_id_for(event.action_id, _BEFORE[event.status])  # type: ignore[arg-type]
        return span_id(before)
    if isinstance(event, ActionEffect):
        return span_id(Action.event_id_for(event.action_id, "applied"))
    return root_id(event.trace_root)


def _origin(record: Record, event: Event, trace: str) -> tuple[str, tuple[Link, ...]]:
    """The parent of what follows from a record, and a link to who sent it in another trace.

    A source that is not ours may have a trace of its own in `traceparent`.
    """
    said = _traceparent(record)
    if said is None or said == (trace, span_id(event.event_id)):
        return span_id(event.event_id), ()
    if said[0] == trace:
        return said[1], ()
    return root_id(event.trace_root), (said,)


def _traceparent(record: Record) -> Link | None:
    """Trace and span id of a record's header.

    https://www.w3.org/TR/trace-context/#traceparent-header
    """
    said = header(record.headers, "traceparent")
    parts = said.decode("ascii", "replace").split("-") if said else []
    if len(parts) < 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    try:
        if not (int(parts[1], 16) and int(parts[2], 16)):
            return None
    except ValueError:
        return None
    return parts[1], parts[2]
