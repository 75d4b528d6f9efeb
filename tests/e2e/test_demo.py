"""The main job as a newcomer meets it: train, run headless, then in a browser until it obeys."""

import json
import shutil
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.command_line import Home
from tests.waiting import until

CHROMIUM_ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Ten fab hours are a quarter of a minute.
SPEED = "2400"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a champion, trained by the command the demo itself uses, a little shorter."""
    home = Home(tmp_path_factory.mktemp("home"))
    report = home.json(
        "train", "wafer-map", "--data", "sim:mixed", "--budget", "60s", "--wafers", "5000"
    )
    assert report["aliases"] == ["champion"]
    assert report["n"] > 500
    return home


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_trained_model_is_evaluated_through_the_runtime_that_serves(trained: Home) -> None:
    report = trained.json(
        "evaluate", "models:/wafer-map@champion", "--data", "sim:mixed", "--wafers", "1500"
    )
    assert report["n"] == 1500
    # Far above chance (0.11) even on a busy machine; docs/models.md has the real figures.
    assert report["macro_f1"] > 0.5
    assert len(report["per_class_f1"]) == 9
    assert report["provider"] == "CPUExecutionProvider"
    assert len(report["model_sha256"]) == 64
    versions = trained.json("models", "list")["versions"]
    assert versions[0]["sha256"] == report["model_sha256"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_headless_every_wafer_is_predicted_and_every_excursion_named(trained: Home) -> None:
    report = trained.json("demo", "--headless", "--wafers", "500")
    assert report["wafers"] >= 500
    assert report["predictions"] == report["wafers"]
    assert (report["unpredicted"], report["doubled"], report["dead_letters"]) == (0, 0, 0)
    assert report["true_excursions"] == 3
    assert report["detected_excursions"] == 3
    assert report["false_alerts"] <= 1
    assert report["actions"] >= 3
    assert report["latency_ms"]["p99"] >= report["latency_ms"]["p50"] > 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Api:
    """The console's JSON API, for what a test waits for."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.origin}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_engineer_approves_and_the_fab_obeys(trained: Home, page: Page) -> None:
    port = free_port()
    arguments = ("demo", "--no-browser", "--port", str(port), "--speed", SPEED, "--site", "kr1")
    demo = trained.start(*arguments)
    api = Api(port)
    try:

        def pattern_alert() -> Any:
            for alert in api.get("alerts")["items"]:
                action = alert["action"]
                if alert["pattern"] and action and action["kind"] == "inhibit_module":
                    return alert
            return None

        alert = until(pattern_alert, "an alert with a pattern and a proposal")

        # 1. Open the alert, see the map and the heatmap, approve the action.
        page.goto(f"{api.origin}/")
        page.locator(f'tr[data-alert="{alert["alert_id"]}"]').click()
        expect(page.locator("h1")).to_contain_text(alert["suspect_module"])
        expect(page.locator("canvas[data-wafer][data-painted=yes]").first).to_be_visible()
        page.keyboard.press("h")
        expect(page.locator("#heat")).to_be_checked()
        page.locator("#who").fill("Kim Minji")
        page.locator("#action textarea").first.fill("agreed")
        page.get_by_role("button", name="Approve").first.click()

        # 2. The fab obeys: it says so, and the module is inhibited.
        expect(page.locator("#action")).to_contain_text("Applied", timeout=60_000)
        module = alert["suspect_module"]
        page.goto(f"{api.origin}/equipment")
        expect(page.locator("body")).to_contain_text("Inhibited")

        # 3. The pattern is gone from wafers that entered the line afterwards.
        applied = next(
            action["data"]
            for action in trained.tail("actions", "--site", "kr1")
            if action["data"].get("status") == "applied"
        )
        assert f"{applied['equipment_id']}/{applied['module_id']}" == module

        def judged_later() -> Any:
            steps = [record["data"] for record in trained.tail("process", "--site", "kr1")]
            through, later = set(), set()
            for step in steps:
                if step.get("phase") != "started":
                    continue
                if f"{step['equipment_id']}/{step['module_id']}" == module:
                    assert step["time_ms"] <= applied["time_ms"], "an inhibited module was used"
                    through.add(step["substrate_id"])
                if step["sequence"] == 0 and step["time_ms"] > applied["time_ms"]:
                    later.add(step["substrate_id"])
            shows = {
                record["data"]["substrate_id"]: alert["pattern"] in record["data"]["predicted"]
                for record in trained.tail("predictions", "--site", "kr1")
            }
            after = [shows[wafer] for wafer in later & shows.keys()]
            never = [shows[wafer] for wafer in shows.keys() - through - later]
            return (sum(after) / len(after), sum(never) / len(never)) if len(after) >= 50 else None

        # What the model says of wafers that never saw the module is its own noise, and all that
        # may be left.
        share, noise = until(judged_later, "50 wafers that came after the action")
        before = alert["affected_count"] / alert["examined_count"]
        assert share <= noise + 0.1 * before
        assert before > 3 * noise

        # 4. Ctrl-C ends everything within five seconds.
        began = time.monotonic()
        demo.send_signal(signal.SIGINT)
        demo.wait(timeout=20)
        assert time.monotonic() - began < 5
        before = trained.tail("wafer_maps", "--site", "kr1")

        # 5. The next start goes on where this one was: the alert is still there, wafers follow.
        demo = trained.start(*arguments)
        again = until(lambda: api.get("alerts?state=all")["items"], "the alerts of before")
        assert alert["alert_id"] in {one["alert_id"] for one in again}
        until(lambda: len(trained.tail("wafer_maps", "--site", "kr1")) > len(before), "new wafers")
        after = [w["data"]["substrate_id"] for w in trained.tail("wafer_maps", "--site", "kr1")]
        assert len(after) == len(set(after))
    finally:
        demo.send_signal(signal.SIGINT)
        try:
            demo.wait(timeout=20)
        finally:
            demo.kill()
            for log in sorted((Path(trained.folder) / "logs").glob("*.log")):
                print(log.name, log.read_text()[-500:])
