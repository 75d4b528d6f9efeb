"""Turns templates and view models into pages: language, times, theme and the strip included."""

import hashlib
import math
import secrets
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import quote, unquote, urlencode

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from console.access.identity import identity_of
from console.queries.overview import last_change
from console.services import Services, strings_of
from console.steering_views import RiskStep
from console.strings import LANGUAGES, Strings
from console.times import clock_time, full_time

__all__ = ["personal", "plain_page", "problem_page", "render", "warm_up"]

PAGES = ("now", "wafers", "equipment", "models", "actions", "health")
# Groups of strings that scripts use; most of them are for scripts alone.
_IN_SCRIPTS = ("js.", "rule.", "chart.", "r2r.")
_THEMES = ("light", "dark")
# Stand in a shared page for what is one person's. Drawn anew by every process, so that nobody can
# write them into a comment.
_PERSON, _CSRF, _ROLE, _ROLE_NAME = (
    f"{name}-{secrets.token_hex(16)}" for name in ("person", "csrf", "role", "role-name")
)


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
        plotted=_plotted,
        step_names=_step_names,
        risk_lines=_risk_lines,
        by_sequence=lambda steps: {one.sequence: one for one in steps},
        significant=_significant,
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


def _significant(value: float, digits: int = 3) -> str:
    """So many digits, large numbers written out: 17,300 and not 1.73e+04."""
    if 10**digits <= abs(value) < 1e9:
        return f"{float(f'{value:.{digits}g}'):,.0f}"
    return f"{value:.{digits}g}"


# More lines than that cannot be told apart.
_PATTERN_LINES = 3
# What scripts need no second time of each of hundreds of points.
_NOT_PLOTTED = {"time_ms", "contributions", "substrates", "reason"}


def _plotted(points: Sequence[BaseModel]) -> Markup:
    """Points as JSON for the script that draws them."""
    return htmlsafe_json_dumps([_plot(point) for point in points])


def _plot(point: BaseModel) -> dict[str, Any]:
    # Of a point with contributions the time too: it is what names the point in a link.
    chosen = bool(getattr(point, "contributions", ()))
    return point.model_dump(exclude=_NOT_PLOTTED - {"time_ms"} if chosen else _NOT_PLOTTED)


def _step_names(histories: Iterable[Sequence[RiskStep]]) -> list[tuple[int, str]]:
    """(sequence, step) of all that some wafers went through, in order."""
    return sorted({(one.sequence, one.step) for steps in histories for one in steps})


def _risk_lines(steps: Sequence[RiskStep], any_name: str) -> list[dict[str, Any]]:
    """The risk of any pattern and of the likeliest ones, as lines over the route."""
    ever = {name: max(one.probabilities.get(name, 0.0) for one in steps)
            for step in steps for name in step.probabilities}  # fmt: skip
    shown = sorted(ever, key=lambda name: (-ever[name], name))[:_PATTERN_LINES]
    lines = [(any_name, [(one.sequence, round(one.any_pattern, 4)) for one in steps])]
    lines += [
        (name, [(one.sequence, round(one.probabilities.get(name, 0.0), 4)) for one in steps])
        for name in shown
    ]
    return [{"name": name, "points": points} for name, points in lines]


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

    def clocks(self, times_ms: Iterable[int], site: str = "") -> list[str]:
        """One label a point; with the day where they do not all lie in one."""
        zone = self._zone(site)
        days = [full_time(time_ms, zone)[5:16] for time_ms in times_ms]
        return days if len({day[:5] for day in days}) > 1 else [day[6:] for day in days]

    def age(self, seconds: float) -> str:
        for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
            if seconds >= size:
                return self._strings(f"age.{unit}", n=int(seconds // size))
        return self._strings("age.s", n=int(seconds))


def render(
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
    """The page made of `template`, with what every page needs."""
    theme = request.cookies.get("fabpilot_theme", "")
    shared = getattr(request.state, "shared", False)
    me = identity_of(request)
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
            me=me,
            csrf=_CSRF if shared else me.csrf,
            person=_PERSON if shared else _person(request),
            role=_ROLE if shared else me.role or "open",
            role_name=_ROLE_NAME if shared else strings(f"role.{me.role}"),
            languages=LANGUAGES,
            change=last_change(connection),
            static=f"v={_static_version()}",
            script_strings={
                key: text for group in _IN_SCRIPTS for key, text in strings.group(group).items()
            },
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


def _person(request: Request) -> str:
    """The account, or without accounts the name that was typed."""
    typed = unquote(request.cookies.get("fabpilot_name", ""))[:80]
    return identity_of(request).name or typed


def personal(scope: Scope, page: bytes) -> bytes:
    """A shared page with the name, the role and the token of whoever asked."""
    request = Request(scope)
    me = identity_of(request)
    for mark, text in (
        (_PERSON, escape(_person(request))),
        (_CSRF, me.csrf),
        (_ROLE_NAME, escape(strings_of(request)(f"role.{me.role}"))),
        (_ROLE, me.role or "open"),
    ):
        page = page.replace(mark.encode(), text.encode())
    return page


def plain_page(request: Request, template: str, status: int, **context: Any) -> Response:
    """A page that stands alone and needs no database, which may be what went wrong."""
    html = (
        _environment()
        .get_template(template)
        .render(
            t=strings_of(request),
            status=status,
            static=f"v={_static_version()}",
            languages=LANGUAGES,
            **context,
        )
    )
    return HTMLResponse(html, status_code=status, headers={"cache-control": "no-store"})


def problem_page(request: Request, status: int, detail: str) -> Response:
    """What went wrong, for a person."""
    return plain_page(request, "problem.html", status, detail=detail)
