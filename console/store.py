"""Keeps the read model: events in, upserts out, whatever the order and however often they come.

Every table merges so that the result depends on the set of events alone: the later event wins by
its own time and id, never by arrival. Projecting a batch twice changes nothing, so the loop that
feeds this may repeat itself after a crash.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, Table, case, delete, select, tuple_

from console import tables
from console.projections import rows_of
from console.snapshots import Rows
from console.upsert import Row, larger, later, next_numbers, upsert
from contracts.errors import DataError
from contracts.events import Event
from contracts.records import Record
from contracts.topics import Stream
from streaming.database import insert_missing

__all__ = ["ArrivedEvent", "announce", "project", "write"]

MAX_WAFERS = 20_000
"""About a day of a large fab; older wafers are in the log and in the data lake."""
# A box of 25 wafers gives 25 traces a module and recipe; two boxes are a fair "recently".
MAX_TRACES = 60
# Oldest rows beyond these are dropped: what a person scrolls through, not what is archived.
_BOUNDS = {
    "review_images": ("time_ms", 500),
    "timeline": ("time_ms", 100_000),
    "module_states": ("time_ms", 50_000),
    "dead_letters": ("time_ms", 5_000),
    # A chart page draws 300 points; a module has tens of charts.
    "chart_points": ("time_ms", 100_000),
    "charts": ("time_ms", 10_000),
    "virtual_metrology": ("time_ms", 50_000),
    "judgements": ("time_ms", 50_000),
    "r2r_runs": ("time_ms", 50_000),
    "r2r_threads": ("time_ms", 5_000),
    "changes": ("id", 10_000),
}
# How many announcements lie between two looks at those bounds.
_SWEEP_EVERY = 256

_TOPICS = {
    Stream.ALERTS: "alerts",
    Stream.ACTIONS: "actions",
    Stream.WAFER_MAPS: "wafers",
    Stream.PREDICTIONS: "wafers",
    Stream.PROCESS: "equipment",
    Stream.EQUIPMENT: "equipment",
    Stream.TRACES: "equipment",
    Stream.METROLOGY: "wafers",
    Stream.REVIEW_IMAGES: "wafers",
    Stream.LABELS: "labels",
    Stream.RISKS: "risks",
    Stream.CHARTS: "charts",
    Stream.JUDGEMENTS: "charts",
    Stream.DEAD_LETTERS: "health",
}

_log = structlog.get_logger(__name__)


class ArrivedEvent(Protocol):
    """A record and the event in it, as the stateful loop hands them over."""

    @property
    def record(self) -> Record:
        """Where it came from."""
        ...

    @property
    def event(self) -> Event:
        """What it says."""
        ...


def project(connection: Connection, arrived: Sequence[ArrivedEvent]) -> list[Event]:
    """Bring the read model up to date with `arrived`, inside the caller's transaction.

    An event that contradicts itself is left out and logged: its processor has sent it to the dead
    letters, which are shown. Retention is kept to `MAX_WAFERS` and the bounds beside it.

    Returns:
        Nothing to publish, always.
    """
    rows: Rows = []
    topics: set[tuple[str, str]] = set()
    clocks: list[Row] = []
    for item in arrived:
        event, record = item.event, item.record
        try:
            rows += rows_of(event, record)
        except DataError as error:
            _log.warning("event left out", event_id=event.event_id, reason=str(error))
            continue
        topics.add((_TOPICS[event.stream], _subject(event)))
        clocks.append({"site": event.site, "fab_ms": event.time_ms, "wall_ms": record.timestamp_ms})
    write(connection, rows)
    clocks.sort(key=lambda row: str(row["site"]))  # rows are locked in one order by everybody
    upsert(connection, tables.site_clocks, clocks, newer=later("fab_ms", "wall_ms"))
    announce(connection, sorted(topics))
    return []


def _subject(event: Event) -> str:
    """What a browser needs to know: which alert or action, otherwise only which site."""
    return str(getattr(event, "alert_id", "")) or event.site


def write(connection: Connection, rows: Rows) -> None:
    """Merge projected rows into their tables and keep the bounds."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for name, row in rows:
        grouped[name].append(row)
    if "wafers" in grouped:
        _write_wafers(connection, grouped.pop("wafers"))
    for name in sorted(grouped, key=_LOCKING_ORDER.__getitem__):
        table, table_rows = tables.metadata.tables[f"console_{name}"], grouped[name]
        if name in _ONCE:
            insert_missing(connection, table, table_rows)
        elif name == "steps":
            upsert(connection, table, table_rows, merge=_merge_step)
        elif name == "charts":
            upsert(connection, table, table_rows, merge=_merge_chart)
        elif name == "alerts":
            upsert(connection, table, table_rows, merge=_merge_alert)
        elif name == "traces":
            _write_traces(connection, table_rows)
        else:
            upsert(connection, table, table_rows, newer=later(*_ORDER[name]))


# One order for all who write, in which an alert comes before what belongs to it, as in `decisions`:
# PostgreSQL would otherwise now and then find two of them waiting for each other, and end one.
_LOCKING_ORDER = {
    name.removeprefix("console_"): place for place, name in enumerate(tables.metadata.tables)
}
# Each event is a row of its own.
_ONCE = frozenset(
    {
        "chart_points",
        "dead_letters",
        "judgements",
        "metrology",
        "module_states",
        "r2r_runs",
        "review_images",
        "timeline",
        "virtual_metrology",
    }
)
# By what an event is later than another of the same subject.
_ORDER = {
    "automation": ("time_ms", "event_id"),
    "effects": ("time_ms", "event_id"),
    "r2r_threads": ("time_ms", "event_id"),
    "risks": ("time_ms", "event_id"),
    "wafer_risks": ("sequence", "time_ms", "event_id"),
    "wafer_maps": ("time_ms", "event_id"),
    "predictions": ("time_ms", "version_rank", "event_id"),
    "modules": ("time_ms", "event_id"),
    "alert_states": ("time_ms", "event_id"),
    "actions": ("rank", "time_ms", "event_id"),
    "labels": ("time_ms", "event_id"),
}


def _merge_step(table: Table, new: Any) -> dict[str, Any]:
    return {
        name: case((new[name].is_not(None), new[name]), else_=table.c[name])
        for name in ("started_ms", "completed_ms")
    }


def _merge_chart(table: Table, new: Any) -> dict[str, Any]:
    newer = later("time_ms", "event_id")(table, new)
    merged: dict[str, Any] = {
        column.name: case((newer, new[column.name]), else_=table.c[column.name])
        for column in table.c
        if not column.primary_key
    }
    return merged | {"out_ms": larger(table, new, "out_ms")}


def _merge_alert(table: Table, new: Any) -> dict[str, Any]:
    newer = new["revision"] > table.c.revision
    kept = {"alert_id", "received_ms", "lock"}
    merged = {
        column.name: case((newer, new[column.name]), else_=table.c[column.name])
        for column in table.c
        if column.name not in kept
    }
    first = case(
        (new["received_ms"] < table.c.received_ms, new["received_ms"]), else_=table.c.received_ms
    )
    return merged | {"received_ms": first}


def _merge_wafer(table: Table, new: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {
        name: larger(table, new, name) for name in ("lot_id", "product", "slot", "fab_ms")
    }
    merged["received_ms"] = case(
        (new["received_ms"] < table.c.received_ms, new["received_ms"]), else_=table.c.received_ms
    )
    return merged


def _write_wafers(connection: Connection, rows: list[Row]) -> None:
    first = next_numbers(connection, "wafers", len(rows))
    for number, row in enumerate(rows, start=first):
        row["seen"] = number
    wafers = tables.wafers
    upsert(connection, wafers, rows, merge=_merge_wafer)
    newest_to_drop = connection.execute(
        select(wafers.c.seen).order_by(wafers.c.seen.desc()).offset(MAX_WAFERS).limit(1)
    ).scalar()
    if newest_to_drop is None:
        return
    dropped = select(wafers.c.site, wafers.c.substrate_id).where(wafers.c.seen <= newest_to_drop)
    for table in (
        tables.steps,
        tables.wafer_maps,
        tables.predictions,
        tables.metrology,
        tables.review_images,
        tables.risks,
        tables.wafer_risks,
    ):
        key = tuple_(table.c.site, table.c.substrate_id)
        connection.execute(delete(table).where(key.in_(dropped)))
    connection.execute(delete(wafers).where(wafers.c.seen <= newest_to_drop))


def _write_traces(connection: Connection, rows: list[Row]) -> None:
    places: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        places[row["site"], row["module"], row["recipe_id"]].append(row)
    traces = tables.traces
    for (site, module, recipe_id), here in places.items():
        # Rows that this batch itself makes obsolete need not be written.
        here.sort(key=lambda row: (row["time_ms"], row["event_id"]))
        insert_missing(connection, traces, here[-MAX_TRACES:])
        place = (
            (traces.c.site == site)
            & (traces.c.module == module)
            & (traces.c.recipe_id == recipe_id)
        )
        kept = (
            select(traces.c.event_id)
            .where(place)
            .order_by(traces.c.time_ms.desc(), traces.c.event_id.desc())
            .limit(MAX_TRACES)
        )
        connection.execute(delete(traces).where(place & traces.c.event_id.not_in(kept)))


def announce(connection: Connection, topics: Iterable[tuple[str, str]]) -> None:
    """Tell browsers what changed: (topic, subject) pairs, numbered in commit order."""
    listed = list(topics)
    if not listed:
        return
    first = next_numbers(connection, "changes", len(listed))
    connection.execute(
        tables.changes.insert(),
        [
            {"id": number, "topic": topic, "subject": subject[:200]}
            for number, (topic, subject) in enumerate(listed, start=first)
        ],
    )
    if first // _SWEEP_EVERY != (first + len(listed)) // _SWEEP_EVERY:
        _sweep(connection)


def _sweep(connection: Connection) -> None:
    for name, (column, bound) in _BOUNDS.items():
        table = tables.metadata.tables[f"console_{name}"]
        newest_to_drop = connection.execute(
            select(table.c[column]).order_by(table.c[column].desc()).offset(bound).limit(1)
        ).scalar()
        if newest_to_drop is not None:
            connection.execute(delete(table).where(table.c[column] <= newest_to_drop))
