import re
from html.parser import HTMLParser

import pytest

from console import HealthReport
from console.store import project
from contracts.clock import ManualClock
from tests.console_events import ALERT_ID, SITE, delivered, edge_ring_alert
from tests.console_steering import STOPPED, chart_id
from tests.factories import NOON_MS

STEERING = ("/lots", "/charts", "/virtual", "/run-to-run")
PAGES = ("/", "/wafers", "/equipment", "/models", "/actions", "/health", *STEERING)
FULL = (
    *PAGES,
    f"/alerts/{ALERT_ID}",
    f"/wafers/{SITE}/L0001.02",
    f"/lots/{SITE}/L0003?pattern=Scratch",
    f"/equipment/{SITE}/ETCH-04/B",
    f"/charts/{SITE}/{chart_id('t2', 'ETCH-04/B', 'all')}",
    f"/virtual?site={SITE}&module=ETCH-04/B&step=etch&parameter=etch_depth_nm",
    f"/run-to-run?site={SITE}&thread={STOPPED}",
)

GROUPS = "js|alert|event|state|strip|wafer|help|risk|spc|vm|r2r|cause|auto|effect"


class Page(HTMLParser):
    """Tags with their attributes, and all ids."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def read(client, path, **headers):
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    return Page(answer.text), answer.text


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("path", FULL)
def test_pages_over_a_full_store(looking, path, language):
    page, text = read(looking, path, **{"accept-language": language})
    assert page.all("html")[0]["lang"] == language
    assert len(page.all("h1")) == 1
    # No key was left without its words.
    assert not re.findall(
        r">\s*(?:js|alert|event|state|strip|wafer|help|risk|spc|vm|r2r|cause|auto|effect)\.[a-z_.]+\s*<",
        text,
    )


@pytest.mark.parametrize("path", FULL)
def test_pages_work_under_their_own_content_policy(looking, path):
    page, _ = read(looking, path)
    for script in page.all("script"):
        assert script.get("src", "").startswith("/static/")
    assert page.all("style") == []
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "src", "action"):
            assert not re.match(r"(https?:)?//(?!127\.0\.0\.1)", attributes.get(name) or ""), tag


@pytest.mark.parametrize("path", FULL)
def test_controls_have_names_and_ids_are_unique(looking, path):
    page, text = read(looking, path)
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for select in page.all("select"):
        assert "aria-label" in select or f'name="{select["name"]}"' in text
    for canvas in page.all("canvas"):
        assert canvas["aria-label"]


@pytest.mark.parametrize("path", PAGES)
def test_pages_over_an_empty_store_say_what_to_do(client_of, engine, path):
    with client_of(engine, model_info=tuple, health=HealthReport) as client:
        _, text = read(client, path)
    if path in ("/", "/wafers", "/equipment"):
        assert "fabpilot sim run --scenario demo" in text
    if path in STEERING:
        assert "fabpilot demo" in text
    if path == "/models":
        assert "fabpilot train wafer-map" in text


def test_a_calm_fab_is_told_so(client_of, full):
    with client_of(full) as client:
        client.post(
            f"/api/v1/alerts/{ALERT_ID}/decisions", json={"decision": "resolve", "by": "kim"}
        )
        assert "Nothing needs you" in client.get("/").text


def test_names_from_the_fab_are_escaped(client_of, engine):
    evil = edge_ring_alert(3, pattern="<script>alert(1)</script>", suspect_module="'\"><img>")
    with engine.begin() as connection:
        project(connection, delivered([evil]))
    with client_of(engine) as client:
        for path in ("/", f"/alerts/{ALERT_ID}"):
            text = client.get(path).text
            assert "<script>alert" not in text
            assert "<img>" not in text


def test_old_data_is_said_to_be_old(client_of, full):
    with client_of(full, clock=ManualClock(NOON_MS + 3 * 60_000 + 1)) as client:
        text = client.get("/").text
    assert re.search(r'class="abnormal"><dt>Last wafer', text)
    assert "3 min ago" in text


def test_fab_time_is_shown_in_the_sites_zone_with_its_offset(looking):
    _, text = read(looking, f"/wafers/{SITE}/L0001.01")
    assert re.search(r"2026-01-01 \d\d:\d\d:\d\d \+09:00", text)


def test_language_and_theme_are_remembered(client):
    client.get("/?lang=ko")
    client.cookies.set("fabpilot_theme", "dark")
    page, _ = read(client, "/wafers")
    assert page.all("html")[0] == {"lang": "ko", "data-theme": "dark"}
