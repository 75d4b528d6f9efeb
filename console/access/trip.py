"""One way to the identity provider and back, and whom it vouches for."""

from dataclasses import dataclass
from typing import Protocol

from console.access.roles import Role
from console.access.secrets import new_secret

__all__ = ["IdentityProvider", "Person", "Trip"]


@dataclass(frozen=True)
class Trip:
    """One way to the provider and back.

    Attributes:
        state: comes back in the address.
        nonce: comes back in the signed token.
        verifier: of PKCE; proves that who brings the code is who set out.
        goal: where the person wanted to go.
    """

    state: str
    nonce: str
    verifier: str
    goal: str

    @classmethod
    def new(cls, goal: str) -> "Trip":
        """A new one."""
        return cls(new_secret(), new_secret(), new_secret(), goal)

    def packed(self) -> str:
        """As a cookie's value."""
        return ".".join((self.state, self.nonce, self.verifier, self.goal.encode().hex()))

    @classmethod
    def unpacked(cls, value: str) -> "Trip | None":
        """From a cookie's value."""
        parts = value.split(".")
        try:
            goal = bytes.fromhex(parts[3]).decode() if len(parts) == 4 else ""
        except ValueError:
            return None
        return cls(parts[0], parts[1], parts[2], goal) if goal and all(parts) else None


@dataclass(frozen=True)
class Person:
    """Whom the provider vouches for."""

    subject: str
    name: str
    role: Role


class IdentityProvider(Protocol):
    """What signing in needs of an identity provider."""

    def start(self, trip: Trip, callback: str) -> str:
        """Where to send the browser."""
        ...

    def finish(self, trip: Trip, code: str, callback: str) -> Person:
        """Who came back with this code."""
        ...
