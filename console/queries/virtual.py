"""Virtual metrology against the real one: what was foretold, what was measured, how often it held.

A wafer's measurement is the mean of all measurements of the same parameter and step that arrived.
The controller and each registered model are judged apart: they may foretell the same wafers.
"""

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from console import tables
from console.steering_views import ForetoldView, VirtualDetail, VirtualPlace, VirtualPoint
from console.views import Page

__all__ = ["foretold", "list_places", "place_detail", "wilson"]

# Coverage is judged on the wafers that are drawn, so that the figure and the picture agree.
POINTS = 300
_Z95 = 1.959964

_v, _m = tables.virtual_metrology, tables.metrology
_model = func.coalesce(_v.c.model, "").label("model")


def wilson(hits: int, total: int) -> tuple[float, float] | None:
    """95 % interval of a share; None of nothing. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.

    >>> [round(end, 3) for end in wilson(9, 10)]
    [0.596, 0.982]
    """
    if not total:
        return None
    share, z2 = hits / total, _Z95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def list_places(
    connection: Connection,
    *,
    site: str = "",
    module: str = "",
    limit: int = 24,
    offset: int = 0,
) -> Page[VirtualDetail]:
    """Each parameter of each module, by whom it is foretold, with its latest wafers."""
    where: list[ColumnElement[bool]] = []
    if site:
        where.append(_v.c.site == site)
    if module:
        where.append(_v.c.module == module)
    keys = (_v.c.site, _v.c.module, _v.c.step, _v.c.parameter, _model)
    grouped = select(*keys).where(*where).group_by(*keys)
    total = connection.execute(select(func.count()).select_from(grouped.subquery())).scalar_one()
    rows = connection.execute(grouped.order_by(*keys).limit(limit).offset(offset)).all()
    found = [place_detail(connection, *row) for row in rows]
    return Page(
        items=[one for one in found if one is not None], total=total, limit=limit, offset=offset
    )


def place_detail(
    connection: Connection, site: str, module: str, step: str, parameter: str, model: str = ""
) -> VirtualDetail | None:
    """One parameter of a module with its wafers, oldest first; None if none was foretold.

    Args:
        connection: of the database.
        site: with `module`, `step` and `parameter`, what is foretold.
        module: see `site`.
        step: see `site`.
        parameter: see `site`.
        model: who foretells it: a registered model, or '' for the controller.
    """
    rows = connection.execute(_with_measured(site, module, step, parameter, model)).all()
    if not rows:
        return None
    history = [
        VirtualPoint(
            time_ms=row.time_ms,
            substrate_id=row.substrate_id,
            lot_id=row.lot_id,
            predicted=row.predicted,
            low=row.low,
            high=row.high,
            unlike=bool(row.unlike),
            measured=row.measured,
        )
        for row in reversed(rows)
    ]
    place = VirtualPlace(
        site=site,
        module=module,
        step=step,
        parameter=parameter,
        model=model,
        nominal=rows[0].coverage,
        learned=rows[0].learned,
        time_ms=rows[0].time_ms,
        **_judged(history),
    )
    return VirtualDetail(**place.model_dump(), history=history)


def foretold(connection: Connection, site: str, substrate_id: str) -> list[ForetoldView]:
    """What was foretold of one wafer, oldest first."""
    rows = connection.execute(
        select(_v)
        .where(_v.c.site == site, _v.c.substrate_id == substrate_id)
        .order_by(_v.c.time_ms, _v.c.event_id)
        .limit(100)
    )
    return [
        ForetoldView(
            **{name: row._mapping[name] for name in ForetoldView.model_fields if name != "model"},
            model=row.model or "",
        )
        for row in rows
    ]


def _with_measured(site: str, module: str, step: str, parameter: str, model: str) -> Select[Any]:
    measured = (
        select(func.avg(_m.c.mean))
        .where(
            _m.c.site == _v.c.site,
            _m.c.substrate_id == _v.c.substrate_id,
            _m.c.step == _v.c.step,
            _m.c.parameter == _v.c.parameter,
        )
        .scalar_subquery()
    )
    return (
        select(_v, measured.label("measured"))
        .where(
            _v.c.site == site,
            _v.c.module == module,
            _v.c.step == step,
            _v.c.parameter == parameter,
            _model == model,
        )
        .order_by(_v.c.time_ms.desc(), _v.c.event_id.desc())
        .limit(POINTS)
    )


def _judged(history: Sequence[VirtualPoint]) -> dict[str, Any]:
    # A wafer unlike all that was learned from comes with the advice not to rely on it.
    pairs = [
        (point, point.measured)
        for point in history
        if point.measured is not None and not point.unlike
    ]
    covered = sum(point.low <= measured <= point.high for point, measured in pairs)
    interval = wilson(covered, len(pairs))
    squares = [(point.predicted - measured) ** 2 for point, measured in pairs]
    return {
        "predicted": len(history),
        "unlike": sum(point.unlike for point in history),
        "measured": len(pairs),
        "covered": covered,
        "coverage": covered / len(pairs) if pairs else None,
        "coverage_low": interval[0] if interval else None,
        "coverage_high": interval[1] if interval else None,
        "rmse": math.sqrt(sum(squares) / len(squares)) if squares else None,
    }
