"""The pages: each a template over the same queries the API answers with."""

import hashlib
import math
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Query, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from sqlalchemy import Connection
from starlette.responses import HTMLResponse, Response

from console.api.alerts import Offset, StateFilter, Text, states_for
from console.api.system import health_view, model_views
from console.api.wafers import Moment, Share
from console.queries import alerts, equipment, overview, wafers
from console.queries.overview import last_change
from console.services import Services, Speaks, Using, strings_of
from console.strings import LANGUAGES, Strings
from console.times import clock_time, full_time
from contracts.events import Severity
from contracts.wafer_map import PATTERNS

__all__ = ["problem_page", "router", "warm_up"]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGES = ("now", "wafers", "equipment", "models", "actions", "health")
_WAFERS_A_PAGE = 48
_ROWS_A_PAGE = 50
_THEMES = ("light", "dark")


@cache
def _static_version() -> str:
    """Changes when a static file changes, so that browsers may keep them."""
    digest = hashlib.sha256()
    for entry in sorted((files("console") / "static").iterdir(), key=lambda one: one.name):
        digest.update(entry.name.encode() + entry.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        url=lambda text: quote(str(text), safe="/"),
        number=_number,
        percent=lambda share, digits=1: f"{100 * share:.{digits}f}",
        bytes=_bytes,
        dumps=lambda views: htmlsafe_json_dumps([view.model_dump() for view in views]),
        significant=lambda value, digits=3: f"{value:.{digits}g}",
    )
    return environment


def warm_up() -> None:
    """Compile the templates, so that the first person to look does not wait for it."""
    _static_version()
    environment = _environment()
    for name in environment.list_templates():
        environment.get_template(name)


def _number(value: float | int | None, digits: int = 0) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def _bytes(size: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}"
        size //= 1024
    return f"{size:,.0f} GiB"


class _Times:
    """Formats times for one answer: fab times in the site's zone, ages in plain words."""

    def __init__(self, services: Services, strings: Strings) -> None:
        self._zones = services.zones
        self._strings = strings
        self._default = next(iter(services.zones.values()), "UTC")

    def _zone(self, site: str) -> str:
        return self._zones.get(site, self._default)

    def full(self, time_ms: int, site: str = "") -> str:
        return full_time(time_ms, self._zone(site))

    def clock(self, time_ms: int, site: str = "") -> str:
        return clock_time(time_ms, self._zone(site))

    def age(self, seconds: float) -> str:
        for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
            if seconds >= size:
                return self._strings(f"age.{unit}", n=int(seconds // size))
        return self._strings("age.s", n=int(seconds))


def _render(
    request: Request,
    services: Services,
    connection: Connection,
    strings: Strings,
    template: str,
    *,
    page: str,
    title: str,
    status: int = 200,
    **context: Any,
) -> Response:
    theme = request.cookies.get("fabpilot_theme", "")
    strip = services.strip(connection)
    times = _Times(services, strings)

    def here(**changed: object) -> str:
        """This address with some parameters changed; None takes one out."""
        query = {**dict(request.query_params), **changed}
        kept = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{request.url.path}?{urlencode(kept)}" if kept else request.url.path

    html = (
        _environment()
        .get_template(template)
        .render(
            t=strings,
            times=times,
            strip=strip,
            page=page,
            pages=PAGES,
            title=title,
            theme=theme if theme in _THEMES else "",
            person=_cookie_text(request, "fabpilot_name"),
            languages=LANGUAGES,
            change=last_change(connection),
            static=f"v={_static_version()}",
            script_strings=strings.group("js."),
            here=here,
            now_ms=services.now_ms(),
            version=services.deps.version,
            **context,
        )
    )
    response = HTMLResponse(html, status_code=status, headers={"cache-control": "no-store"})
    asked = request.query_params.get("lang")
    if asked in LANGUAGES:
        response.set_cookie("fabpilot_lang", asked, max_age=31_536_000, samesite="strict")
    return response


def _cookie_text(request: Request, name: str) -> str:
    return unquote(request.cookies.get(name, ""))[:80]


def _missing(
    request: Request, services: Services, connection: Connection, strings: Strings, what: str
) -> Response:
    return _render(
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


def problem_page(request: Request, status: int, detail: str) -> Response:
    """What went wrong, for a person; it needs no database, which may be what went wrong."""
    strings = strings_of(request)
    html = (
        _environment()
        .get_template("problem.html")
        .render(t=strings, status=status, detail=detail, static=f"v={_static_version()}")
    )
    return HTMLResponse(html, status_code=status, headers={"cache-control": "no-store"})


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
        return _render(
            request,
            services,
            connection,
            strings,
            "now.html",
            page="now",
            title=strings("page.now"),
            alerts=found,
            areas=areas,
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
            return _missing(request, services, connection, strings, alert_id)
        return _render(
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
        return _render(
            request,
            services,
            connection,
            strings,
            "wafers.html",
            page="wafers",
            title=strings("page.wafers"),
            wafers=found,
            products=wafers.products(connection),
            patterns=PATTERNS,
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
            return _missing(request, services, connection, strings, f"{site}/{substrate_id}")
        return _render(
            request,
            services,
            connection,
            strings,
            "wafer.html",
            page="wafers",
            title=substrate_id,
            wafer=found,
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
        return _render(
            request,
            services,
            connection,
            strings,
            "equipment.html",
            page="equipment",
            title=strings("page.equipment"),
            by_kind=by_kind,
            chosen=module,
        )


@router.get("/models")
def models(request: Request, services: Using, strings: Speaks) -> Response:
    """Which model decides, is it still right?"""
    with services.read() as connection:
        return _render(
            request,
            services,
            connection,
            strings,
            "models.html",
            page="models",
            title=strings("page.models"),
            models=model_views(services),
        )


@router.get("/actions")
def action_list(
    request: Request,
    services: Using,
    strings: Speaks,
    status: Literal["", "proposed", "approved", "rejected", "applied", "failed"] = "",
    offset: Offset = 0,
) -> Response:
    """Who did what?"""
    with services.read() as connection:
        return _render(
            request,
            services,
            connection,
            strings,
            "actions.html",
            page="actions",
            title=strings("page.actions"),
            actions=alerts.list_actions(
                connection, status=status, limit=_ROWS_A_PAGE, offset=offset
            ),
            audit=overview.audit_trail(connection, _ROWS_A_PAGE, 0),
            chosen=status,
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
        return _render(
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
