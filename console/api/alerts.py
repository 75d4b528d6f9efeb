"""Alerts and actions, and what people decide about them."""

from typing import Annotated, Literal, Self

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import select

from console import tables
from console.access.identity import By
from console.decisions import AlertVerb, MissingError, Verdict, decide_action, decide_alert
from console.queries import actions
from console.queries import alerts as queries
from console.queries.equipment import alert_traces
from console.queries.wafers import stacked_map
from console.services import Services, Speaks, Using
from console.views import (
    ActionView,
    AlertDetail,
    AlertView,
    Page,
    StackView,
    TracesView,
)
from contracts.events import Alert, Severity

__all__ = ["ActionDecisionIn", "AlertDecisionIn", "Stacks", "router"]

router = APIRouter(prefix="/api/v1", tags=["alerts and actions"])

Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Text = Annotated[str, Query(max_length=200)]
Name = By
Comment = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
StateFilter = Literal["open", "all", "new", "acknowledged", "shelved", "resolved", "normal"]

# As many as an alert names; more would make the picture no clearer and the answer slow.
_STACKED = 100
# A shelf is for a known nuisance: beyond three days it is forgetting (ISA-18.2 asks for a limit).
_MAX_SHELF_H = 72.0


class AlertDecisionIn(BaseModel):
    """What to do with an alert, by whom and why."""

    model_config = ConfigDict(extra="forbid")

    decision: AlertVerb
    by: Name = Field(default="", validate_default=True, description="who decides")
    comment: Comment = ""
    hours: float = Field(
        default=0.0, ge=0.0, le=_MAX_SHELF_H, description="how long to shelve, fab time"
    )

    @model_validator(mode="after")
    def _shelf(self) -> Self:
        if self.decision == "shelve" and (self.hours <= 0 or not self.comment):
            raise ValueError("shelving needs an end (hours, at most 72) and a reason (comment)")
        return self


class ActionDecisionIn(BaseModel):
    """Approve or reject, by whom and why."""

    model_config = ConfigDict(extra="forbid")

    decision: Verdict
    by: Name = Field(default="", validate_default=True, description="who decides")
    comment: Comment = ""

    @model_validator(mode="after")
    def _reason(self) -> Self:
        if self.decision == "reject" and not self.comment:
            raise ValueError("rejecting needs a comment: say why, for whoever proposed it")
        return self


class Stacks(BaseModel):
    """Where dies fail on affected wafers and on the others."""

    affected: StackView
    unaffected: StackView


def states_for(asked: StateFilter) -> tuple[str, ...]:
    """The states a filter stands for; none means all."""
    if asked == "open":
        return queries.OPEN_STATES
    return () if asked == "all" else (asked,)


@router.get("/alerts")
def list_alerts(
    services: Using,
    strings: Speaks,
    state: StateFilter = "open",
    severity: Severity | None = None,
    module: Text = "",
    site: Text = "",
    q: Text = "",
    limit: Limit = 50,
    offset: Offset = 0,
) -> Page[AlertView]:
    """Alerts by priority."""
    with services.read() as connection:
        return queries.list_alerts(
            connection,
            services.now_ms(),
            strings,
            services.zones,
            states=states_for(state),
            severity=severity or "",
            module=module,
            site=site,
            q=q,
            limit=limit,
            offset=offset,
        )


def _alert(services: Services, alert_id: str) -> Alert:
    table = tables.alerts
    with services.read() as connection:
        body = connection.execute(select(table.c.body).where(table.c.alert_id == alert_id)).scalar()
    if body is None:
        raise MissingError(f"there is no alert {alert_id!r}")
    return msgspec.msgpack.decode(body, type=Alert)


@router.get("/alerts/{alert_id:path}/traces")
def traces(services: Using, alert_id: str) -> TracesView:
    """The suspect's traces over the band of comparable normal ones."""
    alert = _alert(services, alert_id)
    with services.read() as connection:
        found = alert_traces(connection, alert)
    if found is None:
        raise MissingError("no traces of the suspected module are stored (yet)")
    return found


@router.get("/alerts/{alert_id:path}/stacks")
def stacks(services: Using, alert_id: str) -> Stacks:
    """Stacked maps of affected and unaffected wafers."""
    alert = _alert(services, alert_id)
    with services.read() as connection:
        return Stacks(
            affected=stacked_map(connection, alert.site, alert.affected[-_STACKED:]),
            unaffected=stacked_map(connection, alert.site, alert.unaffected[-_STACKED:]),
        )


@router.post("/alerts/{alert_id:path}/decisions")
def decide_on_alert(
    services: Using, strings: Speaks, alert_id: str, decision: AlertDecisionIn
) -> AlertDetail:
    """Acknowledge, resolve, shelve or reopen. 409 if somebody else was first."""
    with services.deps.engine.begin() as connection:
        event = decide_alert(
            connection,
            alert_id,
            decision.decision,
            by=decision.by,
            comment=decision.comment,
            hours=decision.hours,
            now_ms=services.now_ms(),
        )
    services.decided(event)
    return get_alert(services, strings, alert_id)


@router.get("/alerts/{alert_id:path}")
def get_alert(services: Using, strings: Speaks, alert_id: str) -> AlertDetail:
    """One alert with its evidence, actions and timeline."""
    with services.read() as connection:
        found = queries.alert_detail(
            connection, alert_id, services.now_ms(), strings, services.zones
        )
    if found is None:
        raise MissingError(f"there is no alert {alert_id!r}")
    return found


@router.get("/actions")
def list_actions(
    services: Using,
    status: Literal["proposed", "approved", "rejected", "applied", "failed"] | None = None,
    verdict: Literal["came", "absent", "unclear"] | None = None,
    site: Text = "",
    limit: Limit = 50,
    offset: Offset = 0,
) -> Page[ActionView]:
    """All actions with their stages and effects, the latest first."""
    with services.read() as connection:
        return actions.list_actions(
            connection,
            status=status or "",
            verdict=verdict or "",
            site=site,
            limit=limit,
            offset=offset,
        )


@router.post("/actions/{action_id:path}/decisions")
def decide_on_action(services: Using, action_id: str, decision: ActionDecisionIn) -> ActionView:
    """Approve or reject a proposed action. 409 if it is decided already."""
    now_ms = services.now_ms()
    with services.deps.engine.begin() as connection:
        event = decide_action(
            connection,
            action_id,
            decision.decision,
            by=decision.by,
            comment=decision.comment,
            now_ms=now_ms,
        )
    services.decided(event)
    return actions.action_view(msgspec.msgpack.encode(event), now_ms)
