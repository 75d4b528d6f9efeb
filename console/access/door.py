"""The door: who is it, may they, and not too often. Inside it, every request has an identity."""

import math
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from console.access.identity import OPEN, Identity, speaking
from console.access.keeper import Keeper
from console.access.policy import Access, Limits
from console.access.rules import is_public, right_for
from console.access.secrets import same
from console.problems import problem

__all__ = ["CSRF_HEADER", "LIVE_HEADER", "Door", "address_of", "cookie_of", "session_cookie"]

CSRF_HEADER = "x-csrf-token"
LIVE_HEADER = "x-fabpilot-live"
"""Sent by a page that refreshes itself: nobody did anything, so it does not keep a session."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_log = structlog.get_logger(__name__)


def session_cookie(access: Access) -> str:
    """Its name. `__Host-` makes browsers refuse one that a neighbouring host or plain HTTP set."""
    return "__Host-fabpilot_session" if access.secure else "fabpilot_session"


def cookie_of(headers: Headers, name: str) -> str:
    """A cookie's value, or ''."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def address_of(scope: Scope) -> str:
    """Where the request comes from, or '?'."""
    client = scope.get("client")
    return str(client[0]) if client else "?"


class Door:
    """ASGI middleware: identity, rights, CSRF tokens and limits.

    Args:
        app: what it stands before.
        access: how people are let in.
        keeper: knows them.
        limits: how often they may.
    """

    def __init__(self, app: ASGIApp, access: Access, keeper: Keeper, limits: Limits) -> None:
        self._app = app
        self._access = access
        self._keeper = keeper
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with `scope["state"]["identity"]`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["access"] = self._access
        if self._access.auth == "none":
            state["identity"] = OPEN
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        identity = await self._identity(headers)
        state["identity"] = identity or Identity()
        refusal = None if is_public(scope["path"]) else self._refusal(scope, headers, identity)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        spoken = speaking.set(state["identity"].name)
        try:
            await self._app(scope, receive, send)
        finally:
            speaking.reset(spoken)

    async def _identity(self, headers: Headers) -> Identity | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            # Whoever sends a token means it: no cookie stands in for one that does not hold.
            return await self._keeper.by_token(token.strip())
        secret = cookie_of(headers, session_cookie(self._access))
        if not secret:
            return None
        return await self._keeper.by_session(secret, active=LIVE_HEADER not in headers)

    def _refusal(
        self, scope: Scope, headers: Headers, identity: Identity | None
    ) -> Response | None:
        method, path = scope["method"], scope["path"]
        if identity is None:
            return self._stranger(scope, headers)
        limit = self._limits.session if identity.via == "session" else self._limits.token
        if wait_s := limit.take(identity.key):
            return _later(wait_s, "too many requests of this account")
        right = right_for(method, path)
        if not identity.may(right):
            whose = "this token" if identity.via == "token" else f"the role {identity.role}"
            _log.warning("refused", reason="right", who=identity.name, right=right, path=path[:200])
            return problem(
                403, f"this needs the right '{right}', which {whose} does not have; ask an"
                " administrator"
            )  # fmt: skip
        posted = identity.via == "session" and method not in _SAFE_METHODS
        if posted and not same(headers.get(CSRF_HEADER, ""), identity.csrf):
            _log.warning("refused", reason="csrf", who=identity.name, path=path[:200])
            return problem(403, "this did not come from a page of your session; reload it")
        return None

    def _stranger(self, scope: Scope, headers: Headers) -> Response:
        """Somebody without an account, or with a session or token that does not hold (any more)."""
        if wait_s := self._limits.refused.take(address_of(scope)):
            return _later(wait_s, "too many requests without an account")
        path = scope["path"]
        looks = scope["method"] in _SAFE_METHODS and "text/html" in headers.get("accept", "")
        if looks and not path.startswith("/api/"):
            query = scope.get("query_string", b"").decode("latin-1")
            here = path + (f"?{query}" if query else "")
            return RedirectResponse(f"/login?next={quote(here, safe='/')}", 303)
        return problem(
            401,
            "sign in first, or send a token that holds: Authorization: Bearer ...",
            headers={"www-authenticate": 'Bearer realm="fabpilot"'},
        )


def _later(wait_s: float, what: str) -> Response:
    seconds = max(1, math.ceil(wait_s))
    return problem(429, f"{what}; try again in {seconds} s", headers={"retry-after": str(seconds)})
