"""How the console lets people in, as it was set; and the books kept while it runs."""

from dataclasses import dataclass, field
from typing import Literal

from console.access.limits import Limit
from console.access.sessions import Lifetimes

__all__ = ["Access", "AuthMode", "Limits", "OidcSettings"]

AuthMode = Literal["none", "local", "oidc"]


@dataclass(frozen=True)
class OidcSettings:
    """The identity provider.

    Attributes:
        issuer: its address, as in its own discovery document.
        client_id: under which it knows this console.
        client_secret: that it gave us; '' for a public client (PKCE protects the code either way).
        role_claim: the claim whose values name roles, such as 'roles' or 'groups'.
    """

    issuer: str
    client_id: str
    client_secret: str = ""
    role_claim: str = "roles"


@dataclass(frozen=True)
class Access:
    """How people are let in.

    Attributes:
        auth: 'none' (whoever sits at this machine), 'local' accounts or 'oidc'.
        public_url: how browsers reach the console, such as 'https://fab.example'; '' if it is
            reached by its loopback address.
        tls: the console speaks TLS itself.
        lifetimes: of sessions.
        oidc: the identity provider, with 'oidc'.
    """

    auth: AuthMode = "none"
    public_url: str = ""
    tls: bool = False
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    oidc: OidcSettings | None = None

    @property
    def secure(self) -> bool:
        """Browsers reach us by TLS, so cookies never go without."""
        return self.tls or self.public_url.startswith("https://")


class Limits:
    """What is counted, and how much of it is allowed."""

    def __init__(self) -> None:
        # A person who mistypes gets ten tries; whoever guesses gets 2,880 a day at one account.
        self.account = Limit(10, 1 / 30)
        self.address = Limit(20, 1 / 10)
        # All together: each try costs 64 MiB for some tens of milliseconds.
        self.everybody = Limit(100, 5, keys=1)
        # A page and its pictures are a burst; a program polls.
        self.session = Limit(300, 60)
        self.token = Limit(100, 20)
        self.refused = Limit(100, 10)
        # Rows of the audit trail stay for ever, so nobody without an account may add them freely.
        self.noted = Limit(60, 1 / 60, keys=1)
