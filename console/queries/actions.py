"""Actions with the stages they went through, and whether they helped."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, case, func, select

from console import tables
from console.snapshots import ACTION_RANK
from console.views import ActionView, EffectView, Page, StageView
from contracts.events import LOT_ACTIONS, Action

__all__ = ["action_view", "alert_actions", "list_actions"]

# Below what either database takes as parameters of one statement.
_CHUNK = 500
_WAITING = case((tables.actions.c.status == "proposed", 0), else_=1)


def action_view(
    body: bytes,
    received_ms: int,
    stages: Sequence[StageView] = (),
    effect: EffectView | None = None,
) -> ActionView:
    """The stored action as it is shown."""
    action = msgspec.msgpack.decode(body, type=Action)
    place = "/".join(part for part in (action.equipment_id, action.module_id) if part)
    return ActionView(
        action_id=action.action_id,
        alert_id=action.alert_id,
        site=action.site,
        kind=action.kind,
        status=action.status,
        by=action.by,
        comment=action.comment,
        target=action.lot_id if action.kind in LOT_ACTIONS else place,
        recipe_id=action.recipe_id,
        parameter=action.parameter,
        value=action.value,
        expected_good_dies=action.expected_good_dies,
        cost_good_dies=action.cost_good_dies,
        confidence=action.confidence,
        check=action.check,
        evidence=list(action.evidence),
        time_ms=action.time_ms,
        received_ms=received_ms,
        stages=list(stages),
        effect=effect,
    )


def alert_actions(connection: Connection, alert_ids: Sequence[str]) -> dict[str, list[ActionView]]:
    """Actions by alert: those that wait for a decision first, then the latest."""
    table = tables.actions
    rows = connection.execute(
        select(table.c.action_id, table.c.alert_id, table.c.body, table.c.received_ms)
        .where(table.c.alert_id.in_(alert_ids))
        .order_by(table.c.rank, table.c.time_ms.desc(), table.c.action_id)
    ).all()
    grouped: dict[str, list[ActionView]] = {}
    for action in _views(connection, rows):
        grouped.setdefault(action.alert_id, []).append(action)
    return grouped


def list_actions(
    connection: Connection,
    *,
    status: str = "",
    verdict: str = "",
    site: str = "",
    limit: int = 50,
    offset: int = 0,
) -> Page[ActionView]:
    """All actions: those that wait for a decision first, then the latest."""
    table = tables.actions
    conditions: list[ColumnElement[bool]] = []
    if status:
        conditions.append(table.c.status == status)
    if verdict:
        with_verdict = select(tables.effects.c.action_id).where(tables.effects.c.verdict == verdict)
        conditions.append(table.c.action_id.in_(with_verdict))
    if site:
        conditions.append(table.c.site == site)
    total = connection.execute(
        select(func.count()).select_from(table).where(*conditions)
    ).scalar_one()
    rows = connection.execute(
        select(table.c.action_id, table.c.alert_id, table.c.body, table.c.received_ms)
        .where(*conditions)
        .order_by(_WAITING, table.c.received_ms.desc(), table.c.time_ms.desc(), table.c.action_id)
        .limit(limit)
        .offset(offset)
    ).all()
    return Page(items=_views(connection, rows), total=total, limit=limit, offset=offset)


def _views(connection: Connection, rows: Sequence[Any]) -> list[ActionView]:
    stages = _stages(connection, rows)
    effects = _effects(connection, [row.action_id for row in rows])
    return [
        action_view(
            row.body, row.received_ms, stages.get(row.action_id, ()), effects.get(row.action_id)
        )
        for row in rows
    ]


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    listed = sorted(set(keys))
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]


def _stages(connection: Connection, actions: Sequence[Any]) -> dict[str, list[StageView]]:
    """What brought each action to where it is; the timeline is read by its index on alerts."""
    table = tables.timeline
    wanted = {row.action_id for row in actions}
    grouped: dict[str, list[StageView]] = {}
    for alert_ids in _chunks(row.alert_id for row in actions):
        for row in connection.execute(
            select(table).where(table.c.alert_id.in_(alert_ids), table.c.what.like("action.%"))
        ):
            if row.action_id in wanted:
                grouped.setdefault(row.action_id, []).append(
                    StageView(
                        status=row.what.removeprefix("action."),
                        by=row.by,
                        comment=row.comment,
                        time_ms=row.time_ms,
                    )
                )
    for found in grouped.values():
        found.sort(key=lambda stage: (ACTION_RANK[stage.status], stage.time_ms))
    return grouped


def _effects(connection: Connection, action_ids: Sequence[str]) -> dict[str, EffectView]:
    table = tables.effects
    return {
        row.action_id: EffectView(
            verdict=row.verdict,
            measure=row.measure,
            before=row.before,
            after=row.after,
            wafers=row.wafers,
            consequence=row.consequence,
            evidence=json.loads(row.evidence),
            time_ms=row.time_ms,
        )
        for chunk in _chunks(action_ids)
        for row in connection.execute(select(table).where(table.c.action_id.in_(chunk)))
    }
