"""What concerns all pages: the strip, the last shift, dead letters, the audit trail, changes."""

from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, case, func, select

from console import tables
from console.queries.alerts import OPEN_STATES, state_of
from console.queries.automation import automation
from console.views import AuditEntry, DeadLetterView, Page, ShiftPoint, Strip
from contracts.records import TopicPartition

__all__ = [
    "audit_trail",
    "changes_after",
    "dead_letter_place",
    "dead_letters",
    "last_change",
    "last_shift",
    "strip",
]

_HOUR_MS = 3_600_000
SHIFT_HOURS = 8
_SLICE_MS = _HOUR_MS // 2

Projector = Literal["running", "stopped", "off"]


def strip(
    connection: Connection,
    now_ms: int,
    *,
    sites: list[str],
    model: str,
    device: str,
    projector: Projector,
    lag_records: int | None,
) -> Strip:
    """The figures at the top of every page."""
    maps, alerts, clocks = tables.wafer_maps, tables.alerts, tables.site_clocks
    last = connection.execute(select(func.max(maps.c.received_ms))).scalar()
    fab_ms = connection.execute(select(func.max(clocks.c.fab_ms))).scalar()
    open_alerts = connection.execute(
        select(func.count())
        .select_from(
            alerts.outerjoin(
                tables.alert_states, alerts.c.alert_id == tables.alert_states.c.alert_id
            ).outerjoin(clocks, alerts.c.site == clocks.c.site)
        )
        .where(state_of(now_ms).in_(OPEN_STATES))
    ).scalar_one()
    raised = connection.execute(
        select(func.count()).where(alerts.c.received_ms > now_ms - _HOUR_MS)
    ).scalar_one()
    audit = tables.audit
    # ISA-18.2 counts alarms per operator: whoever decided anything this shift is on duty.
    engineers = connection.execute(
        select(func.count(audit.c.who.distinct())).where(
            audit.c.time_ms > now_ms - SHIFT_HOURS * _HOUR_MS, *_decisions()
        )
    ).scalar_one()
    return Strip(
        sites=sites,
        now_ms=now_ms,
        fab_ms=fab_ms,
        last_wafer_s=None if last is None else max(0.0, (now_ms - last) / 1000),
        lag_records=lag_records,
        wafers=_count(connection, maps),
        alerts_open=open_alerts,
        alerts_per_hour=raised / max(1, engineers),
        dead_letters=_count(connection, tables.dead_letters),
        model=model,
        device=device,
        projector=projector,
        automation=automation(connection, sites),
    )


def _count(connection: Connection, table: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def last_shift(connection: Connection, site: str = "") -> list[ShiftPoint]:
    """Yield, predicted patterns and risk over the last eight hours of fab time, by half hour."""
    maps, predictions = tables.wafer_maps, tables.predictions
    here = _at(maps, site)
    ends = [
        connection.execute(select(func.max(table.c.time_ms)).where(_at(table, site))).scalar()
        for table in (maps, tables.risks)
    ]
    end = max((one for one in ends if one is not None), default=None)
    if end is None:
        return []
    first_slice = end // _SLICE_MS - SHIFT_HOURS * _HOUR_MS // _SLICE_MS + 1
    # `//` is integer division in both databases.
    number = maps.c.time_ms // _SLICE_MS
    rows = connection.execute(
        select(
            number.label("slice"),
            func.count().label("wafers"),
            func.sum(maps.c.good).label("good"),
            func.sum(maps.c.good + maps.c.bad).label("dies"),
            func.count(predictions.c.event_id).label("predicted"),
            func.sum(case((predictions.c.pattern != "None", 1), else_=0)).label("patterned"),
        )
        .select_from(
            maps.outerjoin(
                predictions,
                (maps.c.site == predictions.c.site)
                & (maps.c.substrate_id == predictions.c.substrate_id),
            )
        )
        .where(here, maps.c.time_ms >= first_slice * _SLICE_MS)
        .group_by(number)
    )
    by_slice = {int(row.slice): row for row in rows}
    risks = _risk_by_slice(connection, site, first_slice)
    points = []
    for index in range(first_slice, end // _SLICE_MS + 1):
        row = by_slice.get(index)
        points.append(
            ShiftPoint(
                time_ms=index * _SLICE_MS,
                wafers=row.wafers if row else 0,
                yield_percent=100 * row.good / row.dies if row and row.dies else None,
                pattern_percent=(
                    100 * row.patterned / row.predicted if row and row.predicted else None
                ),
                risk_percent=risks.get(index),
            )
        )
    return points


def _at(table: Any, site: str) -> ColumnElement[bool]:
    here: ColumnElement[bool] = table.c.site == site if site else table.c.site != ""
    return here


def _risk_by_slice(connection: Connection, site: str, first_slice: int) -> dict[int, float]:
    """Mean risk, in percent, of the wafers that finished a step in a slice."""
    risks = tables.risks
    number = risks.c.time_ms // _SLICE_MS
    rows = connection.execute(
        select(number, func.avg(risks.c.any_pattern))
        .where(_at(risks, site), risks.c.time_ms >= first_slice * _SLICE_MS)
        .group_by(number)
    )
    return {int(index): 100 * risk for index, risk in rows}


def dead_letters(connection: Connection, limit: int, offset: int) -> Page[DeadLetterView]:
    """Records that could not be processed, the latest first."""
    table = tables.dead_letters
    rows = connection.execute(
        select(table).order_by(table.c.time_ms.desc(), table.c.event_id).limit(limit).offset(offset)
    )
    items = [
        DeadLetterView(
            event_id=row.event_id,
            site=row.site,
            time_ms=row.time_ms,
            source=f"{row.source_topic}/{row.source_partition}@{row.source_offset}",
            size_bytes=row.size_bytes,
            error=row.error,
            reason=row.reason,
            stage=row.stage,
            replayed_by=row.replayed_by,
        )
        for row in rows
    ]
    return Page(items=items, total=_count(connection, table), limit=limit, offset=offset)


def dead_letter_place(connection: Connection, event_id: str) -> tuple[TopicPartition, int] | None:
    """Where in the log a dead letter is, or None if it is not stored."""
    table = tables.dead_letters
    row = connection.execute(
        select(table.c.topic, table.c.partition, table.c.offset).where(table.c.event_id == event_id)
    ).first()
    return (TopicPartition(row.topic, row.partition), row.offset) if row else None


def _decisions() -> list[ColumnElement[bool]]:
    """Of the audit trail what is about the fab, not about who may see it."""
    what = tables.audit.c.what
    return [what.not_like(f"{about}%") for about in ("account.", "login.", "logout", "token.")]


def audit_trail(
    connection: Connection, limit: int, offset: int, subject: str = "", *, decisions: bool = False
) -> Page[AuditEntry]:
    """Who decided what, the latest first; with `decisions` without logins and accounts."""
    table = tables.audit
    where = [table.c.subject == subject] if subject else []
    if decisions:
        where += _decisions()
    total = connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()
    rows = connection.execute(
        select(table).where(*where).order_by(table.c.id.desc()).limit(limit).offset(offset)
    )
    items = [
        AuditEntry(**{name: row._mapping[name] for name in AuditEntry.model_fields}) for row in rows
    ]
    return Page(items=items, total=total, limit=limit, offset=offset)


def last_change(connection: Connection) -> int:
    """The number of the latest announced change; 0 before the first."""
    return int(connection.execute(select(func.max(tables.changes.c.id))).scalar() or 0)


def changes_after(connection: Connection, number: int, limit: int) -> list[tuple[int, str, str]]:
    """(number, topic, subject) of changes after `number`, oldest first."""
    table = tables.changes
    rows = connection.execute(
        select(table.c.id, table.c.topic, table.c.subject)
        .where(table.c.id > number)
        .order_by(table.c.id)
        .limit(limit)
    )
    return [(row.id, row.topic, row.subject) for row in rows]
