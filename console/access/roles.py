"""Roles and rights: the one table of who may do what. docs/security.md shows it, a test agrees."""

from enum import StrEnum

__all__ = ["ALL_RIGHTS", "RIGHTS", "Right", "Role"]


class Role(StrEnum):
    """What an account is for."""

    VIEWER = "viewer"
    ENGINEER = "engineer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Right(StrEnum):
    """What can be allowed or not; also the scopes of a token."""

    LOOK = "look"
    DECIDE = "decide"
    APPROVE = "approve"
    LABEL = "label"
    REPLAY = "replay"
    SWITCH = "switch"
    AUDIT = "audit"
    MANAGE = "manage"


ALL_RIGHTS = frozenset(Right)

# Not a ladder: who runs the servers has no say in the process, and the other way round.
RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.LOOK}),
    Role.ENGINEER: frozenset({Right.LOOK, Right.DECIDE, Right.APPROVE, Right.LABEL}),
    Role.OPERATOR: frozenset({Right.LOOK, Right.REPLAY, Right.SWITCH}),
    Role.ADMIN: ALL_RIGHTS,
}
"""The rights of each role."""
