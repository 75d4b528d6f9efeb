"""Alerts with their human state, and what happened to them."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, or_, select

from console import tables
from console.headline import headline
from console.queries.actions import alert_actions
from console.strings import Strings
from console.views import (
    ActionView,
    AlertDetail,
    AlertView,
    CauseView,
    CommonalityView,
    Page,
    ShiftView,
    TimelineEntry,
)
from contracts.events import Alert

__all__ = [
    "OPEN_STATES",
    "alert_detail",
    "fab_now_ms",
    "list_alerts",
    "state_of",
]

OPEN_STATES = ("new", "acknowledged")
_a, _s, _c = tables.alerts, tables.alert_states, tables.site_clocks

# ISA-18.2 asks for a priority from consequence and time to respond; severity is that priority here.
_PRIORITY = case({"critical": 0, "high": 1, "medium": 2, "low": 3}, value=_a.c.severity, else_=4)


def _fab_now(now_ms: int) -> ColumnElement[int]:
    """The fab's clock now: its latest time, plus what has passed here since it was seen."""
    passed = now_ms - _c.c.wall_ms
    return _c.c.fab_ms + case((passed > 0, passed), else_=0)


def fab_now_ms(connection: Connection, site: str, now_ms: int) -> int:
    """The fab's clock at wall time `now_ms`; the wall clock itself if the site was never seen."""
    found = connection.execute(select(_fab_now(now_ms)).where(_c.c.site == site)).scalar()
    return int(found) if found is not None else now_ms


def state_of(now_ms: int) -> ColumnElement[str]:
    """An alert's state as an expression over alerts, their decisions and the site's clock."""
    return case(
        (_s.c.decision == "resolved", "resolved"),
        (
            and_(
                _s.c.decision == "shelved",
                _s.c.until_ms > func.coalesce(_fab_now(now_ms), now_ms),
            ),
            "shelved",
        ),
        (_a.c.status == "normal", "normal"),
        (_s.c.decision == "acknowledged", "acknowledged"),
        else_="new",
    )


def _select(now_ms: int, *columns: Any) -> Select[Any]:
    joined = _a.outerjoin(_s, _a.c.alert_id == _s.c.alert_id).outerjoin(_c, _a.c.site == _c.c.site)
    return select(*columns).select_from(joined)


_COLUMNS = (
    _a.c.body,
    _a.c.received_ms,
    _s.c.by,
    _s.c.time_ms.label("decided_ms"),
    _s.c.comment,
    _s.c.until_ms,
)


def list_alerts(
    connection: Connection,
    now_ms: int,
    strings: Strings,
    zones: dict[str, str],
    *,
    states: Sequence[str] = (),
    severity: str = "",
    module: str = "",
    site: str = "",
    q: str = "",
    limit: int = 50,
    offset: int = 0,
) -> Page[AlertView]:
    """Alerts by priority, then the most recently raised first."""
    state = state_of(now_ms)
    conditions: list[ColumnElement[bool]] = []
    if states:
        conditions.append(state.in_(states))
    if severity:
        conditions.append(_a.c.severity == severity)
    if module:
        conditions.append(_a.c.suspect_module == module)
    if site:
        conditions.append(_a.c.site == site)
    if q:
        conditions.append(
            or_(
                *(
                    column.icontains(q, autoescape=True)
                    for column in (_a.c.alert_id, _a.c.pattern, _a.c.suspect_module, _a.c.severity)
                )
            )
        )
    total = connection.execute(_select(now_ms, func.count()).where(*conditions)).scalar_one()
    rows = connection.execute(
        _select(now_ms, *_COLUMNS, state.label("state"))
        .where(*conditions)
        .order_by(_PRIORITY, _a.c.received_ms.desc(), _a.c.alert_id)
        .limit(limit)
        .offset(offset)
    ).all()
    actions = alert_actions(connection, [_decode(row).alert_id for row in rows])
    items = [
        AlertView(**_fields(row, strings, zones, actions.get(_decode(row).alert_id, [])))
        for row in rows
    ]
    return Page(items=items, total=total, limit=limit, offset=offset)


def alert_detail(
    connection: Connection, alert_id: str, now_ms: int, strings: Strings, zones: dict[str, str]
) -> AlertDetail | None:
    """One alert with its evidence, actions and timeline; None if nobody knows it."""
    row = connection.execute(
        _select(now_ms, *_COLUMNS, state_of(now_ms).label("state")).where(_a.c.alert_id == alert_id)
    ).first()
    if row is None:
        return None
    alert = _decode(row)
    actions = alert_actions(connection, [alert_id]).get(alert_id, [])
    return AlertDetail(
        **_fields(row, strings, zones, actions),
        affected=list(alert.affected),
        unaffected=list(alert.unaffected),
        at_risk_lots=list(alert.at_risk),
        commonalities=[
            CommonalityView(**msgspec.structs.asdict(one)) for one in alert.commonalities
        ],
        shifts=[ShiftView(**msgspec.structs.asdict(one)) for one in alert.shifts],
        causes=[
            CauseView(
                module=one.module,
                mode=one.mode,
                probability=one.probability,
                evidence=list(one.evidence),
            )
            for one in alert.causes
        ],
        timeline=_timeline(connection, alert_id),
        actions=actions,
    )


def _decode(row: Row[Any]) -> Alert:
    return msgspec.msgpack.decode(row.body, type=Alert)


def _fields(
    row: Row[Any], strings: Strings, zones: dict[str, str], actions: list[ActionView]
) -> dict[str, Any]:
    alert = _decode(row)
    return {
        "alert_id": alert.alert_id,
        "site": alert.site,
        "headline": headline(alert, strings, zones.get(alert.site, "UTC")),
        "state": row.state,
        "severity": alert.severity,
        "kind": alert.kind,
        "pattern": alert.pattern,
        "suspect_module": alert.suspect_module,
        "since_ms": alert.since_ms,
        "time_ms": alert.time_ms,
        "raised_ms": row.received_ms,
        "revision": alert.revision,
        "affected_count": alert.affected_count,
        "examined_count": alert.examined_count,
        "baseline_rate": alert.baseline_rate,
        "confidence": alert.confidence,
        "at_risk": len(alert.at_risk),
        "decided_by": row.by or "",
        "decided_ms": row.decided_ms or 0,
        "comment": row.comment or "",
        "until_ms": row.until_ms or 0 if row.state == "shelved" else 0,
        "action": actions[0] if actions else None,
    }


def _timeline(connection: Connection, alert_id: str) -> list[TimelineEntry]:
    table = tables.timeline
    rows = connection.execute(
        select(table)
        .where(table.c.alert_id == alert_id)
        .order_by(table.c.time_ms, table.c.received_ms, table.c.event_id)
        .limit(2000)
    )
    entries: list[TimelineEntry] = []
    shown: tuple[Any, ...] | None = None
    for row in rows:
        detail = json.loads(row.detail)
        if row.what.startswith("alert.") and "revision" in detail:
            # A revision for every further wafer is no news; a new severity or suspect is.
            news = (row.what, detail["severity"], detail["suspect"])
            if news == shown:
                continue
            shown = news
        entries.append(
            TimelineEntry(
                time_ms=row.time_ms,
                received_ms=row.received_ms,
                what=row.what,
                by=row.by,
                comment=row.comment,
                action_id=row.action_id,
                detail=detail,
            )
        )
    return entries
