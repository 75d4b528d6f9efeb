"""Risk before inspection: lots by what their wafers are expected to show."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select, tuple_

from console import tables
from console.steering_views import LotDetail, LotRisk, LotStep, LotWafer, RiskStep
from console.views import Page

__all__ = ["AT_RISK", "list_lots", "lot_detail", "lot_steps", "wafer_risks"]

# From here on it is likelier than not that a wafer shows a pattern.
AT_RISK = 0.5
_WAFERS_A_LOT = 60
_STEPS_A_LOT = 200 * _WAFERS_A_LOT

_r, _w, _m, _p = tables.wafer_risks, tables.wafers, tables.wafer_maps, tables.predictions


def _same_wafer(other: Any) -> ColumnElement[bool]:
    return and_(_r.c.site == other.c.site, _r.c.substrate_id == other.c.substrate_id)


def list_lots(
    connection: Connection,
    *,
    site: str = "",
    q: str = "",
    open_only: bool = True,
    limit: int = 25,
    offset: int = 0,
) -> Page[LotRisk]:
    """Lots, the most good dies to be lost first; `open_only` leaves out those all tested."""
    conditions: list[ColumnElement[bool]] = []
    if site:
        conditions.append(_r.c.site == site)
    if q:
        conditions.append(_r.c.lot_id.icontains(q, autoescape=True))
    if open_only:
        conditions.append(_m.c.event_id.is_(None))
    lost, bad = func.sum(_r.c.expected_loss), func.sum(_r.c.any_pattern)
    grouped = (
        select(_r.c.site, _r.c.lot_id, lost.label("lost"), bad.label("bad"))
        .select_from(_r.outerjoin(_m, _same_wafer(_m)))
        .where(*conditions)
        .group_by(_r.c.site, _r.c.lot_id)
    )
    total = connection.execute(select(func.count()).select_from(grouped.subquery())).scalar_one()
    keys = [
        (row.site, row.lot_id)
        for row in connection.execute(
            grouped.order_by(lost.desc(), bad.desc(), _r.c.site, _r.c.lot_id)
            .limit(limit)
            .offset(offset)
        )
    ]
    wafers = _wafers(connection, keys)
    items = [LotRisk(**_summary(key, wafers[key])) for key in keys if key in wafers]
    return Page(items=items, total=total, limit=limit, offset=offset)


def lot_detail(connection: Connection, site: str, lot_id: str) -> LotDetail | None:
    """One lot with the risk of each wafer after each step; None if none is known."""
    rows = _wafers(connection, [(site, lot_id)]).get((site, lot_id))
    if not rows:
        return None
    table = tables.risks
    histories: dict[str, list[RiskStep]] = {}
    for row in connection.execute(
        select(table)
        .where(table.c.site == site, table.c.lot_id == lot_id)
        .order_by(table.c.sequence)
        .limit(_STEPS_A_LOT)
    ):
        histories.setdefault(row.substrate_id, []).append(_step(row))
    patterns = {name for steps in histories.values() for one in steps for name in one.probabilities}
    return LotDetail(
        **_summary((site, lot_id), rows), patterns=sorted(patterns), histories=histories
    )


def wafer_risks(connection: Connection, site: str, substrate_id: str) -> list[RiskStep]:
    """What one wafer was expected to show after each step so far."""
    table = tables.risks
    rows = connection.execute(
        select(table)
        .where(table.c.site == site, table.c.substrate_id == substrate_id)
        .order_by(table.c.sequence)
        .limit(500)
    )
    return [_step(row) for row in rows]


def lot_steps(connection: Connection, site: str, lot_id: str) -> list[LotStep]:
    """The risk of each wafer of a lot after each step, by slot and sequence."""
    table = tables.risks
    rows = connection.execute(
        select(table)
        .where(table.c.site == site, table.c.lot_id == lot_id)
        .order_by(table.c.slot, table.c.substrate_id, table.c.sequence)
        .limit(_STEPS_A_LOT)
    )
    return [
        LotStep(slot=row.slot, substrate_id=row.substrate_id, **_step(row).model_dump())
        for row in rows
    ]


def _wafers(
    connection: Connection, lots: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], list[Any]]:
    """The latest risk of each wafer of some lots, by slot, with what the test said."""
    if not lots:
        return {}
    rows = connection.execute(
        select(
            *_r.c,
            func.coalesce(_w.c.product, "").label("product"),
            _m.c.event_id.label("map_id"),
            func.coalesce(_p.c.pattern, "").label("outcome"),
        )
        .select_from(
            _r.outerjoin(_w, _same_wafer(_w))
            .outerjoin(_m, _same_wafer(_m))
            .outerjoin(_p, _same_wafer(_p))
        )
        .where(tuple_(_r.c.site, _r.c.lot_id).in_(lots))
        .order_by(_r.c.slot, _r.c.substrate_id)
        .limit(_WAFERS_A_LOT * len(lots))
    )
    grouped: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        grouped.setdefault((row.site, row.lot_id), []).append(row)
    return grouped


def _summary(key: tuple[str, str], rows: Sequence[Any]) -> dict[str, Any]:
    waiting = [row for row in rows if row.map_id is None]
    worst = max(waiting or rows, key=lambda row: (row.any_pattern, -row.slot))
    latest = max(rows, key=lambda row: (row.sequence, row.time_ms))
    suspects: dict[str, float] = {}
    for row in waiting or rows:
        for module in json.loads(row.suspects):
            suspects[module] = suspects.get(module, 0.0) + row.any_pattern
    return {
        "site": key[0],
        "lot_id": key[1],
        "product": latest.product,
        "wafers": len(rows),
        "tested": len(rows) - len(waiting),
        "expected_bad": sum(row.any_pattern for row in waiting),
        "expected_loss": sum(row.expected_loss for row in waiting) / max(1, len(waiting)),
        "pattern": worst.pattern if worst.any_pattern > 0 else "",
        "step": latest.step,
        "time_ms": max(row.time_ms for row in rows),
        "suspects": sorted(suspects, key=lambda module: -suspects[module]),
        "slots": [
            LotWafer(
                slot=row.slot,
                substrate_id=row.substrate_id,
                risk=_step(row),
                tested=row.map_id is not None,
                outcome=row.outcome,
            )
            for row in rows
        ],
    }


def _step(row: Any) -> RiskStep:
    return RiskStep(
        sequence=row.sequence,
        step=row.step,
        time_ms=row.time_ms,
        any_pattern=row.any_pattern,
        expected_loss=row.expected_loss,
        pattern=row.pattern,
        probabilities=json.loads(row.probabilities),
        suspects=json.loads(row.suspects),
    )
