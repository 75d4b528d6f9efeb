"""Accounts, sessions and tokens for tests of a console with accounts."""

import re
from dataclasses import dataclass

from argon2 import PasswordHasher
from sqlalchemy import Engine
from starlette.testclient import TestClient

from console.access import accounts, tokens
from console.access.policy import Access
from console.access.roles import RIGHTS, Right, Role

PASSWORD = "three small words"
LOCAL = Access(auth="local")
# As safe as a test's password needs to be, and a thousand times as fast.
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def account(engine: Engine, name: str, role: Role, now_ms: int) -> None:
    """An account with `PASSWORD`."""
    with engine.begin() as connection:
        hashed = QUICK.hash(PASSWORD)
        accounts.add(connection, name, role, hashed, by="test", now_ms=now_ms)


def token(
    engine: Engine,
    name: str,
    now_ms: int,
    scopes: list[Right] | None = None,
    days: int = 30,
) -> dict[str, str]:
    """The header of a program that acts for `name`; with all its rights if none are named."""
    with engine.begin() as connection:
        found = accounts.find(connection, name)
        assert found is not None
        _, secret = tokens.add(
            connection,
            name,
            scopes or sorted(RIGHTS[found.role]),
            days=days,
            purpose="test",
            by="test",
            now_ms=now_ms,
        )
    return {"authorization": f"Bearer {secret}"}


@dataclass
class Browser:
    """Somebody at a browser: a client with cookies, and the token of their pages."""

    client: TestClient

    def form(self, path: str = "/login") -> dict[str, str]:
        """The hidden fields of the form on the login page."""
        page = self.client.get(path, headers={"accept": "text/html"})
        assert page.status_code == 200, page.text
        return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))

    def sign_in(self, name: str, password: str = PASSWORD, path: str = "/login"):
        """Post the login form; the answer, not followed."""
        return self.client.post(
            "/login",
            data={**self.form(path), "name": name, "password": password},
            follow_redirects=False,
        )

    def csrf(self) -> str:
        """What the pages of this session carry."""
        page = self.client.get("/", headers={"accept": "text/html"})
        found = re.search(r'data-csrf="([0-9a-f]+)"', page.text)
        assert found is not None
        return found[1]

    def post(self, path: str, body: dict, **headers: str):
        """As the pages do it."""
        return self.client.post(path, json=body, headers={"x-csrf-token": self.csrf(), **headers})
