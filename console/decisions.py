"""What a person decides: the new state, the audit row and the outgoing event, in one transaction.

The rules (`next_decision`, `check_decidable`) are pure; `decide_alert` and `decide_action` bring
them to the database. Two people who decide at once are serialised by the row they decide about: the
second is told what the first one did.
"""

import json
from typing import Literal

import msgspec
from sqlalchemy import Connection, select

from console import tables
from console.access.trail import append
from console.queries.alerts import fab_now_ms, state_of
from console.snapshots import action_rows, decision_rows, label_rows
from console.steering_rows import switch_rows
from console.store import announce, write
from contracts.errors import ConflictError, DataError
from contracts.events import (
    Action,
    ActionStatus,
    AlertDecision,
    AutomationSwitch,
    DeadLetter,
    Label,
)
from contracts.ids import derived_id
from contracts.labels import label_name
from contracts.records import Message
from streaming.outbox import enqueue, enqueue_messages

__all__ = [
    "OUTBOX",
    "AlertVerb",
    "MissingError",
    "Verdict",
    "check_decidable",
    "decide_action",
    "decide_alert",
    "label_wafer",
    "next_decision",
    "replay_dead_letter",
    "switch_automation",
]

OUTBOX = "console-decisions"
"""The outbox that carries decisions to the log."""

AlertVerb = Literal["acknowledge", "resolve", "shelve", "reopen"]
Verdict = Literal["approve", "reject"]
Decision = Literal["acknowledged", "resolved", "shelved", "reopened"]

_DECISION: dict[AlertVerb, Decision] = {
    "acknowledge": "acknowledged",
    "resolve": "resolved",
    "shelve": "shelved",
    "reopen": "reopened",
}
# From which states a verb may be used (ISA-18.2: what is out of service is not acknowledged).
_ALLOWED: dict[AlertVerb, frozenset[str]] = {
    "acknowledge": frozenset({"new", "normal"}),
    "resolve": frozenset({"new", "acknowledged", "shelved", "normal"}),
    "shelve": frozenset({"new", "acknowledged", "normal"}),
    "reopen": frozenset({"acknowledged", "shelved", "resolved"}),
}


class MissingError(DataError):
    """There is no such alert, action or wafer."""


def next_decision(state: str, verb: AlertVerb, *, by: str) -> Decision:
    """What becomes of an alert in `state`.

    Raises:
        ConflictError: the verb makes no sense in that state, so somebody else was first.
    """
    if state not in _ALLOWED[verb]:
        raise ConflictError(
            f"this alert is {state} already{f' (by {by})' if by else ''};"
            f" it cannot be {_DECISION[verb]}. Look at it again before deciding"
        )
    return _DECISION[verb]


def check_decidable(action: Action) -> None:
    """Let only proposed actions through.

    Raises:
        ConflictError: somebody has decided already.
    """
    if action.status != "proposed":
        raise ConflictError(
            f"this action is {action.status} already (by {action.by or 'somebody else'}):"
            " look at it again before deciding"
        )


def decide_alert(
    connection: Connection,
    alert_id: str,
    verb: AlertVerb,
    *,
    by: str,
    comment: str,
    hours: float,
    now_ms: int,
) -> AlertDecision:
    """Carry out a decision about an alert, inside the caller's transaction.

    `hours` says how long to shelve on the fab's clock and is ignored by the other verbs; `now_ms`
    is wall time.

    Raises:
        MissingError: there is no such alert.
        ConflictError: its state does not allow this.
    """
    alerts, states, clocks = tables.alerts, tables.alert_states, tables.site_clocks
    # 1. Lock the row: on PostgreSQL a second decision waits here, on SQLite it has waited already.
    locked = connection.execute(
        alerts.update().where(alerts.c.alert_id == alert_id).values(lock=alerts.c.lock + 1)
    )
    if locked.rowcount != 1:
        raise MissingError(f"there is no alert {alert_id!r}")
    row = connection.execute(
        select(
            alerts.c.site,
            alerts.c.lock,
            state_of(now_ms).label("state"),
            states.c.by,
            states.c.time_ms,
        )
        .select_from(
            alerts.outerjoin(states, alerts.c.alert_id == states.c.alert_id).outerjoin(
                clocks, alerts.c.site == clocks.c.site
            )
        )
        .where(alerts.c.alert_id == alert_id)
    ).one()
    decision = next_decision(row.state, verb, by=row.by or "")
    # 2. The latest decision wins by its time, so ours must be later than the one it answers.
    time_ms = max(fab_now_ms(connection, row.site, now_ms), (row.time_ms or 0) + 1)
    event = AlertDecision(
        event_id=derived_id("decision", alert_id, decision, row.lock),
        site=row.site,
        time_ms=time_ms,
        alert_id=alert_id,
        decision=decision,
        by=by,
        comment=comment,
        until_ms=time_ms + round(hours * 3_600_000) if verb == "shelve" else 0,
    )
    # 3. State, audit and event, all or none.
    write(connection, decision_rows(event, now_ms))
    append(
        connection,
        now_ms,
        by,
        f"alert.{decision}",
        alert_id,
        comment,
        before={"state": row.state},
        after={"state": decision, "until_ms": event.until_ms},
    )
    enqueue(connection, OUTBOX, [event])
    announce(connection, [("alerts", alert_id)])
    return event


def decide_action(
    connection: Connection,
    action_id: str,
    verdict: Verdict,
    *,
    by: str,
    comment: str,
    now_ms: int,
) -> Action:
    """Approve or reject an action, inside the caller's transaction.

    Raises:
        MissingError: there is no such action.
        ConflictError: it has been decided already.
    """
    table = tables.actions
    status: ActionStatus = "approved" if verdict == "approve" else "rejected"
    row = connection.execute(
        select(table.c.body).where(table.c.action_id == action_id).with_for_update()
    ).first()
    if row is None:
        raise MissingError(f"there is no action {action_id!r}")
    action = msgspec.msgpack.decode(row.body, type=Action)
    check_decidable(action)
    event = msgspec.structs.replace(
        action,
        event_id=Action.event_id_for(action_id, status),
        time_ms=max(fab_now_ms(connection, action.site, now_ms), action.time_ms),
        status=status,
        by=by,
        comment=comment,
    )
    write(connection, action_rows(event, now_ms))
    append(
        connection,
        now_ms,
        by,
        f"action.{status}",
        action_id,
        comment,
        before={"status": action.status, "by": action.by},
        after={"status": status, "by": by},
    )
    enqueue(connection, OUTBOX, [event])
    announce(connection, [("actions", action.alert_id or action_id)])
    return event


def switch_automation(
    connection: Connection, site: str, automatic: bool, *, by: str, reason: str, now_ms: int
) -> AutomationSwitch:
    """Forbid or allow automatic actions of a site, inside the caller's transaction.

    Off is never refused: what the console shows may be older than what somebody else switched.

    Raises:
        ConflictError: automatic actions are allowed already.
    """
    table = tables.automation
    before = connection.execute(
        select(table.c.automatic, table.c.by, table.c.time_ms)
        .where(table.c.site == site)
        .with_for_update()
    ).first()
    if automatic and (before is None or before.automatic):
        who = f" (by {before.by})" if before and before.by else ""
        raise ConflictError(f"automatic actions of {site} are allowed already{who}")
    # The latest switch wins by its time, so ours must be later than the one it answers.
    time_ms = max(fab_now_ms(connection, site, now_ms), before.time_ms + 1 if before else 0)
    event = AutomationSwitch(
        event_id=derived_id("automation", site, int(automatic), by, time_ms),
        site=site,
        time_ms=time_ms,
        automatic=automatic,
        by=by,
        reason=reason,
    )
    write(connection, switch_rows(event, now_ms))
    append(
        connection,
        now_ms,
        by,
        "automation.on" if automatic else "automation.off",
        site,
        reason,
        before={"automatic": before.automatic, "by": before.by} if before else {},
        after={"automatic": int(automatic), "by": by},
    )
    enqueue(connection, OUTBOX, [event])
    announce(connection, [("actions", site)])
    return event


def label_wafer(
    connection: Connection,
    site: str,
    substrate_id: str,
    patterns: tuple[str, ...],
    *,
    by: str,
    comment: str,
    now_ms: int,
) -> Label:
    """Confirm or correct what a wafer shows, inside the caller's transaction.

    A pattern may be new to every model: this is how one is taught.

    Raises:
        MissingError: the wafer is not stored.
        DataError: a pattern can be no name, or 'None' stands beside others.
    """
    patterns = tuple(dict.fromkeys(label_name(name) for name in patterns))
    if not patterns or ("None" in patterns and len(patterns) > 1):
        raise DataError(
            f"{', '.join(patterns) or 'nothing'} is no label: name one or more patterns, or 'None'"
            " alone"
        )
    wafers, labels = tables.wafers, tables.labels
    here = (wafers.c.site == site) & (wafers.c.substrate_id == substrate_id)
    lot_id = connection.execute(select(wafers.c.lot_id).where(here)).scalar()
    if lot_id is None:
        raise MissingError(f"no wafer {substrate_id!r} at {site!r} is stored")
    before = connection.execute(
        select(labels.c.patterns, labels.c.time_ms, labels.c.by).where(
            labels.c.site == site, labels.c.substrate_id == substrate_id
        )
    ).first()
    time_ms = max(fab_now_ms(connection, site, now_ms), before.time_ms + 1 if before else 0)
    event = Label(
        event_id=derived_id("label", site, substrate_id, by, time_ms),
        site=site,
        time_ms=time_ms,
        lot_id=lot_id,
        substrate_id=substrate_id,
        patterns=patterns,
        by=by,
        comment=comment,
    )
    write(connection, label_rows(event))
    append(
        connection,
        now_ms,
        by,
        "wafer.labelled",
        f"{site}/{substrate_id}",
        comment,
        before={"patterns": before.patterns, "by": before.by} if before else {},
        after={"patterns": json.dumps(patterns), "by": by},
    )
    enqueue(connection, OUTBOX, [event])
    announce(connection, [("labels", site)])
    return event


def replay_dead_letter(
    connection: Connection, letter: DeadLetter, *, by: str, comment: str, now_ms: int
) -> None:
    """Put the original record back where it was, inside the caller's transaction.

    Raises:
        ConflictError: it has been replayed already.
        DataError: the letter does not have the whole record.
    """
    if len(letter.value) != letter.value_bytes:
        raise DataError(
            f"this letter has {len(letter.value)} of {letter.value_bytes} bytes:"
            " replay the record from where it came from"
        )
    table = tables.dead_letters
    claimed = connection.execute(
        table.update()
        .where(table.c.event_id == letter.event_id, table.c.replayed_by == "")
        .values(replayed_by=by)
    )
    if claimed.rowcount != 1:
        raise ConflictError("this record has been replayed already, or is no longer stored")
    append(
        connection,
        now_ms,
        by,
        "letter.replayed",
        letter.event_id,
        comment,
        before={},
        after={"topic": letter.source_topic},
    )
    message = Message(letter.source_topic, letter.source_key, letter.value, letter.source_headers)
    enqueue_messages(connection, OUTBOX, [message])
    announce(connection, [("health", letter.site)])
