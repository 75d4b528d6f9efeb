"""Wafers unlike all the model learned: shown with a word, found by a filter, labelled first."""

import msgspec
import pytest
from sqlalchemy import text

from console.store import project
from console.tables import create_tables
from contracts.events import Prediction
from streaming.migrate import VERSION_TABLE
from tests.console_events import ALERT_ID, SITE, delivered, edge_ring_alert, substrate, wafer_events

UNKNOWN = f"/wafers/{SITE}/{substrate(90)}"


@pytest.fixture
def client(full, client_of):
    events = []
    for event in wafer_events(90, bad=False, module="A"):
        known = not isinstance(event, Prediction)
        events.append(event if known else msgspec.structs.replace(event, novelty=1.4))
    with full.begin() as connection:
        project(connection, delivered(events))
    with client_of(full) as client:
        yield client


@pytest.mark.parametrize(("language", "words"), [("en", "Unknown pattern"), ("ko", "미지 패턴")])
def test_a_badge_says_so_in_words(client, language, words):
    headers = {"accept-language": language}
    assert words in client.get(UNKNOWN, headers=headers).text
    assert words not in client.get(f"/wafers/{SITE}/{substrate(1)}", headers=headers).text


def test_the_gallery_filters_them(client):
    page = client.get("/api/v1/wafers", params={"pattern": "unknown"}).json()
    assert [(one["substrate_id"], one["unknown"]) for one in page["items"]] == [
        (substrate(90), True)
    ]
    text = client.get("/wafers", params={"pattern": "unknown"}).text
    assert 'class="tile-unknown"' in text


def test_they_are_first_in_the_label_queue(client):
    queue = client.get("/api/v1/label-queue").json()
    assert [one["unknown"] for one in queue] == [True] + [False] * (len(queue) - 1)


def test_an_alert_of_the_model_has_a_page(client, full):
    for revision, kind in ((9, "unknown"), (10, "drift")):
        alert = edge_ring_alert(
            33, revision=revision, kind=kind, pattern="", suspect_module="", suspect_equipment=""
        )
        with full.begin() as connection:
            project(connection, delivered([alert]))
        page = client.get(f"/alerts/{ALERT_ID}").text
        assert 'id="traces"' not in page
        assert ('href="/models#labels"' in page) == (kind == "unknown")
        assert ('id="drift"' in page) == (kind == "drift")


def test_a_database_of_an_earlier_version_gets_the_new_column(full):
    with full.begin() as connection:
        connection.execute(text("ALTER TABLE console_predictions DROP COLUMN novelty"))
        connection.execute(text("ALTER TABLE console_virtual_metrology DROP COLUMN model"))
        connection.execute(text("DROP TABLE console_judgements"))
        connection.execute(text("ALTER TABLE console_traces DROP COLUMN recipe_steps"))
        # Earlier versions did not number their tables.
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    for _ in range(2):
        create_tables(full)
    with full.begin() as connection:
        project(connection, delivered(wafer_events(91, bad=True, module="A")))
        stored = connection.execute(text("SELECT count(novelty) FROM console_predictions"))
        assert stored.scalar_one() == 0
