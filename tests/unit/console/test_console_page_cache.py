"""Pages are made once for many, and still each gets their own, and nobody an old one."""

import shutil
import time

import pytest

from console import rendering
from console.access.roles import Role
from console.feed import Change, Feed
from console.store import announce
from streaming.database import open_engine
from tests.access_helpers import LOCAL, Browser, account
from tests.console_events import ALERT_ID
from tests.factories import NOON_MS

PAGE = {"accept": "text/html"}


@pytest.fixture
def store(filled, tmp_path):
    engine = open_engine(f"sqlite:///{shutil.copy(filled, tmp_path / 'console.db')}")
    yield engine
    engine.dispose()


@pytest.fixture
def made(monkeypatch):
    """Templates that were filled in."""
    found = []
    environment = rendering._environment()
    get = environment.get_template

    def counted(name, *args, **kwargs):
        found.append(name)
        return get(name, *args, **kwargs)

    monkeypatch.setattr(environment, "get_template", counted)
    return found


@pytest.fixture
def client(store, client_of, monkeypatch):
    # So that the clock does not decide what this machine under load shows.
    monkeypatch.setattr("console.page_cache._KEPT_S", 3600.0)
    with client_of(store) as client:
        yield client


def test_the_same_page_is_made_once_and_another_anew(client, made):
    texts = {client.get("/", headers=PAGE).text for _ in range(5)}
    assert len(texts) == 1
    assert made.count("now.html") == 1
    client.get("/?state=all", headers=PAGE)
    client.get("/", headers={**PAGE, "accept-language": "ko"})
    client.get("/", headers={**PAGE, "cookie": "fabpilot_theme=dark"})
    assert made.count("now.html") == 4


def test_whoever_decides_gets_a_new_page_at_once(client, made):
    assert "Acknowledged</span>" not in client.get("/", headers=PAGE).text
    url = f"/api/v1/alerts/{ALERT_ID}/decisions"
    assert client.post(url, json={"decision": "acknowledge", "by": "kim"}).status_code == 200
    assert "Acknowledged</span>" in client.get("/", headers=PAGE).text


def test_whoever_is_told_of_an_alert_gets_a_page_that_shows_it(client, store, made):
    client.get("/", headers=PAGE)
    with store.begin() as connection:
        announce(connection, [("alerts", "x")])
    feed = client.app.state.services.feed
    deadline = time.monotonic() + 20
    before = feed.latest_urgent
    while feed.latest_urgent == before and time.monotonic() < deadline:
        time.sleep(0.02)
    client.get("/", headers=PAGE)
    assert made.count("now.html") == 2


def test_what_is_no_page_or_went_wrong_is_not_kept(client, made):
    for _ in range(2):
        assert client.get("/alerts/nothing", headers=PAGE).status_code == 404
        assert client.get("/?lang=ko", headers=PAGE).cookies["fabpilot_lang"] == "ko"
    assert made.count("missing.html") == 2
    assert made.count("now.html") == 2


def test_each_gets_their_own_name_role_and_token(store, client_of, made):
    for name, role in (("kim", Role.ENGINEER), ("lee", Role.VIEWER), ("boss", Role.ADMIN)):
        account(store, name, role, NOON_MS)
    with client_of(store, access=LOCAL) as client:
        seen = {}
        for name, role in (("kim", "Engineer"), ("lee", "Viewer"), ("boss", "Administrator")):
            client.cookies.clear()
            browser = Browser(client)
            browser.sign_in(name)
            text = client.get("/", headers=PAGE).text
            assert f'title="{name}">{name}</span><span class="muted">{role}</span>' in text
            assert ('href="/accounts"' in text) == (name == "boss")
            seen[name] = browser.csrf()
        assert len(set(seen.values())) == 3


def test_the_typed_name_cannot_break_out_of_the_page(client):
    evil = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    text = client.get("/", headers={**PAGE, "cookie": f"fabpilot_name={evil}"}).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


def test_the_feed_remembers_the_latest_and_says_what_it_has_forgotten(store):
    feed = Feed(store)
    feed._latest = feed._complete_after = 5
    assert feed.since(4) is None
    assert feed.since(5) == []
    assert feed.since(6) is None, "of the future: another database, perhaps"
    feed._keep(
        [Change.of(6, "wafers", "a"), Change.of(7, "alerts", "b"), Change.of(8, "wafers", "")]
    )
    assert [one.number for one in feed.since(6)] == [7, 8]
    assert (feed.latest, feed.latest_urgent) == (8, 7)
    feed._keep([Change.of(20, "wafers", "c")])
    assert feed.since(8) is None, "some between were gone already"
    assert [one.number for one in feed.since(19)] == [20]
