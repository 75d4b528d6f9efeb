"""Signing in and out, and when a session ends."""

import shutil

import pytest

from console import tables
from console.access import accounts
from console.access.limits import Limit
from console.access.policy import Access
from console.access.roles import Role
from console.access.sessions import Lifetimes, open_session
from console.access.tables import sessions
from console.access.trail import verify
from contracts.clock import ManualClock
from contracts.errors import DataError
from streaming.database import open_engine
from tests.access_helpers import LOCAL, PASSWORD, QUICK, Browser, account
from tests.factories import NOON_MS

NOW_MS = NOON_MS + 180_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
PAGE = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(accounts, "_hasher", QUICK)


@pytest.fixture
def store(filled, tmp_path):
    engine = open_engine(f"sqlite:///{shutil.copy(filled, tmp_path / 'console.db')}")
    account(engine, "kim", Role.ENGINEER, NOW_MS)
    yield engine
    engine.dispose()


@pytest.fixture
def clock():
    return ManualClock(NOW_MS)


@pytest.fixture
def browser(store, clock, client_of):
    with client_of(store, access=LOCAL, clock=clock) as client:
        client.store = store
        yield Browser(client)


def kept(engine):
    with engine.begin() as connection:
        return connection.execute(sessions.select()).all()


def trail(engine):
    with engine.begin() as connection:
        assert not verify(connection).fault
        rows = connection.execute(tables.audit.select()).all()
    return [(row.who, row.what) for row in rows if not row.what.startswith("account.")]


def looks(browser):
    answer = browser.client.get("/", headers=PAGE, follow_redirects=False)
    return answer.status_code == 200


def test_in_and_out(browser):
    answer = browser.sign_in("Kim ", path="/login?next=/wafers%3Fq%3DL1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/wafers?q=L1")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if "fabpilot_session" in c)
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    secret = browser.client.cookies["fabpilot_session"]
    assert len(secret) >= 43
    assert secret not in str(kept(browser.client.store))
    page = browser.client.get("/", headers=PAGE).text
    assert "kim" in page
    assert "Engineer" in page
    assert "Sign out" in page
    me = browser.client.get("/api/v1/me").json()
    assert (me["name"], me["role"], me["via"]) == ("kim", "engineer", "session")
    csrf = browser.csrf()
    assert browser.client.post("/logout", data={"csrf": "x"}).status_code == 403
    assert looks(browser)
    done = browser.client.post("/logout", data={"csrf": csrf}, follow_redirects=False)
    assert done.status_code == 303
    assert not looks(browser)
    assert kept(browser.client.store) == []
    # The cookie that somebody may have copied opens nothing any more.
    browser.client.cookies.set("fabpilot_session", secret)
    assert not looks(browser)
    assert trail(browser.client.store) == [("kim", "login.ok"), ("kim", "logout")]


def test_a_login_gives_a_new_session_and_ends_the_old_one(browser):
    browser.client.cookies.set("fabpilot_session", "A" * 43)
    browser.sign_in("kim")
    first = browser.client.cookies.get("fabpilot_session", domain="localhost.local")
    assert first != "A" * 43
    answer = browser.client.get("/login", headers=PAGE, follow_redirects=False)
    assert answer.status_code == 303
    assert len(kept(browser.client.store)) == 1


@pytest.mark.parametrize(
    ("name", "password"),
    [("kim", "three small word"), ("nobody", PASSWORD), ("", ""), ("' OR 1=1 --", "x"),
     ("kim", ""), ("kim", "x" * 5000), ("\x00", "\x00")],
)  # fmt: skip
def test_a_wrong_name_and_a_wrong_password_look_the_same(browser, name, password):
    answer = browser.sign_in(name, password)
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert "fabpilot_session" not in browser.client.cookies
    # What was typed as a name may be a password: only names that exist are written down.
    assert trail(browser.client.store) == [("kim" if name == "kim" else "?", "login.failed")]


def test_a_closed_account_is_as_if_it_were_not_there(browser, store):
    browser.sign_in("kim")
    account(store, "boss", Role.ADMIN, NOW_MS)
    with store.begin() as connection:
        accounts.disable(connection, "kim", disabled=True, by="boss", now_ms=NOW_MS)
    browser.client.app.state.services.keeper.forget_all()
    assert not looks(browser)
    assert "is wrong" in browser.sign_in("kim").text


@pytest.mark.parametrize("change", ["password", "role"])
def test_sessions_end_with_a_new_password_or_role(browser, store, change):
    browser.sign_in("kim")
    assert looks(browser)
    with store.begin() as connection:
        if change == "password":
            hashed = QUICK.hash("another three words")
            accounts.set_password(connection, "kim", hashed, by="t", now_ms=NOW_MS)
        else:
            accounts.change_role(connection, "kim", Role.VIEWER, by="t", now_ms=NOW_MS)
    browser.client.app.state.services.keeper.forget_all()
    assert not looks(browser)


def test_a_session_ends_after_idling_and_in_any_case(browser, clock):
    keeper = browser.client.app.state.services.keeper

    def later(minutes):
        clock.advance(minutes * MINUTE_MS)
        keeper.forget_all()

    browser.sign_in("kim")
    later(59)
    assert looks(browser)
    later(59)
    assert looks(browser)
    later(61)
    assert not looks(browser)
    browser.sign_in("kim")
    for _ in range(12):
        later(59)
        assert looks(browser)
    later(30)
    assert not looks(browser), "twelve hours after signing in"


def test_a_session_does_not_outlast_a_clock_that_was_wrong(browser, clock):
    keeper = browser.client.app.state.services.keeper
    browser.sign_in("kim")
    clock.advance(-MINUTE_MS)
    keeper.forget_all()
    assert looks(browser)
    clock.advance(-24 * 60 * MINUTE_MS)
    keeper.forget_all()
    assert not looks(browser)


def test_a_page_that_refreshes_itself_does_not_keep_a_session(browser, clock):
    keeper = browser.client.app.state.services.keeper
    browser.sign_in("kim")
    clock.advance(50 * MINUTE_MS)
    keeper.forget_all()
    live = {**PAGE, "x-fabpilot-live": "1"}
    assert browser.client.get("/", headers=live, follow_redirects=False).status_code == 200
    clock.advance(20 * MINUTE_MS)
    keeper.forget_all()
    assert not looks(browser)


def test_sessions_are_bounded(store):
    with store.begin() as connection:
        for number in range(50):
            open_session(connection, "kim", "1.2.3.4", NOW_MS + number, Lifetimes())
    assert len(kept(store)) == 20
    with store.begin() as connection:
        open_session(connection, "kim", "1.2.3.4", NOW_MS + 13 * HOUR_MS, Lifetimes())
    assert len(kept(store)) == 1


@pytest.mark.parametrize(
    "goal",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)",
     "\\\\evil.example", "/\n/evil.example", "http:evil", ""],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_after_a_login(browser, goal):
    fields = {**browser.form(), "next": goal, "name": "kim", "password": PASSWORD}
    answer = browser.client.post("/login", data=fields, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_the_form_is_ours(browser):
    fields = {"name": "kim", "password": PASSWORD, "next": "/"}
    for csrf in (None, "", "0" * 64):
        posted = fields if csrf is None else {**fields, "csrf": csrf}
        assert browser.client.post("/login", data=posted).status_code == 403
    foreign = {"origin": "https://evil.example"}
    filled = {**browser.form(), **fields}
    assert browser.client.post("/login", data=filled, headers=foreign).status_code == 403
    assert "fabpilot_session" not in browser.client.cookies
    for body in (b"\xff\xfe", b"&" * 1000, b"a=b&" * 500, b""):
        assert browser.client.post("/login", content=body).status_code == 403


def test_guessing_is_slowed_down(browser):
    limits = browser.client.app.state.services.limits
    limits.account = Limit(2, 0.1)
    assert [browser.sign_in("kim", "wrong words").status_code for _ in range(3)] == [401, 401, 429]
    refused = browser.sign_in("kim")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) <= 10
    limits.account = Limit(2, 0.1)
    assert browser.sign_in("kim").status_code == 303


def test_one_address_cannot_try_everybody(browser):
    browser.client.app.state.services.limits.address = Limit(3, 0.01)
    codes = [browser.sign_in(f"name{n}", "wrong words").status_code for n in range(5)]
    assert codes == [401, 401, 401, 429, 429]


def test_strangers_cannot_fill_the_trail(browser, store):
    limits = browser.client.app.state.services.limits
    limits.account = limits.address = limits.everybody = Limit(1e6, 1e6)
    limits.noted = Limit(5, 0.0001)
    for number in range(30):
        browser.sign_in(f"name{number}", "wrong words")
    assert len(trail(store)) == 5


def test_cookies_never_go_without_tls_where_there_is_tls(store, client_of):
    access = Access(auth="local", public_url="https://fab.example")
    with client_of(store, access=access, allowed_hosts=("fab.example",)) as client:
        client.base_url = "https://fab.example"
        answer = Browser(client).sign_in("kim")
        cookies = [c for c in answer.headers.get_list("set-cookie") if "session" in c]
        assert cookies[0].startswith("__Host-fabpilot_session=")
        assert "Secure" in cookies[0]
        assert "Path=/" in cookies[0]
        assert "strict-transport-security" in answer.headers


def test_in_korean(browser):
    page = browser.client.get("/login?lang=ko", headers=PAGE).text
    assert '<html lang="ko">' in page
    assert "비밀번호" in page


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "-x", "x" * 65, "a/b", "a\u202eb", "kim\n", "<b>", "'"]
)
def test_what_can_be_no_name(name):
    if name == "kim\n":
        assert accounts.check_name(name) == "kim"
    else:
        with pytest.raises(DataError):
            accounts.check_name(name)


@pytest.mark.parametrize("password", ["short", "x" * 300, "aaaaaaaaaaaaaaaa", "kim kim kim kim 1"])
def test_what_is_no_password(password):
    with pytest.raises(DataError):
        accounts.check_password("kim", password)


def test_names_of_any_script_and_their_forms():
    assert accounts.check_name("김민지") == "김민지"
    assert accounts.check_name("ＫＩＭ") == "kim"
    assert accounts.check_name("Kim.Minji@fab") == "kim.minji@fab"
