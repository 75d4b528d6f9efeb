"""The console in a real Chromium, as an engineer uses it: by keyboard, live, nothing fetched."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect, sync_playwright

from console import ModelInfo, Site
from console.store import announce, project
from console.tables import create_tables
from contracts.clock import ManualClock
from contracts.wafer_map import PATTERNS
from streaming.database import open_engine
from tests.console_events import (
    ALERT_ID,
    SHA,
    SITE,
    delivered,
    edge_ring_alert,
    fab_events,
    inhibit_action,
)
from tests.console_server import running
from tests.console_steering import STOPPED, chart_events, chart_id, risk, switch
from tests.factories import NOON_MS

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHART = f"/charts/{SITE}/{chart_id('xbar', 'ETCH-04/B')}"
VIRTUAL = f"/virtual?site={SITE}&module=ETCH-04/B&step=etch&parameter=etch_depth_nm"
PAGES = (
    "/",
    "/wafers",
    f"/wafers/{SITE}/L0001.02",
    "/equipment",
    "/models",
    "/actions",
    "/health",
    f"/alerts/{ALERT_ID}",
    "/lots",
    f"/lots/{SITE}/L0003",
    "/charts",
    CHART,
    f"/equipment/{SITE}/ETCH-04/B",
    "/virtual",
    VIRTUAL,
    "/run-to-run",
    f"/run-to-run?site={SITE}&thread={STOPPED}",
)
# How many pixels of a canvas are dark (a failing die), light (a passing one) and orange (heat).
COUNT = """canvas => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let dark = 0, light = 0, warm = 0;
  for (let at = 0; at < data.length; at += 4) {
    const r = data[at], g = data[at + 1], b = data[at + 2];
    if (data[at + 3] < 200) continue;
    if (r + g + b < 150) dark += 1;
    if (r > 150 && g > 150 && b > 150) light += 1;
    if (r > b + 60) warm += 1;
  }
  return {dark, light, warm};
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/console.db")
    create_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def full(engine):
    with engine.begin() as connection:
        project(connection, delivered(fab_events()))
    return engine


@pytest.fixture
def serve():
    """Starts consoles; they stop after the pages that look at them are closed."""
    with ExitStack() as consoles:
        yield lambda engine: consoles.enter_context(running(**deps(engine)))


@pytest.fixture
def visit(browser, serve):
    """Opens a console in a fresh profile; the test fails on foreign requests and page errors."""
    opened = []

    def open_page(server, *, faults_allowed=False, **options):
        origin = f"http://127.0.0.1:{server.port}"
        context = browser.new_context(
            base_url=origin, viewport={"width": 1280, "height": 720}, **options
        )
        page = context.new_page()
        page.set_default_timeout(20_000)
        faults = []
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        opened.append((context, origin, [] if faults_allowed else faults, requests))
        return page

    yield open_page
    for context, origin, faults, requests in opened:
        context.close()
        assert faults == [], "the page complained"
        assert requests
        assert all(url.startswith(f"{origin}/") for url in requests)


def deps(engine):
    return {
        "engine": engine,
        "sites": (Site(SITE, "Asia/Seoul"),),
        "clock": ManualClock(NOON_MS + 60_000),
        "model_info": lambda: [
            ModelInfo("wafer-map", "3", "champion", SHA, "CPUExecutionProvider", "cpu",
                      {"macro_f1": 0.934}, PATTERNS, NOON_MS),
        ],
        "version": "0.1.0",
    }  # fmt: skip


def ready(page):
    expect(page.locator("body[data-ready]")).to_be_attached()


def test_an_engineer_opens_an_alert_and_approves_its_action(serve, full, visit):
    server = serve(full)
    page = visit(server)
    page.goto("/")
    ready(page)
    # By keyboard: the first alert, opened.
    page.keyboard.press("j")
    expect(page.locator("tr.selected")).to_have_attribute("data-alert", ALERT_ID)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server_url(server)}/alerts/{ALERT_ID}")
    ready(page)
    expect(page.locator("h1")).to_contain_text("Edge-Ring on 17 of 20 wafers after ETCH-04/B")

    # The maps are drawn, the affected ones with a ring; the heatmap comes and goes with h.
    tile = page.locator("canvas[data-wafer][data-painted=yes]").first
    plain = tile.evaluate(COUNT)
    assert plain["dark"] > 100
    assert plain["light"] > plain["dark"]
    assert plain["warm"] == 0
    page.keyboard.press("h")
    expect(page.locator("#heat")).to_be_checked()
    assert tile.evaluate(COUNT)["warm"] > 200
    page.keyboard.press("h")
    assert tile.evaluate(COUNT) == plain
    affected = page.locator("canvas[data-stack=affected][data-painted=yes]").evaluate(COUNT)
    others = page.locator("canvas[data-stack=unaffected][data-painted=yes]").evaluate(COUNT)
    assert affected["dark"] > 10 * (others["dark"] + 1)

    # The suspect's trace, worst variable first.
    expect(page.locator("[data-variables] button").first).to_contain_text("rf_reflected_w")
    expect(page.locator("[data-trace-chart] path.suspect")).to_be_visible()
    expect(page.locator("[data-trace-chart] path.band")).to_be_attached()
    expect(page.locator("[data-trace-chart] line.limit")).to_have_count(2)
    expect(page.locator("[data-trace-chart]")).to_contain_text("step 3")

    # Nobody decides without a name.
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#toast")).to_contain_text("Say who you are")
    page.locator("#who").fill("Kim Minji")
    page.locator("#action textarea").fill("matches the RF alarm of this morning")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#action .chip")).to_have_text("Approved")
    expect(page.locator("#action")).to_contain_text("Kim Minji")
    expect(page.locator("#timeline")).to_contain_text("matches the RF alarm of this morning")

    page.locator("h1").click()
    page.keyboard.press("a")
    expect(page.locator("#alert-head .chip")).to_have_text("Acknowledged")
    page.goto("/actions")
    expect(page.locator("#audit tbody tr")).to_have_count(2)


def server_url(server):
    return f"http://127.0.0.1:{server.port}"


def test_rows_appear_and_change_without_a_reload(serve, engine, visit):
    server = serve(engine)
    page = visit(server)
    page.goto("/")
    ready(page)
    expect(page.locator("#alerts")).to_contain_text("fabpilot sim run --scenario demo")
    page.evaluate("window.untouched = true")
    with engine.begin() as connection:
        project(connection, delivered([edge_ring_alert(6, revision=1, severity="medium")]))
    expect(page.locator("#alerts tbody tr")).to_have_count(1)
    expect(page.locator("#alerts .severity")).to_have_text("Medium")
    page.keyboard.press("j")
    with engine.begin() as connection:
        project(connection, delivered([edge_ring_alert(6, revision=2), inhibit_action()]))
    expect(page.locator("#alerts .severity")).to_have_text("High")
    expect(page.locator("#alerts tbody tr")).to_contain_text("Inhibit ETCH-04/B")
    # The choice made by keyboard is kept, and it is still the same page.
    expect(page.locator("tr.selected")).to_have_count(1)
    assert page.evaluate("window.untouched")


def test_a_page_keeps_up_with_a_fab_that_never_pauses(serve, engine, visit):
    server = serve(engine)
    page = visit(server)
    page.goto("/")
    ready(page)
    expect(page.locator("body[data-beat]")).to_be_attached()
    stop = threading.Event()

    def never_pause():
        while not stop.wait(0.1):
            with engine.begin() as connection:
                announce(connection, [("alerts", "a"), ("wafers", "w")])

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(never_pause)
        try:
            with engine.begin() as connection:
                project(connection, delivered([edge_ring_alert(6, revision=1)]))
            expect(page.locator("#alerts tbody tr")).to_have_count(1)
        finally:
            stop.set()
        busy.result()


def test_a_lost_connection_is_said(serve, full, visit):
    server = serve(full)
    page = visit(server, faults_allowed=True)
    page.goto("/")
    ready(page)
    expect(page.locator("body[data-beat]")).to_be_attached()
    expect(page.locator("#connection")).to_be_hidden()
    server.should_exit = True
    expect(page.locator("#connection")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_paints(serve, full, visit, scheme):
    server = serve(full)
    page = visit(server, color_scheme=scheme)
    for path in PAGES:
        page.goto(path)
        ready(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 1280, f"{path} scrolls sideways at 1280 pixels"
        for chart in page.locator("figure.chart:visible").all():
            # Both axes say what they are, and no chart stays empty.
            expect(chart.locator("svg text").nth(3)).to_be_attached()
        red = page.evaluate(
            "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
        )
        assert (red < 100) == (scheme == "dark"), path


def test_keys_reach_every_page_and_the_search(serve, full, visit):
    server = serve(full)
    page = visit(server)
    page.goto("/")
    for key, path in (("w", "/wafers"), ("e", "/equipment"), ("m", "/models"),
                      ("a", "/actions"), ("h", "/health"), ("l", "/lots"), ("c", "/charts"),
                      ("v", "/virtual"), ("r", "/run-to-run"), ("n", "/")):  # fmt: skip
        ready(page)
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page).to_have_url(server_url(server) + path)
    ready(page)
    page.keyboard.press("?")
    expect(page.locator("dialog#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog#help")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("scratch")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server_url(server)}/?q=scratch&state=open")
    expect(page.locator("#alerts")).to_contain_text("No alert matches")


def test_automatic_actions_are_switched_off_from_any_page_by_keyboard(serve, full, visit):
    server = serve(full)
    page = visit(server)
    page.goto("/charts")
    ready(page)
    strip = page.locator(".strip .automation")
    page.keyboard.press("o")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("Say who you are")
    page.locator("#who").fill("Kim Minji")
    page.locator("h1").click()
    page.keyboard.press("o")
    page.keyboard.press("Enter")
    expect(strip).to_contain_text("off Kim Minji")
    # On again takes a reason.
    page.keyboard.press("o")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server_url(server)}/actions#automation")
    ready(page)
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator("#toast")).to_contain_text("Say why")
    page.get_by_label("why").fill("audit done")
    page.get_by_role("button", name="Switch on").click()
    expect(strip).not_to_contain_text("Kim Minji")
    expect(page.locator("#automation table")).to_contain_text("audit done")
    expect(page.locator("#audit tbody tr")).to_have_count(2)


def test_somebody_else_switching_is_seen_at_once(serve, full, visit):
    server = serve(full)
    page = visit(server)
    page.goto("/models")
    ready(page)
    with full.begin() as connection:
        project(connection, delivered([switch(False, 900, by="Lee")]))
    expect(page.locator(".strip .automation")).to_contain_text("off Lee")


def test_a_control_chart_names_what_broke_and_grows_by_itself(serve, engine, visit):
    events = [event for event in chart_events() if event.key != "ETCH-04/C"]
    mine = [event for event in events if event.chart_id == chart_id("xbar", "ETCH-04/B")]
    with engine.begin() as connection:
        project(connection, delivered([event for event in events if event not in mine[-5:]]))
    server = serve(engine)
    page = visit(server)
    page.goto("/charts")
    ready(page)
    expect(page.locator(".chart-card .chip").first).to_have_text("Out of control")
    page.goto(CHART)
    ready(page)
    chart = page.locator("#points svg")
    points = chart.locator(".dot")
    expect(points).to_have_count(55)
    expect(chart).to_contain_text("etch_depth_nm (nm)")
    expect(chart).to_contain_text("UCL")
    expect(chart).to_contain_text("phase I")
    expect(chart.locator("text.broken").first).to_contain_text("WE 2")
    expect(page.locator("#rules")).to_contain_text("ARL0")
    expect(page.locator("#siblings .chart-card")).to_have_count(1)
    with engine.begin() as connection:
        project(connection, delivered(mine[-5:]))
    expect(points).to_have_count(60)
    expect(chart.locator(".dot.odd")).to_have_count(sum(bool(event.rules) for event in mine))


def test_risk_comes_to_the_lot_as_the_wafers_move(serve, engine, visit):
    at = NOON_MS + 60_000
    with engine.begin() as connection:
        project(connection, delivered([risk("L7", slot, 0, 0.1, at) for slot in (1, 2, 3)]))
    server = serve(engine)
    page = visit(server)
    page.goto("/")
    ready(page)
    expect(page.locator("#lots tbody .fair")).to_have_count(3)
    with engine.begin() as connection:
        project(connection, delivered([risk("L7", 2, 1, 0.9, at + 1)]))
    expect(page.locator("#lots tbody .at-risk")).to_have_count(1)
    page.locator("#lots tbody a.row-link").click()
    ready(page)
    expect(page.locator(".risk-matrix .at-risk text").first).to_have_text("94")
    expect(page.locator("#history .risk.high")).to_have_count(1)
    expect(page.locator("#history svg")).to_contain_text("slot 2")


def test_virtual_metrology_shows_what_held(serve, full, visit):
    server = serve(full)
    page = visit(server)
    page.goto(VIRTUAL)
    ready(page)
    band = page.locator("#over-time figure svg")
    expect(band.locator("path.band")).to_be_attached()
    expect(band.locator("path.unlike")).to_have_count(3)
    place = {"site": SITE, "module": "ETCH-04/B", "step": "etch", "parameter": "etch_depth_nm"}
    found = page.request.get(
        f"{server_url(server)}/api/v1/virtual-metrology/place", params=place
    ).json()
    inside = [one for one in found["history"] if one["measured"] is not None
              and one["low"] <= one["measured"] <= one["high"]]  # fmt: skip
    expect(band.locator(".dot.in")).to_have_count(len(inside))
    expect(page.locator("#scatter .dot")).to_have_count(found["measured"])


def test_a_wafer_is_labelled_with_one_key(serve, full, visit):
    server = serve(full)
    page = visit(server)
    page.goto("/models")
    ready(page)
    page.locator("#who").fill("Kim Minji")
    page.locator("h1").click()
    judged = page.locator(".labelling-map .tile-name").inner_text()
    page.keyboard.press("9")
    expect(page.locator(".labelling-map .tile-name")).not_to_have_text(judged)
    page.goto(f"/wafers/{SITE}/{judged}")
    expect(page.locator(".facts")).to_contain_text("Scratch says Kim Minji")


def test_a_pattern_nobody_has_named_yet_gets_a_name(serve, full, visit):
    server = serve(full)
    page = visit(server)
    page.goto("/models")
    ready(page)
    page.locator("#who").fill("Kim Minji")
    judged = page.locator(".labelling-map .tile-name").inner_text()
    page.get_by_label("another pattern").fill("Half moon")
    page.keyboard.press("Enter")
    expect(page.locator(".labelling-map .tile-name")).not_to_have_text(judged)
    expect(page.get_by_role("button", name="Half moon")).to_be_visible()
    page.goto(f"/wafers/{SITE}/{judged}")
    expect(page.locator(".facts")).to_contain_text("Half moon says Kim Minji")


def test_in_korean(serve, full, visit):
    server = serve(full)
    page = visit(server, locale="ko-KR")
    page.goto(f"/alerts/{ALERT_ID}")
    ready(page)
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page.get_by_role("button", name="승인")).to_be_visible()
