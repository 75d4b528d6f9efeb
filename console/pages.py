"""The pages: each a template over the same queries the API answers with."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection
from starlette.responses import HTMLResponse, Response

from console.api.alerts import Offset, StateFilter, Text, states_for
from console.api.system import health_view, model_views
from console.api.wafers import Moment, Share
from console.queries import (
    actions,
    alerts,
    automation,
    charts,
    equipment,
    judgements,
    overview,
    risks,
    virtual,
    wafers,
)
from console.rendering import render
from console.services import Services, Speaks, Using
from console.strings import Strings
from contracts.events import Severity

__all__ = ["missing", "router"]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_WAFERS_A_PAGE = 48
_ROWS_A_PAGE = 50
# What a person can act on at once; the rest is a click away.
_LOTS_AT_RISK = 6
_SWITCHES = 20
# The one being judged, and a few to show that there are more.
_QUEUE = 7


def missing(
    request: Request, services: Services, connection: Connection, strings: Strings, what: str
) -> Response:
    """The page that says that something is not stored."""
    return render(
        request,
        services,
        connection,
        strings,
        "missing.html",
        page="",
        title=strings("missing.title"),
        status=404,
        what=what,
    )


@router.get("/")
def now(
    request: Request,
    services: Using,
    strings: Speaks,
    state: StateFilter = "open",
    severity: Severity | None = None,
    site: Text = "",
    q: Text = "",
    offset: Offset = 0,
) -> Response:
    """Is anything wrong, and what do I do first?"""
    now_ms = services.now_ms()
    with services.read() as connection:
        found = alerts.list_alerts(
            connection,
            now_ms,
            strings,
            services.zones,
            states=states_for(state),
            severity=severity or "",
            site=site,
            q=q,
            limit=_ROWS_A_PAGE,
            offset=offset,
        )
        modules = equipment.list_modules(connection, now_ms, site=site)
        areas: dict[str, list[Any]] = {}
        for module in modules:
            areas.setdefault(module.kind, []).append(module)
        return render(
            request,
            services,
            connection,
            strings,
            "now.html",
            page="now",
            title=strings("page.now"),
            alerts=found,
            areas=areas,
            lots=risks.list_lots(connection, site=site, limit=_LOTS_AT_RISK),
            at_risk=risks.AT_RISK,
            shift=[point.model_dump() for point in overview.last_shift(connection, site)],
            state=state,
            severity=severity or "",
            q=q,
        )


@router.get("/alerts/{alert_id:path}")
def alert(request: Request, services: Using, strings: Speaks, alert_id: str) -> Response:
    """What happened, why do we think so, what is proposed, what will it cost?"""
    with services.read() as connection:
        found = alerts.alert_detail(
            connection, alert_id, services.now_ms(), strings, services.zones
        )
        if found is None:
            return missing(request, services, connection, strings, alert_id)
        return render(
            request,
            services,
            connection,
            strings,
            "alert.html",
            page="now",
            title=found.headline,
            alert=found,
            gallery=found.affected[-8:][::-1],
        )


@router.get("/wafers")
def wafer_list(
    request: Request,
    services: Using,
    strings: Speaks,
    site: Text = "",
    product: Text = "",
    lot: Text = "",
    pattern: Text = "",
    min_probability: Share = 0.0,
    max_probability: Share = 1.0,
    module: Text = "",
    from_ms: Moment | None = None,
    to_ms: Moment | None = None,
    q: Text = "",
    offset: Offset = 0,
) -> Response:
    """Show me wafers like this."""
    with services.read() as connection:
        found = wafers.list_wafers(
            connection,
            site=site,
            product=product,
            lot=lot,
            pattern=pattern,
            min_probability=min_probability,
            max_probability=max_probability,
            module=module,
            from_ms=from_ms,
            to_ms=to_ms,
            q=q,
            limit=_WAFERS_A_PAGE,
            offset=offset,
        )
        modules = equipment.list_modules(connection, services.now_ms())
        return render(
            request,
            services,
            connection,
            strings,
            "wafers.html",
            page="wafers",
            title=strings("page.wafers"),
            wafers=found,
            products=wafers.products(connection),
            patterns=wafers.label_names(connection),
            modules=[one.module for one in modules],
            chosen={
                "site": site,
                "product": product,
                "lot": lot,
                "pattern": pattern,
                "module": module,
                "min_probability": min_probability,
                "q": q,
            },
        )


@router.get("/wafers/{site}/{substrate_id:path}")
def wafer(
    request: Request, services: Using, strings: Speaks, site: str, substrate_id: str
) -> Response:
    """One wafer: its route, maps, measurements and its like."""
    with services.read() as connection:
        found = wafers.wafer_detail(connection, site, substrate_id)
        if found is None:
            return missing(request, services, connection, strings, f"{site}/{substrate_id}")
        return render(
            request,
            services,
            connection,
            strings,
            "wafer.html",
            page="wafers",
            title=substrate_id,
            wafer=found,
            risks=risks.wafer_risks(connection, site, substrate_id),
            foretold=virtual.foretold(connection, site, substrate_id),
            judgements=judgements.of_wafer(connection, site, substrate_id),
            at_risk=risks.AT_RISK,
            ranked=sorted(found.probabilities.items(), key=lambda one: -one[1]),
        )


@router.get("/equipment")
def equipment_list(
    request: Request, services: Using, strings: Speaks, site: Text = "", module: Text = ""
) -> Response:
    """Which module is drifting?"""
    with services.read() as connection:
        modules = equipment.list_modules(connection, services.now_ms(), site=site)
        by_kind: dict[tuple[str, str], list[Any]] = {}
        for one in modules:
            by_kind.setdefault((one.site, one.kind), []).append(one)
        return render(
            request,
            services,
            connection,
            strings,
            "equipment.html",
            page="equipment",
            title=strings("page.equipment"),
            by_kind=by_kind,
            charts=charts.chart_counts(connection),
            chosen=module,
        )


@router.get("/models")
def models(request: Request, services: Using, strings: Speaks) -> Response:
    """Which model decides, is it still right?"""
    with services.read() as connection:
        return render(
            request,
            services,
            connection,
            strings,
            "models.html",
            page="models",
            title=strings("page.models"),
            models=model_views(services),
            queue=wafers.label_queue(connection, _QUEUE),
            patterns=wafers.label_names(connection),
        )


@router.get("/actions")
def action_list(
    request: Request,
    services: Using,
    strings: Speaks,
    status: Literal["", "proposed", "approved", "rejected", "applied", "failed"] = "",
    verdict: Literal["", "came", "absent", "unclear"] = "",
    offset: Offset = 0,
) -> Response:
    """Who did what, why, and did it help?"""
    with services.read() as connection:
        return render(
            request,
            services,
            connection,
            strings,
            "actions.html",
            page="actions",
            title=strings("page.actions"),
            actions=actions.list_actions(
                connection, status=status, verdict=verdict, limit=_ROWS_A_PAGE, offset=offset
            ),
            switches=automation.switches(connection, _SWITCHES),
            audit=overview.audit_trail(connection, _ROWS_A_PAGE, 0, decisions=True),
            chosen=status,
            verdict=verdict,
        )


@router.get("/health")
def health(
    request: Request,
    services: Using,
    strings: Speaks,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """For operators: processes, lag, dead letters, versions."""
    with services.read() as connection:
        return render(
            request,
            services,
            connection,
            strings,
            "health.html",
            page="health",
            title=strings("page.health"),
            health=health_view(services),
            letters=overview.dead_letters(connection, _ROWS_A_PAGE, offset),
        )
