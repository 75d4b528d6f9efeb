"""Modules with their SEMI E10 states, and traces compared between modules of one kind."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, select

from console import tables
from console.queries.alerts import OPEN_STATES, fab_now_ms, state_of
from console.views import Band, ModuleView, RecipeStepView, StateSpan, TracesView
from contracts.events import Alert

__all__ = ["alert_traces", "list_modules", "module_levels"]

# Points of a drawn curve: more than a chart 600 pixels wide can show apart.
_POINTS = 120
_SUSPECT_WAFERS = 20
_SPAN_HOURS = 24

FloatGrid = npt.NDArray[np.float64]


def list_modules(
    connection: Connection, now_ms: int, *, site: str = "", module: str = ""
) -> list[ModuleView]:
    """All modules by kind and name, with the last day's states and the alert that suspects them."""
    table = tables.modules
    statement = select(table).order_by(table.c.site, table.c.kind, table.c.module)
    if site:
        statement = statement.where(table.c.site == site)
    if module:
        statement = statement.where(table.c.module == module)
    rows = connection.execute(statement).all()
    suspects = _suspects(connection, now_ms)
    through = _through(connection)
    places = sorted({row.site for row in rows})
    clock = {place: fab_now_ms(connection, place, now_ms) for place in places}
    spans = _spans(connection, clock)
    return [
        ModuleView(
            site=row.site,
            module=row.module,
            kind=row.kind,
            state=row.state,
            inhibited=bool(row.inhibited),
            reason=row.reason,
            since_ms=row.time_ms,
            wafers=through.get((row.site, row.module), 0),
            alert_id=suspects.get((row.site, row.module), ("", ""))[0],
            alert_severity=suspects.get((row.site, row.module), ("", ""))[1],
            spans=spans.get((row.site, row.module), []),
        )
        for row in rows
    ]


def _suspects(connection: Connection, now_ms: int) -> dict[tuple[str, str], tuple[str, str]]:
    alerts, states, clocks = tables.alerts, tables.alert_states, tables.site_clocks
    rows = connection.execute(
        select(alerts.c.site, alerts.c.suspect_module, alerts.c.alert_id, alerts.c.severity)
        .select_from(
            alerts.outerjoin(states, alerts.c.alert_id == states.c.alert_id).outerjoin(
                clocks, alerts.c.site == clocks.c.site
            )
        )
        .where(state_of(now_ms).in_(OPEN_STATES), alerts.c.suspect_module != "")
        .order_by(alerts.c.received_ms)
    )
    return {(row.site, row.suspect_module): (row.alert_id, row.severity) for row in rows}


def _through(connection: Connection) -> dict[tuple[str, str], int]:
    steps = tables.steps
    rows = connection.execute(
        select(steps.c.site, steps.c.module, func.count()).group_by(steps.c.site, steps.c.module)
    )
    return {(site, module): count for site, module, count in rows}


def _spans(connection: Connection, clock: dict[str, int]) -> dict[tuple[str, str], list[StateSpan]]:
    table = tables.module_states
    grouped: dict[tuple[str, str], list[StateSpan]] = {}
    for site, now in clock.items():
        rows = connection.execute(
            select(table)
            .where(table.c.site == site, table.c.time_ms >= now - _SPAN_HOURS * 3_600_000)
            .order_by(table.c.module, table.c.time_ms, table.c.event_id)
        ).all()
        for index, row in enumerate(rows):
            following = rows[index + 1] if index + 1 < len(rows) else None
            same = following is not None and following.module == row.module
            grouped.setdefault((site, row.module), []).append(
                StateSpan(
                    state=row.state,
                    inhibited=bool(row.inhibited),
                    reason=row.reason,
                    from_ms=row.time_ms,
                    to_ms=following.time_ms if same and following is not None else now,
                )
            )
    return grouped


def alert_traces(connection: Connection, alert: Alert) -> TracesView | None:
    """The suspect's recent traces against other modules in the same recipe and step.

    Returns:
        None if the alert names no module or nothing is stored of it. Variables come by |z|, those
        the alert does not rank last.
    """
    if not alert.suspect_module:
        return None
    traces = tables.traces
    recipe = alert.suspect_recipe or (alert.shifts[0].recipe_id if alert.shifts else "")
    own = select(traces).where(traces.c.site == alert.site, traces.c.module == alert.suspect_module)
    if recipe:
        own = own.where(traces.c.recipe_id == recipe)
    if alert.suspect_step:
        own = own.where(traces.c.step == alert.suspect_step)
    recent = connection.execute(
        own.order_by(traces.c.time_ms.desc(), traces.c.event_id.desc()).limit(_SUSPECT_WAFERS)
    ).all()
    if not recent:
        return None
    latest = recent[0]
    # Before the excursion began the suspect was normal too; do not thin its line with that.
    suspect = [
        row for row in recent if row.time_ms >= alert.since_ms and _comparable(row, latest)
    ] or [latest]
    others = connection.execute(
        select(traces)
        .where(
            traces.c.site == alert.site,
            traces.c.recipe_id == latest.recipe_id,
            traces.c.step == latest.step,
            traces.c.module != alert.suspect_module,
        )
        .order_by(traces.c.time_ms.desc(), traces.c.event_id.desc())
        .limit(200)
    ).all()
    others = [row for row in others if _comparable(row, latest)]
    variables: list[str] = json.loads(latest.variables)
    lines = _resampled(suspect, len(variables))
    normal = _resampled(others, len(variables)) if others else None
    z = {shift.variable: shift.z for shift in alert.shifts}
    order = sorted(
        range(len(variables)), key=lambda index: (-abs(z.get(variables[index], 0.0)), index)
    )
    seconds = np.linspace(0, (latest.samples - 1) * latest.sample_period_ms / 1000, _POINTS)
    return TracesView(
        module=alert.suspect_module,
        recipe_id=latest.recipe_id,
        step=latest.step,
        suspect_wafers=len(suspect),
        normal_wafers=len(others),
        normal_modules=sorted({row.module for row in others}),
        seconds=[round(value, 3) for value in seconds.tolist()],
        recipe_steps=[
            RecipeStepView(number=number, from_s=round(row * latest.sample_period_ms / 1000, 3))
            for row, number in json.loads(latest.recipe_steps or "[]")
        ],
        bands=[
            _band(variables[index], z.get(variables[index]), index, lines, normal)
            for index in order
        ],
    )


def _comparable(row: Any, other: Any) -> bool:
    return bool(
        row.variables == other.variables
        and row.step == other.step
        and row.recipe_id == other.recipe_id
        and row.samples > 1
    )


def _values(row: Any) -> npt.NDArray[np.float32]:
    return np.frombuffer(row.data, dtype="<f4").reshape(row.samples, -1)


def _resampled(rows: Sequence[Any], variables: int) -> FloatGrid:
    """(wafers, points, variables): each trace on the same relative time axis."""
    out = np.full((len(rows), _POINTS, variables), np.nan)
    for number, row in enumerate(rows):
        values = _values(row)
        if len(values) == 1:
            out[number] = values[0]
            continue
        places = np.round(np.linspace(0, len(values) - 1, _POINTS)).astype(int)
        out[number] = values[places]
    return out


def _band(
    variable: str, z: float | None, index: int, lines: FloatGrid, normal: FloatGrid | None
) -> Band:
    low: list[float | None] = []
    high: list[float | None] = []
    mean: list[float | None] = []
    if normal is not None:
        low, high = (_listed(_percentile(normal[:, :, index], share)) for share in (5, 95))
        mean = _listed(_mean(normal[:, :, index]))
    return Band(
        variable=variable,
        z=z,
        suspect=_listed(_mean(lines[:, :, index])),
        mean=mean,
        low=low,
        high=high,
    )


def _mean(values: FloatGrid) -> npt.NDArray[np.float64]:
    """Over wafers, leaving out missing samples; NaN where all are missing."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _percentile(values: FloatGrid, share: float) -> npt.NDArray[np.float64]:
    out = np.full(values.shape[1], np.nan)
    for point in np.flatnonzero(np.isfinite(values).any(axis=0)).tolist():
        column = values[:, point]
        out[point] = np.percentile(column[np.isfinite(column)], share)
    return out


def _listed(values: npt.NDArray[np.float64]) -> list[float | None]:
    # JSON has no NaN: a gap in the line is a null.
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def module_levels(
    connection: Connection, site: str, kind: str
) -> dict[str, dict[str, list[float]]]:
    """Mean of every trace variable by module of one kind, oldest wafer first.

    Returns:
        variable -> module -> one mean per stored trace.
    """
    traces, modules = tables.traces, tables.modules
    rows = connection.execute(
        select(traces)
        .join(
            modules,
            (modules.c.site == traces.c.site) & (modules.c.module == traces.c.module),
        )
        .where(traces.c.site == site, modules.c.kind == kind)
        .order_by(traces.c.module, traces.c.time_ms, traces.c.event_id)
        .limit(1000)
    )
    levels: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        means = _mean(_values(row).astype(np.float64))
        for variable, mean in zip(json.loads(row.variables), means.tolist(), strict=True):
            if np.isfinite(mean):
                levels.setdefault(variable, {}).setdefault(row.module, []).append(mean)
    return levels
