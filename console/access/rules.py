"""Which right a request needs, by method and path.

Reading needs the right to look; everything else must be named here, or only an administrator may
do it. A test walks over all routes, so that a new one is a decision and not an accident.
"""

import re

from console.access.roles import Right

__all__ = ["NAMED", "PUBLIC", "is_public", "right_for"]

PUBLIC = ("/login", "/login/oidc", "/login/oidc/callback", "/logout", "/healthz", "/livez")
"""Answered without an account. They say nothing about the fab."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

NAMED: tuple[tuple[str, str, Right], ...] = (
    # (method or *, pattern of the whole path, right)
    ("GET", r"/accounts|/api/v1/(accounts|tokens)(/.*)?", Right.MANAGE),
    ("GET", r"/api/v1/audit(/.*)?|/api/v1/export/audit\.\w+", Right.AUDIT),
    ("POST", r"/api/v1/alerts/.+/decisions", Right.DECIDE),
    ("POST", r"/api/v1/actions/.+/decisions", Right.APPROVE),
    ("POST", r"/api/v1/wafers/.+/label", Right.LABEL),
    ("POST", r"/api/v1/dead-letters/.+/replay", Right.REPLAY),
    ("POST", r"/api/v1/automation(/.*)?", Right.SWITCH),
    ("POST", r"/api/v1/accounts/[^/]+", Right.MANAGE),
    ("POST", r"/api/v1/tokens/[^/]+/revoke", Right.MANAGE),
)
_COMPILED = [(method, re.compile(pattern), right) for method, pattern, right in NAMED]


def is_public(path: str) -> bool:
    """Whether `path` is answered to anybody."""
    return path in PUBLIC or path.startswith("/static/")


def right_for(method: str, path: str) -> Right:
    """The right that this request needs."""
    asked = "GET" if method in _SAFE else method
    for named, pattern, right in _COMPILED:
        if named == asked and pattern.fullmatch(path):
            return right
    return Right.LOOK if method in _SAFE else Right.MANAGE
