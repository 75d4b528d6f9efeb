"""Run-to-run threads: where each stands, and one with its runs."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from console import tables
from console.steering_views import R2rRun, R2rThread, R2rThreadDetail
from console.views import Page

__all__ = ["list_threads", "thread_detail"]

_RUNS = 300
_t, _runs = tables.r2r_threads, tables.r2r_runs
# What needs a person first.
_RANK = case({"stopped": 0, "limited": 1, "learning": 2, "active": 3}, value=_t.c.status, else_=4)


def list_threads(
    connection: Connection,
    *,
    site: str = "",
    module: str = "",
    status: str = "",
    limit: int = 50,
    offset: int = 0,
) -> Page[R2rThread]:
    """Threads after their latest run: stopped ones first, then those at a limit."""
    where: list[ColumnElement[bool]] = []
    if site:
        where.append(_t.c.site == site)
    if module:
        where.append(_t.c.module == module)
    if status:
        where.append(_t.c.status == status)
    total = connection.execute(select(func.count()).select_from(_t).where(*where)).scalar_one()
    rows = connection.execute(
        select(_t).where(*where).order_by(_RANK, _t.c.site, _t.c.thread).limit(limit).offset(offset)
    )
    items = [R2rThread(**_fields(row, R2rThread)) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


def thread_detail(connection: Connection, site: str, thread: str) -> R2rThreadDetail | None:
    """One thread with its latest runs, oldest first; None if it is not known."""
    row = connection.execute(select(_t).where(_t.c.site == site, _t.c.thread == thread)).first()
    if row is None:
        return None
    runs = connection.execute(
        select(_runs)
        .where(_runs.c.site == site, _runs.c.thread == thread)
        .order_by(_runs.c.time_ms.desc(), _runs.c.event_id.desc())
        .limit(_RUNS)
    ).all()
    return R2rThreadDetail(
        **_fields(row, R2rThread),
        history=[R2rRun(**_fields(one, R2rRun)) for one in reversed(runs)],
    )


def _fields(row: Any, view: type[R2rRun]) -> dict[str, Any]:
    return {name: row._mapping[name] for name in view.model_fields} | {"virtual": bool(row.virtual)}
