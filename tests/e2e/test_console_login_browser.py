"""Signing in, deciding and signing out in a real Chromium, by keyboard."""

import shutil
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect, sync_playwright

from console import Site
from console.access.policy import Access
from console.access.roles import Role
from console.store import project
from console.tables import create_tables
from contracts.clock import ManualClock
from streaming.database import open_engine
from tests.access_helpers import PASSWORD, account, token
from tests.console_events import ALERT_ID, SITE, delivered, fab_events
from tests.console_server import running
from tests.factories import NOON_MS

pytestmark = pytest.mark.browser

QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update")  # fmt: skip


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('login')}/console.db")
    create_tables(engine)
    with engine.begin() as connection:
        project(connection, delivered(fab_events(12)))
    for name, role in (("kim", Role.ENGINEER), ("lee", Role.VIEWER), ("boss", Role.ADMIN)):
        account(engine, name, role, NOON_MS)
    token(engine, "lee", NOON_MS)
    clock = ManualClock(NOON_MS + 60_000)
    sites, access = (Site(SITE, "Asia/Seoul"),), Access(auth="local")
    with running(engine=engine, sites=sites, clock=clock, access=access) as server:
        yield f"http://127.0.0.1:{server.port}"
    engine.dispose()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(QUIET)
        )
        yield found
        found.close()


@pytest.fixture
def visit(browser, origin):
    """A page of a new person at a new browser; it must not complain."""
    faults = []
    with ExitStack() as contexts:

        def open_page(**options):
            context = browser.new_context(
                base_url=origin, viewport={"width": 1280, "height": 720}, **options
            )
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.on("console", lambda said: said.type == "error" and faults.append(said.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            return page

        yield open_page
    # Chromium says it as an error that something was refused, as some of it should be.
    assert [one for one in faults if "Failed to load resource" not in one] == []


def sign_in(page, name, password=PASSWORD):
    """By keyboard alone: the name has the focus."""
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def ready(page):
    expect(page.locator("body[data-ready]")).to_be_attached()


def test_in_to_the_alert_that_was_asked_for_and_out_again(visit):
    page = visit()
    page.goto(f"/alerts/{ALERT_ID}")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, "kim", "not the password")
    expect(page.get_by_role("alert")).to_contain_text("is wrong")
    sign_in(page, "kim")
    ready(page)
    assert page.url.endswith(f"/alerts/{ALERT_ID}")
    expect(page.locator("form.who")).to_contain_text("kim")
    expect(page.locator("form.who")).to_contain_text("Engineer")
    page.keyboard.press("a")
    expect(page.locator("#alert-head")).to_contain_text("by kim")
    page.get_by_role("button", name="Sign out").press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/actions")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_viewer_looks_and_has_nothing_to_press(visit):
    page = visit(locale="ko-KR")
    page.goto("/")
    expect(page.get_by_role("heading", name="로그인")).to_be_visible()
    sign_in(page, "lee")
    ready(page)
    expect(page.locator("form.who")).to_contain_text("열람자")
    page.goto(f"/alerts/{ALERT_ID}")
    ready(page)
    expect(page.locator("#maps")).to_be_visible()
    expect(page.locator("form[data-decide]").first).to_be_hidden()
    # Who knows the keys is told why nothing happens.
    page.keyboard.press("g")
    page.keyboard.press("n")
    ready(page)


def test_an_administrator_closes_an_account_and_a_token(visit):
    page = visit()
    page.goto("/accounts")
    sign_in(page, "boss")
    ready(page)
    row = page.locator("#accounts tr", has_text="lee")
    row.get_by_role("button", name="Disable").press("Enter")
    expect(row).to_contain_text("Disabled")
    page.locator("#tokens").get_by_role("button", name="Revoke").click()
    expect(page.locator("#tokens")).to_contain_text("Revoked")
    expect(page.locator("#audit")).to_contain_text("Intact")
    expect(page.locator("#audit")).to_contain_text("Account disabled")
    page.locator("#accounts tr", has_text="boss").get_by_role("button").click()
    expect(page.locator("#toast")).to_contain_text("last administrator")
