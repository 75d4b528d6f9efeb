"""Who is let in, and to what: by role, by token, by session, and by nobody."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest
from starlette.routing import Mount
from structlog.testing import capture_logs

from console import tables
from console.access import accounts
from console.access.limits import Limit
from console.access.roles import RIGHTS, Right, Role
from console.access.rules import NAMED, is_public, right_for
from contracts.clock import ManualClock
from streaming.database import open_engine
from tests.access_helpers import LOCAL, QUICK, Browser, account, token
from tests.console_events import ACTION_ID, ALERT_ID, SITE
from tests.factories import NOON_MS

NOW_MS = NOON_MS + 180_000
DAY_MS = 86_400_000
ACKNOWLEDGE = (f"/api/v1/alerts/{ALERT_ID}/decisions", {"decision": "acknowledge"})
APPROVE = (f"/api/v1/actions/{ACTION_ID}/decisions", {"decision": "approve"})
LABEL = (f"/api/v1/wafers/{SITE}/L0001.01/label", {"patterns": ["Scratch"]})
REPLAY = ("/api/v1/dead-letters/dead-0/replay", {})
NEEDS = {ACKNOWLEDGE[0]: Right.DECIDE, APPROVE[0]: Right.APPROVE, LABEL[0]: Right.LABEL,
         REPLAY[0]: Right.REPLAY}  # fmt: skip
PAGE = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(accounts, "_hasher", QUICK)


@pytest.fixture
def full(filled, tmp_path):
    """The filled store, in SQLite: what is behind the door is tested on both databases."""
    engine = open_engine(f"sqlite:///{shutil.copy(filled, tmp_path / 'console.db')}")
    yield engine
    engine.dispose()


@pytest.fixture
def clock():
    return ManualClock(NOW_MS)


@pytest.fixture
def locked(full, clock, client_of):
    """A client of a console with an account of each role."""
    for role in Role:
        account(full, f"a-{role}", role, NOW_MS)
    with client_of(full, access=LOCAL, clock=clock) as client:
        client.engine = full
        yield client


def decisions(engine):
    """What anybody decided so far."""
    audit = tables.audit
    with engine.begin() as connection:
        rows = connection.execute(audit.select()).all()
    about = ("account.", "token.", "login.")
    return [(row.who, row.what) for row in rows if not row.what.startswith(about)]


def routes(app):
    """(method, path) of every route."""
    for route in app.routes:
        if not isinstance(route, Mount) and hasattr(route, "methods"):
            for method in route.methods or ():
                yield method, route.path
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            yield method.upper(), path


def test_every_route_that_changes_anything_is_named(looking):
    """A new one that is not would be for administrators only, which nobody decided."""
    found = {one for one in routes(looking.app) if one[0] not in ("GET", "HEAD", "OPTIONS")}
    assert len(found) > 4
    for method, path in found:
        if not is_public(path):
            filled = path.replace("{", "").replace("}", "").replace(":path", "")
            assert any(
                named == method and re.fullmatch(pattern, filled) for named, pattern, _ in NAMED
            ), f"{method} {path} is not in console/access/rules.py"


def test_the_table_in_the_docs_is_the_one_in_the_code():
    page = (Path(__file__).parents[3] / "docs" / "security.md").read_text()
    table = page[page.index("| role | rights |") :].split("\n\n")[0].splitlines()[2:]
    said = {}
    for line in table:
        role, rights = (cell.strip() for cell in line.strip("|").split("|")[:2])
        said[role.strip("`")] = {one.strip(" `") for one in rights.split(",")}
    assert said == {role.value: {str(one) for one in rights} for role, rights in RIGHTS.items()}


@pytest.mark.parametrize(
    ("role", "asked"), list(itertools.product(Role, (ACKNOWLEDGE, APPROVE, LABEL, REPLAY)))
)
def test_a_role_may_do_what_the_table_says_and_nothing_else(locked, role, asked):
    path, body = asked
    answer = locked.post(path, json=body, headers=token(locked.engine, f"a-{role}", NOW_MS))
    if NEEDS[path] in RIGHTS[role]:
        # There is no log here to replay from, which is found out behind the door.
        assert answer.status_code == (503 if path == REPLAY[0] else 200), answer.text
        assert [who for who, _ in decisions(locked.engine)] == [f"a-{role}"] * (path != REPLAY[0])
    else:
        assert answer.status_code == 403
        assert f"'{NEEDS[path]}'" in answer.json()["detail"]
        assert decisions(locked.engine) == []


@pytest.mark.parametrize("role", list(Role))
def test_accounts_and_the_trail_are_for_administrators(locked, role):
    headers = token(locked.engine, f"a-{role}", NOW_MS)
    for path in ("/api/v1/accounts", "/api/v1/tokens", "/api/v1/audit", "/accounts",
                 "/api/v1/audit/export.csv", "/api/v1/export/audit.csv",
                 "/api/v1/audit/verify"):  # fmt: skip
        assert locked.get(path, headers=headers).status_code == (
            200 if role is Role.ADMIN else 403
        ), path
    assert locked.get("/api/v1/alerts", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/alerts"), ("GET", "/metrics"), ("GET", "/api/v1/openapi.json"),
     ("GET", "/api/v1/events"), ("GET", f"/api/v1/wafers/{SITE}/L0001.01/map.png"),
     ("POST", ACKNOWLEDGE[0]), ("POST", "/nowhere"), ("PUT", "/"), ("DELETE", "/static/../"),
     ("GET", "/static/../deps.py"), ("GET", "/static/%2e%2e/deps.py"),
     ("GET", "/static/..%2f..%2fpyproject.toml"), ("GET", "/api/v1/wafers/..%2f..%2f/etc/passwd"),
     ("GET", "/%2e%2e/%2e%2e/etc/passwd"), ("GET", "/login/../api/v1/alerts"),
     ("GET", "//api/v1/alerts"), ("GET", "/static/%00")],
)  # fmt: skip
def test_nobody_gets_anything(locked, method, path):
    answer = locked.request(method, path, follow_redirects=False)
    assert answer.status_code in (401, 404, 405), answer.text
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert decisions(locked.engine) == []


def test_a_browser_is_led_to_the_login_and_back(locked):
    answer = locked.get("/wafers?q=L1", headers=PAGE, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/wafers%3Fq%3DL1"
    for path in ("/healthz", "/livez", "/login", "/static/main.js"):
        assert locked.get(path).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        {"authorization": "Bearer fabpilot_" + "A" * 43},
        {"authorization": "Bearer "},
        {"authorization": "Bearer " + "A" * 5000},
        {"authorization": "Basic YWRtaW46YWRtaW4="},
        {"cookie": "fabpilot_session=" + "A" * 43},
        {"cookie": "fabpilot_session=' OR 1=1 --aaaaaaaa"},
        {"cookie": 'fabpilot_session="\\"'},
    ],
)
def test_what_was_made_up_opens_nothing(locked, header):
    for method, (path, body) in (("GET", ("/api/v1/strip", None)), ("POST", ACKNOWLEDGE)):
        assert locked.request(method, path, json=body, headers=header).status_code == 401
    assert decisions(locked.engine) == []


def test_a_token_ends(locked, clock):
    headers = token(locked.engine, "a-engineer", NOW_MS, days=1)
    assert locked.get("/api/v1/strip", headers=headers).status_code == 200
    clock.advance(DAY_MS)
    locked.app.state.services.keeper.forget_all()
    assert locked.get("/api/v1/strip", headers=headers).status_code == 401
    assert locked.post(ACKNOWLEDGE[0], json=ACKNOWLEDGE[1], headers=headers).status_code == 401
    assert decisions(locked.engine) == []


def test_a_token_has_its_scopes_and_no_more_than_its_account(locked):
    headers = token(locked.engine, "a-engineer", NOW_MS, scopes=[Right.LOOK, Right.LABEL])
    assert locked.post(LABEL[0], json=LABEL[1], headers=headers).status_code == 200
    assert locked.post(APPROVE[0], json=APPROVE[1], headers=headers).status_code == 403
    with locked.engine.begin() as connection:
        accounts.change_role(connection, "a-engineer", Role.VIEWER, by="test", now_ms=NOW_MS)
    locked.app.state.services.keeper.forget_all()
    assert locked.get("/api/v1/strip", headers=headers).status_code == 200
    assert locked.post(LABEL[0], json=LABEL[1], headers=headers).status_code == 403


def test_a_revoked_token_and_one_of_a_closed_account_hold_no_longer(locked):
    admin = token(locked.engine, "a-admin", NOW_MS)
    first = token(locked.engine, "a-viewer", NOW_MS)
    second = token(locked.engine, "a-viewer", NOW_MS, days=2)
    listed = locked.get("/api/v1/tokens", headers=admin).json()
    assert all("hash" not in one and "Bearer" not in json.dumps(one) for one in listed)
    mine = [one for one in listed if one["account"] == "a-viewer"]
    short = next(one for one in mine if one["expires_ms"] == NOW_MS + 2 * DAY_MS)
    assert locked.get("/api/v1/strip", headers=second).status_code == 200
    done = locked.post(f"/api/v1/tokens/{short['token_id']}/revoke", json={}, headers=admin)
    assert done.status_code == 204
    assert locked.get("/api/v1/strip", headers=second).status_code == 401
    assert locked.get("/api/v1/strip", headers=first).status_code == 200
    locked.post("/api/v1/accounts/a-viewer", json={"disabled": True}, headers=admin)
    assert locked.get("/api/v1/strip", headers=first).status_code == 401


def test_the_last_administrator_stays(locked):
    admin = token(locked.engine, "a-admin", NOW_MS)
    for change in ({"disabled": True}, {"role": "viewer"}):
        answer = locked.post("/api/v1/accounts/a-admin", json=change, headers=admin)
        assert answer.status_code == 409
        assert "last administrator" in answer.json()["detail"]


def test_the_name_on_a_decision_is_the_accounts_whatever_was_typed(locked):
    headers = token(locked.engine, "a-engineer", NOW_MS)
    body = {**ACKNOWLEDGE[1], "by": "The Director"}
    answer = locked.post(ACKNOWLEDGE[0], json=body, headers=headers)
    assert answer.json()["decided_by"] == "a-engineer"
    assert decisions(locked.engine) == [("a-engineer", "alert.acknowledged")]


def test_a_session_needs_the_token_of_its_pages(locked):
    browser = Browser(locked)
    assert browser.sign_in("a-engineer").status_code == 303
    path, body = ACKNOWLEDGE
    for headers in ({}, {"x-csrf-token": "0" * 64}, {"x-csrf-token": ""}):
        assert locked.post(path, json=body, headers=headers).status_code == 403
    foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert browser.post(path, body, **foreign).status_code == 403
    assert browser.post(path, body, origin="https://evil.example").status_code == 403
    assert decisions(locked.engine) == []
    assert browser.post(path, body).status_code == 200


def test_a_page_made_for_one_does_not_carry_anothers_name_or_token(full, client_of):
    for name in ("kim", "lee"):
        account(full, name, Role.ENGINEER, NOW_MS)
    with client_of(full, access=LOCAL) as one:
        first = Browser(one)
        first.sign_in("kim")
        token_of_kim = first.csrf()
        page = one.get("/", headers=PAGE)
        assert "kim" in page.text
        one.cookies.clear()
        second = Browser(one)
        second.sign_in("lee")
        page = one.get("/", headers=PAGE)
        assert "lee" in page.text
        assert "kim" not in page.text
        assert second.csrf() != token_of_kim
        assert "person-" not in page.text
        assert "csrf-" not in page.text.replace("x-csrf-token", "")


def test_an_oversized_body_is_refused_before_anything_reads_it(locked):
    headers = token(locked.engine, "a-engineer", NOW_MS)
    body = {**ACKNOWLEDGE[1], "comment": "x" * 70_000}
    assert locked.post(ACKNOWLEDGE[0], json=body, headers=headers).status_code == 413
    parts = (b"x" * 1000 for _ in range(70))
    assert locked.post(ACKNOWLEDGE[0], content=parts, headers=headers).status_code == 413
    assert decisions(locked.engine) == []


def test_too_many_requests_are_slowed_down_each_for_itself(locked):
    limits = locked.app.state.services.limits
    limits.token = Limit(3, 0.01)
    one, other = (token(locked.engine, f"a-{role}", NOW_MS) for role in ("viewer", "admin"))
    codes = [locked.get("/api/v1/strip", headers=one).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    refused = locked.get("/api/v1/strip", headers=one)
    assert 90 <= int(refused.headers["retry-after"]) <= 101
    assert locked.get("/api/v1/strip", headers=other).status_code == 200
    limits.refused = Limit(2, 0.01)
    codes = [locked.get("/api/v1/strip").status_code for _ in range(3)]
    assert codes == [401, 401, 429]


def test_limits_forget_the_longest_unused_and_stay_small():
    now = [0.0]
    limit = Limit(2, 1.0, keys=100, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(3)] == [0.0, 0.0, 1.0]
    now[0] = 1.5
    assert limit.take("a") == 0.0
    assert limit.take("a") == pytest.approx(0.5)
    for number in range(1000):
        limit.take(str(number))
    assert len(limit) == 100
    limit.forget("999")
    assert limit.take("999") == 0.0


@pytest.mark.parametrize("path", ["/api/v1/new-thing", "/anything", "/login/x"])
def test_what_nobody_named_is_for_administrators(path):
    assert right_for("POST", path) is Right.MANAGE
    assert right_for("GET", path) is Right.LOOK


def test_without_accounts_nothing_is_asked(client):
    assert client.get("/api/v1/me").json()["via"] == "open"
    assert client.get("/login", follow_redirects=False).status_code == 303
    body = {**ACKNOWLEDGE[1], "by": "kim"}
    assert client.post(ACKNOWLEDGE[0], json=body).json()["decided_by"] == "kim"


def test_every_refusal_and_every_change_leaves_a_line_in_the_log(locked):
    headers = token(locked.engine, "a-engineer", NOW_MS)
    with capture_logs() as lines:
        locked.get("/api/v1/strip")
        locked.post(APPROVE[0], json=APPROVE[1], headers=token(locked.engine, "a-viewer", NOW_MS))
        locked.post(ACKNOWLEDGE[0], json=ACKNOWLEDGE[1], headers=headers)
        locked.get("/api/v1/strip", headers=headers)
    said = [(one["event"], one["status"], one["who"]) for one in lines if "status" in one]
    assert said == [
        ("refused", 401, ""), ("refused", 403, "a-viewer"), ("answered", 200, "a-engineer")
    ]  # fmt: skip
