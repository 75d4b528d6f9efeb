"""Who may talk to the console, and what browsers may do with its pages.

With accounts or without, two doors are shut here: a foreign web page cannot read the console
through a name that it points at the loopback address (DNS rebinding), since only known names are
answered; and it cannot post to the console, since browsers say where a post comes from. Who may do
what is for `console.access.door`, behind this.
"""

import asyncio
import traceback
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.problems import problem

__all__ = ["BODY_S", "MAX_BODY_BYTES", "Guard"]

_log = structlog.get_logger(__name__)

# Decisions are a name and a comment; nothing larger is ever posted here.
MAX_BODY_BYTES = 64 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "content-security-policy": (
        # Nothing inline, nothing from elsewhere: a name with a script in it stays a name.
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_HSTS = "max-age=31536000"
BODY_S = 10.0
"""A body of so few bytes comes in one piece; whoever sends it byte by byte is cut off."""
# Of an address, in the log.
_SHOWN = 200


class Guard:
    """ASGI middleware: host and origin checks, the body limit, security headers.

    Args:
        app: what it stands before.
        allowed_hosts: names to answer to besides the loopback ones, without a port.
        secure: browsers reach us by TLS, and shall remember that.
        body_s: within which a body must have come.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Sequence[str] = (),
        *,
        secure: bool = False,
        body_s: float = BODY_S,
    ) -> None:
        self._app = app
        self._body_s = body_s
        self._headers = _HEADERS | ({"strict-transport-security": _HSTS} if secure else {})
        self._hosts = _LOOPBACK | {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, pass on any other."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("cache-control", "no-store")
                _note(scope, message["status"])
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal is not None:
            await problem(*refusal)(scope, receive, send_guarded)
            return
        if scope["method"] not in _SAFE_METHODS:
            try:
                async with asyncio.timeout(self._body_s):
                    body = await _body(receive)
            except TimeoutError:
                text = f"the request did not come to an end within {self._body_s:g} s"
                answer = problem(408, text, headers={"connection": "close"})
                await answer(scope, receive, send_guarded)
                return
            if body is None:
                text = f"a request may have {MAX_BODY_BYTES} bytes"
                answer = problem(413, text, headers={"connection": "close"})
                await answer(scope, receive, send_guarded)
                return
            receive = _Replay(body, receive)
        await self._guarded(scope, receive, send_guarded)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; a bug in it becomes a problem document and a line in the log."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            _log.error("request failed", path=scope["path"], trace=trace)
            if begun:
                raise
            text = "something here is broken; the console's log says what"
            await problem(500, text)(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if _host_name(host) not in self._hosts:
            return 421, (
                "this console does not go by that name: open it as http://127.0.0.1, or start it"
                " with the name among the allowed hosts"
            )
        if method in _SAFE_METHODS:
            return None
        site = headers.get("sec-fetch-site")
        if site is not None and site not in ("same-origin", "none"):
            return 403, "decisions are accepted from the console's own pages only"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "decisions are accepted from the console's own pages only"
        if int(_digits(headers.get("content-length", "0"))) > MAX_BODY_BYTES:
            return 413, f"a request may have {MAX_BODY_BYTES} bytes"
        return None


def _note(scope: Scope, status: int) -> None:
    """A line for every request that was refused, and for every one that may have changed some."""
    refused = status >= 400
    if not refused and scope["method"] in _SAFE_METHODS:
        return
    identity = scope.get("state", {}).get("identity")
    client = scope.get("client")
    _log.info(
        "refused" if refused else "answered",
        status=status,
        method=scope["method"][:16],
        path=scope["path"][:_SHOWN],
        who=getattr(identity, "name", ""),
        address=client[0] if client else "?",
    )


def _digits(text: str) -> str:
    # A length that is no number is caught by the server; here it only must not raise.
    return text if text.isascii() and text.isdigit() else "0"


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


async def _body(receive: Receive) -> bytes | None:
    """The whole body, or None if it is too large."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return body


class _Replay:
    """Gives a body that was read already, then what the server has to say."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        """The next message of the request."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
