"""What served models say, as an engineer reads it in a real Chromium: module, chart, wafer, lot."""

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from console import Site
from console.store import project
from console.tables import create_tables
from contracts.clock import ManualClock
from contracts.events import ChartPoint, Event, TraceJudgement
from control.engine import Engine
from control.policy import load_policy
from streaming.database import open_engine
from tests.console_events import SITE, delivered
from tests.console_server import running
from tests.console_steering import risk
from tests.control_streams import state
from tests.judgement_streams import MODULES, Line, judgement

pytestmark = pytest.mark.browser

SICK = MODULES[1]
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def told() -> list[Event]:
    """A line with a module that fails, and all that the controller says of it."""
    line, engine, events = Line(2, rate=0.04), Engine(load_policy(), SITE), []
    events += [state(module, "etch", line.now_ms) for module in MODULES]
    events += line.wafers(200)
    line.sick = {SICK: 0.8}
    events += line.wafers(60)
    wafers = [event for event in events if isinstance(event, TraceJudgement)][-25:]
    lot = wafers[-1].lot_id
    said = [answer for event in events for answer in engine.handle(event)]
    for place, one in enumerate(wafer for wafer in wafers if wafer.lot_id == lot):
        slot = int(one.substrate_id[-2:])
        said.append(risk(lot, slot, 1, 0.1 + 0.03 * place, one.time_ms))
        more = {"task": "risk", "model_name": "trace-risk"}
        said.append(
            judgement(one.substrate_id, one.key, one.time_ms + 1, 0.04 + place / 60, **more)
        )
    return events + said


def test_an_engineer_reads_what_served_models_say(tmp_path) -> None:
    events = told()
    engine = open_engine(f"sqlite:///{tmp_path}/console.db")
    create_tables(engine)
    with engine.begin() as connection:
        project(connection, delivered(events))
    last = [event for event in events if isinstance(event, TraceJudgement)][-1]
    beyond = [
        event
        for event in events
        if isinstance(event, ChartPoint) and event.key == SICK and event.contributions
    ]
    faults: list[str] = []
    with (
        sync_playwright() as playwright,
        running(
            engine=engine,
            sites=(Site(SITE, "Asia/Seoul"),),
            clock=ManualClock(last.time_ms + 60_000),
            version="0.1.0",
        ) as server,
    ):
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(QUIET)
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.on("pageerror", lambda error: faults.append(str(error)))
        origin = f"http://127.0.0.1:{server.port}"

        def look(path: str, name: str) -> None:
            page.goto(f"{origin}{path}")
            page.screenshot(path=tmp_path / f"{name}.png", full_page=True)

        look(f"/equipment/{SITE}/{SICK}", "module")
        card = page.locator("#judged .chart-card")
        expect(card).to_contain_text("trace-fault v3")
        expect(card).to_contain_text("ARL0")
        expect(card.locator("svg .dot.odd").first).to_be_visible()
        expect(card.locator(".parts tbody tr").first).to_contain_text("rf_reflected_w")

        look(f"/charts/{SITE}/{beyond[0].chart_id}", "chart")
        chosen = page.locator(f'#points a[href="?at={beyond[0].time_ms}#contributions"]')
        expect(page.locator("#points .ring")).to_have_count(1)
        chosen.dispatch_event("click")
        expect(page.locator("#contributions h2")).to_contain_text(beyond[0].substrates[0])
        page.screenshot(path=tmp_path / "chosen.png", full_page=True)

        look(f"/wafers/{SITE}/{last.substrate_id}", "wafer")
        rows = page.locator("#judgements tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.nth(1)).to_contain_text("trace-risk v3")

        look(f"/lots/{SITE}/{last.lot_id}", "lot")
        expect(page.locator("#wafers thead")).to_contain_text("trace-risk")
        expect(page.locator("#wafers tbody")).to_contain_text(f"{100 * last.score:.0f}")

        look("/", "now")
        browser.close()
    engine.dispose()
    assert faults == []
