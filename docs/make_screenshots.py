"""Make the README's screenshots from a running demo: `make screenshot` (needs Chromium).

Starts a demo in a folder of its own (a model registered in .fabpilot is used, or one is trained),
waits until the fab shows an excursion, and photographs the pages.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent / "screenshots"
PORT = 8097
ORIGIN = f"http://127.0.0.1:{PORT}"
BROWSER = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def _items(what: str) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{ORIGIN}/api/v1/{what}", timeout=5) as answer:
            items: list[dict[str, Any]] = json.load(answer)["items"]
            return items
    except OSError:
        return []


def _photograph() -> None:
    deadline = time.monotonic() + 600
    while not (good := [a for a in _items("alerts") if a["pattern"] and a["affected_count"] >= 12]):
        if time.monotonic() > deadline:
            sys.exit("no excursion appeared; see the demo's logs")
        time.sleep(1)
    pages = {
        "now": "/",
        "alert": f"/alerts/{good[0]['alert_id']}",
        "lots": "/lots",
        "wafers": "/wafers",
        "equipment": "/equipment",
        "charts": "/charts",
        "actions": "/actions",
        "models": "/models",
        "health": "/health",
    }
    # The worst lot and the chart that is furthest out, where the controller speaks of them.
    if lots := _items("lots"):
        pages["lot"] = f"/lots/{lots[0]['site']}/{quote(lots[0]['lot_id'])}"
    if charts := _items("charts"):
        pages["chart"] = f"/charts/{charts[0]['site']}/{quote(charts[0]['chart_id'])}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(BROWSER)
        )
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": 1280, "height": 720},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            for name, path in pages.items():
                if scheme == "dark" and name != "now":
                    continue
                page.goto(ORIGIN + path)
                page.locator("body[data-ready]").wait_for(state="attached")
                page.wait_for_timeout(1000)
                if name == "alert":
                    page.keyboard.press("h")
                    page.wait_for_timeout(300)
                suffix = "" if scheme == "light" else "-dark"
                page.screenshot(path=FOLDER / f"{name}{suffix}.png")
            page.close()
        browser.close()


def main() -> None:
    """Run the demo and photograph it."""
    FOLDER.mkdir(exist_ok=True)
    models = Path(os.environ.get("FABPILOT_HOME", ".fabpilot")).absolute() / "mlflow.db"
    with tempfile.TemporaryDirectory(prefix="fabpilot-screenshots-") as home:
        settings = {"FABPILOT_HOME": home, "FABPILOT_TIME_ZONE": "Asia/Seoul"}
        if models.exists():
            settings["FABPILOT_MLFLOW"] = f"sqlite:///{models}"
        demo = subprocess.Popen(
            [sys.executable, "-m", "fabpilot", "demo", "--no-browser", "--port", str(PORT)],
            env={**os.environ, **settings},
        )
        try:
            _photograph()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(timeout=20)


if __name__ == "__main__":
    main()
