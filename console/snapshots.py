"""Rows of what people deal with: alerts, decisions, actions and labels, with their timeline."""

import json
from collections.abc import Mapping

import msgspec

from console.upsert import Row
from contracts.events import Action, Alert, AlertDecision, Event, Label

__all__ = [
    "ACTION_RANK",
    "Rows",
    "action_rows",
    "alert_rows",
    "decision_rows",
    "label_rows",
    "timeline_row",
]

Rows = list[tuple[str, Row]]
"""(table name, row) pairs; `console.store` knows how each table merges."""

ACTION_RANK = {"proposed": 0, "approved": 1, "rejected": 1, "applied": 2, "failed": 2}
"""How far along an action is; a later stage replaces an earlier one in whatever order they come."""


def alert_rows(event: Alert, received_ms: int) -> Rows:
    """An alert's latest revision, and a line of its timeline."""
    detail = {
        "revision": event.revision,
        "severity": event.severity,
        "status": event.status,
        "suspect": event.suspect_module,
        "affected": event.affected_count,
        "examined": event.examined_count,
    }
    return [
        (
            "alerts",
            {
                "alert_id": event.alert_id,
                "site": event.site,
                "revision": event.revision,
                "status": event.status,
                "kind": event.kind,
                "severity": event.severity,
                "pattern": event.pattern,
                "suspect_module": event.suspect_module,
                "since_ms": event.since_ms,
                "time_ms": event.time_ms,
                "at_risk": len(event.at_risk),
                "received_ms": received_ms,
                "updated_ms": received_ms,
                "lock": 0,
                "body": msgspec.msgpack.encode(event),
            },
        ),
        timeline_row(event, received_ms, f"alert.{event.status}", event.alert_id, detail=detail),
    ]


def decision_rows(event: AlertDecision, received_ms: int) -> Rows:
    """What a person decided about an alert, and a line of its timeline."""
    return [
        (
            "alert_states",
            {
                "alert_id": event.alert_id,
                "event_id": event.event_id,
                "time_ms": event.time_ms,
                "decision": event.decision,
                "by": event.by,
                "comment": event.comment,
                "until_ms": event.until_ms,
            },
        ),
        timeline_row(
            event,
            received_ms,
            f"alert.{event.decision}",
            event.alert_id,
            by=event.by,
            comment=event.comment,
            detail={"until_ms": event.until_ms},
        ),
    ]


def action_rows(event: Action, received_ms: int) -> Rows:
    """An action's stage, and a line of its alert's timeline."""
    return [
        (
            "actions",
            {
                "action_id": event.action_id,
                "alert_id": event.alert_id,
                "site": event.site,
                "kind": event.kind,
                "status": event.status,
                "rank": ACTION_RANK[event.status],
                "time_ms": event.time_ms,
                "event_id": event.event_id,
                "received_ms": received_ms,
                "body": msgspec.msgpack.encode(event),
            },
        ),
        timeline_row(
            event,
            received_ms,
            f"action.{event.status}",
            event.alert_id,
            action_id=event.action_id,
            by=event.by,
            comment=event.comment,
            detail={
                "kind": event.kind,
                "equipment_id": event.equipment_id,
                "module_id": event.module_id,
                "lot_id": event.lot_id,
                "recipe_id": event.recipe_id,
                "parameter": event.parameter,
                "value": event.value,
            },
        ),
    ]


def timeline_row(
    event: Event,
    received_ms: int,
    what: str,
    alert_id: str,
    *,
    action_id: str = "",
    by: str = "",
    comment: str = "",
    detail: Mapping[str, object] | None = None,
) -> tuple[str, Row]:
    """A line of what happened to an alert, or with an empty `alert_id` to a site."""
    return "timeline", {
        "event_id": event.event_id,
        "site": event.site,
        "time_ms": event.time_ms,
        "received_ms": received_ms,
        "alert_id": alert_id,
        "action_id": action_id,
        "what": what,
        "by": by,
        "comment": comment,
        "detail": json.dumps(detail or {}),
    }


def label_rows(event: Label) -> Rows:
    """What a person said about a wafer."""
    return [
        (
            "labels",
            {
                "site": event.site,
                "substrate_id": event.substrate_id,
                "event_id": event.event_id,
                "time_ms": event.time_ms,
                "patterns": json.dumps(event.patterns),
                "by": event.by,
                "comment": event.comment,
            },
        )
    ]
