"""Who makes the request that is being answered."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Request
from pydantic import BeforeValidator, StringConstraints

from console.access.roles import ALL_RIGHTS, Right, Role

__all__ = ["OPEN", "By", "Identity", "identity_of", "speaking"]


@dataclass(frozen=True)
class Identity:
    """Somebody, and what they may do.

    Attributes:
        name: of the account; '' where there are no accounts.
        role: of the account; None where there are no accounts.
        rights: what may be done: those of the role, for a token only those in its scopes.
        via: how we know: 'open' (there are no accounts), a 'session' or a 'token'.
        key: of the session or token, not secret; what is limited is counted by it.
        csrf: what the pages of this session must send along with a decision; '' if not a session.
    """

    name: str = ""
    role: Role | None = None
    rights: frozenset[Right] = frozenset()
    via: Literal["open", "session", "token"] = "open"
    key: str = ""
    csrf: str = ""

    def may(self, right: str) -> bool:
        """Whether this may be done; for templates too."""
        return right in self.rights


OPEN = Identity(rights=ALL_RIGHTS)
"""Whoever sits at this machine, where there are no accounts."""

speaking: ContextVar[str] = ContextVar("speaking", default="")
"""The account that makes the current request, or ''."""


def _account_or_typed(typed: object) -> object:
    return speaking.get() or typed


By = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
    # The name on a decision is the account's whatever the request says. It is put in here, where
    # every body that names a person is read, so that no route can forget it.
    BeforeValidator(_account_or_typed),
]
"""Who decides: the account if there are accounts, otherwise what was typed."""


def identity_of(request: Request) -> Identity:
    """Who makes `request`."""
    found = getattr(request.state, "identity", None)
    return found if isinstance(found, Identity) else OPEN
