"""Signing in with an identity provider: one on loopback, honest and not."""

import re
import shutil

import pytest
from joserfc.jwk import RSAKey

from console import tables
from console.access import accounts
from console.access.oidc import Provider
from console.access.policy import Access, OidcSettings
from console.access.roles import Role
from contracts.errors import ConfigError
from streaming.database import open_engine
from tests.factories import NOON_MS
from tests.identity_provider import CLIENT, SECRET, provider

PAGE = {"accept": "text/html"}


@pytest.fixture
def there():
    with provider() as found:
        yield found


@pytest.fixture
def store(filled, tmp_path):
    engine = open_engine(f"sqlite:///{shutil.copy(filled, tmp_path / 'console.db')}")
    yield engine
    engine.dispose()


@pytest.fixture
def client(store, there, client_of):
    settings = OidcSettings(there.issuer, CLIENT, SECRET)
    with client_of(store, access=Access(auth="oidc", oidc=settings)) as client:
        yield client


def go(client, there, **changed):
    """Set out, come back; the answer, not followed."""
    there.claims = changed
    away = client.get("/login/oidc?next=/wafers", follow_redirects=False)
    assert away.status_code == 303
    assert away.headers["location"].startswith(f"{there.issuer}/authorize?")
    return client.get(there.authorize(away.headers["location"]), follow_redirects=False)


def people(store):
    with store.begin() as connection:
        return [(one.name, one.role, one.local) for one in accounts.listed(connection)]


def trail(store):
    with store.begin() as connection:
        return [row.what for row in connection.execute(tables.audit.select())]


def test_there_and_back(client, there, store):
    page = client.get("/login?next=/wafers", headers=PAGE).text
    assert 'href="/login/oidc?next=/wafers"' in page
    assert 'type="password"' not in page
    answer = go(client, there)
    assert (answer.status_code, answer.headers["location"]) == (303, "/wafers")
    me = client.get("/api/v1/me").json()
    assert (me["name"], me["role"]) == ("minji", "engineer")
    assert people(store) == [("minji", Role.ENGINEER, False)]
    assert trail(store) == ["account.added", "login.ok"]
    csrf = re.search(r'data-csrf="([0-9a-f]+)"', client.get("/", headers=PAGE).text)[1]
    client.post("/logout", data={"csrf": csrf})
    assert client.get("/", headers=PAGE, follow_redirects=False).status_code == 303
    assert there.asked.count("/keys") == 1, "keys are kept"


def test_the_role_is_what_the_provider_says_at_each_login(client, there, store):
    go(client, there, roles=["something", "viewer"])
    assert people(store)[0][1] is Role.VIEWER
    go(client, there, roles="admin")
    assert people(store)[0][1] is Role.ADMIN
    assert trail(store)[-2:] == ["account.role", "login.ok"]


@pytest.mark.parametrize(
    "claims",
    [
        {"roles": None}, {"roles": []}, {"roles": ["root"]}, {"roles": {"admin": True}},
        {"nonce": "another"}, {"nonce": None}, {"aud": "somebody else"}, {"aud": None},
        {"iss": "https://evil.example"}, {"exp": 1_000_000_000},
        {"preferred_username": "../../x"}, {"sub": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_hold_opens_nothing(client, there, store, claims):
    answer = go(client, there, **claims)
    assert answer.status_code == 401, answer.text
    assert client.get("/api/v1/strip").status_code == 401
    assert people(store) == []
    assert trail(store) == ["login.failed"]


@pytest.mark.parametrize("how", ["none", "HS256", "foreign key"])
def test_what_its_key_did_not_sign_opens_nothing(client, there, store, how):
    if how == "foreign key":
        there.key = RSAKey.generate_key(2048, {"kid": "one"})
    else:
        there.algorithm = how
    assert go(client, there).status_code == 401
    assert people(store) == []


def test_a_new_key_is_fetched(client, there, store):
    go(client, there)
    there.key = there.published = RSAKey.generate_key(2048, {"kid": "two"})
    assert go(client, there).status_code == 303


def test_an_answer_to_another_browser_opens_nothing(client, there, store):
    away = client.get("/login/oidc", follow_redirects=False).headers["location"]
    back = there.authorize(away)
    trip = client.cookies["fabpilot_oidc"]
    client.cookies.clear()
    assert client.get(back, follow_redirects=False).status_code == 401
    # Another state, another verifier, no code, and a code that was used.
    client.cookies.set("fabpilot_oidc", trip)
    assert client.get(f"{back}x", follow_redirects=False).status_code == 401
    client.cookies.set("fabpilot_oidc", trip.replace(trip.split(".")[2], "A" * 43))
    assert client.get(back, follow_redirects=False).status_code == 401
    client.cookies.set("fabpilot_oidc", trip)
    assert client.get(back, follow_redirects=False).status_code == 401
    assert client.get("/login/oidc/callback", follow_redirects=False).status_code == 401
    assert people(store) == []


def test_a_name_belongs_to_who_had_it_first(client, there, store):
    go(client, there)
    answer = go(client, there, sub="u-2", roles=["admin"])
    assert answer.status_code == 409
    assert people(store) == [("minji", Role.ENGINEER, False)]
    with store.begin() as connection:
        accounts.disable(connection, "minji", disabled=True, by="test", now_ms=NOON_MS)
    assert go(client, there).status_code == 401


def test_there_are_no_passwords_then(client, store):
    assert client.post("/login", data={"name": "x", "password": "y"}).status_code == 404


def test_a_provider_that_is_away_is_said_and_no_fault_of_ours(store, client_of):
    settings = OidcSettings("http://127.0.0.1:9", CLIENT)
    with client_of(store, access=Access(auth="oidc", oidc=settings)) as client:
        answer = client.get("/login/oidc", follow_redirects=False)
        assert answer.status_code == 503
        assert "does not answer" in answer.json()["detail"]


def test_a_provider_must_be_reached_by_tls():
    with pytest.raises(ConfigError, match="https"):
        Provider(OidcSettings("http://login.example", CLIENT))


def test_a_provider_that_calls_itself_otherwise_is_refused(there, store, client_of):
    settings = OidcSettings(f"{there.issuer}/realm", CLIENT)
    with client_of(store, access=Access(auth="oidc", oidc=settings)) as client:
        answer = client.get("/login/oidc", follow_redirects=False)
        assert answer.status_code == 503
        assert "exactly" in answer.json()["detail"]
