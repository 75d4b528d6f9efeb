"""Signing in and out: the pages, and who one is."""

import asyncio
import math
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from console.access import accounts, sessions, tables
from console.access.door import address_of, cookie_of, session_cookie
from console.access.identity import identity_of
from console.access.policy import Access
from console.access.secrets import csrf_of, new_secret, same
from console.access.trail import append
from console.access.trip import Trip
from console.problems import problem
from console.rendering import plain_page
from console.services import Services, Speaks, Using
from console.strings import Strings
from contracts.errors import ConflictError, DataError, FabpilotError

__all__ = ["api", "router"]

router = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", tags=["who is asking"])

_log = structlog.get_logger(__name__)

# Somebody who reads the page before they type.
_FORM_S = 3600
# From our page to the identity provider's and back.
_OIDC_S = 600


class Me(BaseModel):
    """Who is asking, and what they may do."""

    name: str
    role: str
    rights: list[str]
    via: str


@api.get("/me")
def me(request: Request) -> Me:
    """Who this session or token belongs to, and its rights."""
    identity = identity_of(request)
    return Me(
        name=identity.name,
        role=identity.role.value if identity.role else "",
        rights=sorted(identity.rights),
        via=identity.via,
    )


@router.get("/login")
def ask(request: Request, services: Using, strings: Speaks, next: str = "/") -> Response:
    """The page to sign in on."""
    access = services.deps.access
    if access.auth == "none" or identity_of(request).name:
        return RedirectResponse(_local(next), 303)
    return _page(request, services, strings, _local(next))


@router.post("/login")
async def sign_in(request: Request, services: Using, strings: Speaks) -> Response:
    """Name and password for a session, or the page again with what was wrong."""
    access, limits = services.deps.access, services.limits
    if access.auth != "local":
        return problem(404, "there are no passwords here")
    form = _form(await request.body())
    goal = _local(form.get("next", "/"))
    ticket = cookie_of(request.headers, _ticket_cookie(access))
    if not ticket or not same(form.get("csrf", ""), csrf_of(ticket)):
        _log.warning("refused", reason="login form", address=address_of(request.scope))
        return _page(request, services, strings, goal, wrong="login.again", status=403)
    typed, address = form.get("name", "")[:200], address_of(request.scope)
    try:
        name = accounts.check_name(typed)
    except DataError:
        name = ""
    wait_s = max(limits.everybody.take(""), limits.address.take(address), limits.account.take(name))
    if wait_s:
        _note(services, "login.limited", name, address)
        return _page(request, services, strings, goal, wrong="login.wait", wait_s=wait_s)
    hashed, there = await asyncio.to_thread(_stored, services, name)
    fits = await asyncio.to_thread(accounts.password_fits, hashed, form.get("password", "")[:1000])
    if not fits:
        # What was typed for a name may be a password: only names that exist are written down.
        await asyncio.to_thread(_note, services, "login.failed", name if there else "?", address)
        return _page(request, services, strings, goal, wrong="login.wrong", status=401)
    limits.account.forget(name)
    return await asyncio.to_thread(_begin, request, services, name, goal)


@router.get("/login/oidc")
def to_provider(request: Request, services: Using, next: str = "/") -> Response:
    """To the identity provider, with what its answer must match kept in a cookie."""
    access = services.deps.access
    if access.oidc is None or services.provider is None:
        return problem(404, "there is no identity provider here")
    if wait_s := services.limits.address.take(address_of(request.scope)):
        return problem(429, f"too many logins; try again in {math.ceil(wait_s)} s")
    trip = Trip.new(_local(next))
    answer = RedirectResponse(services.provider.start(trip, _callback(request, access)), 303)
    _set(answer, access, _trip_cookie(access), trip.packed(), _OIDC_S)
    return answer


@router.get("/login/oidc/callback")
def from_provider(
    request: Request, services: Using, strings: Speaks, code: str = "", state: str = ""
) -> Response:
    """Back from the identity provider: the code becomes a session, if all of it matches."""
    access, address = services.deps.access, address_of(request.scope)
    if access.oidc is None or services.provider is None:
        return problem(404, "there is no identity provider here")
    if wait_s := services.limits.address.take(address):
        return problem(429, f"too many logins; try again in {math.ceil(wait_s)} s")
    trip = Trip.unpacked(cookie_of(request.headers, _trip_cookie(access)))
    name = "?"
    try:
        if trip is None or not code or not same(state, trip.state):
            raise DataError("this answer belongs to no login that was begun here")
        person = services.provider.finish(trip, code, _callback(request, access))
        name = accounts.check_name(person.name)
        now_ms = services.now_ms()
        with services.deps.engine.begin() as connection:
            accounts.admit(connection, name, person.role, person.subject, now_ms=now_ms)
    except FabpilotError as error:
        _log.warning("login failed", reason=str(error)[:300], address=address)
        _note(services, "login.failed", name, address, str(error)[:300])
        status = 409 if isinstance(error, ConflictError) else 401
        answer = _page(request, services, strings, "/", wrong="login.oidc", status=status,
                       detail=str(error))  # fmt: skip
    else:
        answer = _begin(request, services, name, trip.goal)
    answer.delete_cookie(_trip_cookie(access), path="/", secure=access.secure)
    return answer


@router.post("/logout")
async def sign_out(request: Request, services: Using) -> Response:
    """End this session."""
    access, identity = services.deps.access, identity_of(request)
    if identity.via == "session":
        form = _form(await request.body())
        if not same(form.get("csrf", ""), identity.csrf):
            _log.warning("refused", reason="csrf", who=identity.name, path="/logout")
            return problem(403, "this did not come from a page of your session; reload it")
        secret = cookie_of(request.headers, session_cookie(access))
        await asyncio.to_thread(_end, services, identity.name, secret, address_of(request.scope))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(session_cookie(access), path="/", secure=access.secure)
    return answer


def _begin(request: Request, services: Services, name: str, goal: str) -> Response:
    """A new session for `name`; one that the browser still had ends (no fixation)."""
    access, address = services.deps.access, address_of(request.scope)
    now_ms = services.now_ms()
    old = cookie_of(request.headers, session_cookie(access))
    with services.deps.engine.begin() as connection:
        if old:
            sessions.end(connection, old)
        secret = sessions.open_session(connection, name, address, now_ms, access.lifetimes)
        append(connection, now_ms, name, "login.ok", name, after={"address": address})
    services.keeper.forget(old)
    answer = RedirectResponse(goal, 303)
    _set(answer, access, session_cookie(access), secret, access.lifetimes.absolute_ms // 1000)
    answer.delete_cookie(_ticket_cookie(access), path="/", secure=access.secure)
    return answer


def _end(services: Services, name: str, secret: str, address: str) -> None:
    now_ms = services.now_ms()
    with services.deps.engine.begin() as connection:
        sessions.end(connection, secret)
        append(connection, now_ms, name, "logout", name, after={"address": address})
    services.keeper.forget(secret)


def _stored(services: Services, name: str) -> tuple[str, bool]:
    """The hash to compare with, '' if this account may not sign in; and whether there is one."""
    table = tables.accounts
    with services.read() as connection:
        row = connection.execute(
            select(table.c.password, table.c.disabled).where(table.c.name == name)
        ).first()
    return ("" if row is None or row.disabled else row.password), row is not None


def _note(services: Services, what: str, name: str, address: str, why: str = "") -> None:
    _log.warning(what, who=name, address=address)
    if services.limits.noted.take(""):
        return
    with services.deps.engine.begin() as connection:
        append(connection, services.now_ms(), name, what, name, why, after={"address": address})


def _page(
    request: Request,
    services: Services,
    strings: Strings,
    goal: str,
    *,
    wrong: str = "",
    status: int = 200,
    wait_s: float = 0.0,
    detail: str = "",
) -> Response:
    access = services.deps.access
    ticket = cookie_of(request.headers, _ticket_cookie(access)) or new_secret()
    seconds = math.ceil(wait_s)
    context: dict[str, Any] = {
        "goal": goal,
        "csrf": csrf_of(ticket),
        "oidc": access.auth == "oidc",
        "wrong": strings(wrong, seconds=seconds) if wrong else "",
        "detail": detail,
    }
    answer = plain_page(request, "login.html", 429 if wait_s else status, **context)
    if wait_s:
        answer.headers["retry-after"] = str(seconds)
    _set(answer, access, _ticket_cookie(access), ticket, _FORM_S)
    return answer


def _form(body: bytes) -> dict[str, str]:
    """The fields of a posted form; of a repeated one the first."""
    try:
        found = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except (UnicodeDecodeError, ValueError):
        return {}
    return {name: values[0] for name, values in found.items()}


def _local(goal: str) -> str:
    """An address on this console: nobody is sent elsewhere by a link to our login page."""
    try:
        parts = urlsplit(goal)
    except ValueError:
        return "/"
    plain = goal.isprintable() and "\\" not in goal and not goal.startswith("//")
    return goal if plain and goal.startswith("/") and not (parts.scheme or parts.netloc) else "/"


def _callback(request: Request, access: Access) -> str:
    base = access.public_url or str(request.base_url)
    return f"{base.rstrip('/')}/login/oidc/callback"


def _ticket_cookie(access: Access) -> str:
    return "__Host-fabpilot_login" if access.secure else "fabpilot_login"


def _trip_cookie(access: Access) -> str:
    return "__Host-fabpilot_oidc" if access.secure else "fabpilot_oidc"


def _set(answer: Response, access: Access, name: str, value: str, max_age_s: int) -> None:
    # Lax, not strict: a link to an alert in a mail, and the way back from the identity provider,
    # must find the session. What changes anything is posted, and needs the token beside it.
    answer.set_cookie(
        name,
        value,
        max_age=max_age_s,
        path="/",
        httponly=True,
        samesite="lax",
        secure=access.secure,
    )
