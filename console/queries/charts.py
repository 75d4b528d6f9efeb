"""Control charts: a list with the abnormal first, and one chart with its points."""

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from console import tables
from console.steering_views import (
    ChartCard,
    ChartDetail,
    ChartPointView,
    ChartView,
    ContributionView,
)
from console.views import Page

__all__ = ["chart_counts", "chart_detail", "chart_points", "list_charts"]

# What a chart 900 pixels wide can show apart.
POINTS = 300
# For a glance in a list of charts.
RECENT = 40
# As many modules of one kind as fit on a page side by side.
_SIBLINGS = 12
# A chart that was out this long ago is looked at before one that never was.
_RECENTLY_MS = 24 * 3_600_000

_c, _points = tables.charts, tables.chart_points

_OUT = _c.c.rules != "[]"


def _recently_out() -> ColumnElement[bool]:
    return (_c.c.out_ms > 0) & (_c.c.out_ms > _c.c.time_ms - _RECENTLY_MS)


def _state() -> ColumnElement[str]:
    return case(
        (_OUT, "out"), (_recently_out(), "recent"), (_c.c.phase == 1, "learning"), else_="in"
    )


_RANK = case((_OUT, 0), (_recently_out(), 1), else_=2)


def list_charts(
    connection: Connection,
    *,
    site: str = "",
    module: str = "",
    kind: str = "",
    chart: str = "",
    without: str = "",
    state: str = "",
    q: str = "",
    recent: int = RECENT,
    limit: int = 24,
    offset: int = 0,
) -> Page[ChartCard]:
    """Charts with their latest points: out of control first, the longest undisturbed last.

    `kind` is the kind of module (etch), `chart` the kind of chart (ewma), `without` one that is
    left out.
    """
    where: list[ColumnElement[bool]] = []
    if site:
        where.append(_c.c.site == site)
    if module:
        where.append(_c.c.module == module)
    if kind:
        modules = tables.modules
        where.append(_c.c.module.in_(select(modules.c.module).where(modules.c.kind == kind)))
    if chart:
        where.append(_c.c.chart == chart)
    if without:
        where.append(_c.c.chart != without)
    if state:
        where.append(_state() == state)
    if q:
        where.append(
            _c.c.parameter.icontains(q, autoescape=True)
            | _c.c.module.icontains(q, autoescape=True)
            | _c.c.step.icontains(q, autoescape=True)
            | _c.c.recipe_id.icontains(q, autoescape=True)
        )
    total = connection.execute(select(func.count()).select_from(_c).where(*where)).scalar_one()
    rows = connection.execute(
        select(*_c.c, _state().label("state"))
        .where(*where)
        .order_by(
            _RANK, _c.c.out_ms.desc(), _c.c.module, _c.c.step, _c.c.parameter, _c.c.chart,
            _c.c.site, _c.c.chart_id,
        )
        .limit(limit)
        .offset(offset)
    ).all()  # fmt: skip
    items = [_card(connection, row, recent) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


def chart_detail(connection: Connection, site: str, chart_id: str) -> ChartDetail | None:
    """One chart with its latest points and its like on other modules; None if not known."""
    row = connection.execute(
        select(*_c.c, _state().label("state")).where(_c.c.site == site, _c.c.chart_id == chart_id)
    ).first()
    if row is None:
        return None
    siblings = connection.execute(
        select(*_c.c, _state().label("state"))
        .where(
            _c.c.site == site,
            _c.c.chart == row.chart,
            _c.c.parameter == row.parameter,
            _c.c.step == row.step,
            _c.c.recipe_id == row.recipe_id,
            _c.c.module != row.module,
        )
        .order_by(_c.c.module)
        .limit(_SIBLINGS)
    ).all()
    return ChartDetail(
        **_fields(row),
        history=chart_points(connection, site, chart_id, POINTS),
        siblings=[_card(connection, one) for one in siblings],
    )


def chart_points(
    connection: Connection, site: str, chart_id: str, limit: int
) -> list[ChartPointView]:
    """The latest points of a chart, oldest first."""
    rows = connection.execute(
        select(_points)
        .where(_points.c.site == site, _points.c.chart_id == chart_id)
        .order_by(_points.c.time_ms.desc(), _points.c.event_id.desc())
        .limit(limit)
    ).all()
    return [
        ChartPointView(
            time_ms=row.time_ms,
            value=row.value,
            center=row.center,
            lower=row.lower,
            upper=row.upper,
            sigma=row.sigma,
            rules=json.loads(row.rules),
            phase=row.phase,
            lot_id=row.lot_id,
            substrates=json.loads(row.substrates),
            contributions=[
                ContributionView(variable=name, value=value)
                for name, value in json.loads(row.contributions)
            ],
        )
        for row in reversed(rows)
    ]


def chart_counts(connection: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """By (site, module): how many charts it has, and how many of them are out at the latest."""
    rows = connection.execute(
        select(_c.c.site, _c.c.module, func.count(), func.sum(case((_OUT, 1), else_=0))).group_by(
            _c.c.site, _c.c.module
        )
    )
    return {(site, module): (count, out) for site, module, count, out in rows}


def _card(connection: Connection, row: Any, recent: int = RECENT) -> ChartCard:
    points = chart_points(connection, row.site, row.chart_id, recent) if recent else []
    return ChartCard(**_fields(row), recent=points)


def _fields(row: Any) -> dict[str, Any]:
    fields = {name: row._mapping[name] for name in ChartView.model_fields}
    return fields | {"rules": json.loads(row.rules), "enabled": json.loads(row.enabled)}
