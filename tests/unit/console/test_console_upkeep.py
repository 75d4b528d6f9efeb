import json

import msgspec
import pytest
from sqlalchemy import select

from console import tables
from console.dead_letters import fetch
from console.store import project
from contracts.codec import decode, encode
from contracts.events import Label
from contracts.records import TopicPartition
from contracts.topics import Stream, topic_name
from contracts.wafer_map import PATTERNS
from streaming.embedded import EmbeddedLog
from streaming.outbox import metadata
from tests.console_events import SITE, a_dead_letter, delivered, substrate

WAFER = f"/api/v1/wafers/{SITE}/{substrate(1)}/label"


def outbox(engine):
    with engine.begin() as connection:
        return connection.execute(select(metadata.tables["outbox"])).all()


def test_a_label_is_stored_audited_and_sent(client, full):
    answer = client.post(WAFER, json={"patterns": ["Edge-Loc", "Scratch"], "by": "kim"})
    assert answer.json()["patterns"] == ["Edge-Loc", "Scratch"]
    wafer = client.get(f"/api/v1/wafers/{SITE}/{substrate(1)}").json()
    assert wafer["label"]["by"] == "kim"
    (row,) = outbox(full)
    event = decode((("ce_type", Label.ce_type.encode()),), row.value)
    assert (event.patterns, event.lot_id) == (("Edge-Loc", "Scratch"), "L0001")
    (line,) = client.get("/api/v1/audit").json()["items"]
    assert line["what"] == "wafer.labelled"


def test_who_labels_later_is_right(client):
    client.post(WAFER, json={"patterns": ["Scratch"], "by": "kim"})
    client.post(WAFER, json={"patterns": ["None"], "by": "lee"})
    wafer = client.get(f"/api/v1/wafers/{SITE}/{substrate(1)}").json()
    assert (wafer["label"]["patterns"], wafer["label"]["by"]) == (["None"], "lee")
    latest = client.get("/api/v1/audit").json()["items"][0]
    assert json.loads(latest["before"])["by"] == "kim"


@pytest.mark.parametrize(
    "patterns", [[], ["Spi/ral"], ["x" * 41], ["any"], ["None", "Scratch"], list(PATTERNS)]
)
def test_labels_that_are_none_are_refused(client, patterns):
    assert client.post(WAFER, json={"patterns": patterns, "by": "kim"}).status_code == 422
    assert client.get("/api/v1/audit").json()["total"] == 0


def test_an_engineer_names_a_new_pattern_and_it_is_offered_from_then_on(client, full):
    answer = client.post(WAFER, json={"patterns": [" Half  moon"], "by": "kim"})
    assert answer.json()["patterns"] == ["Half moon"]
    (row,) = outbox(full)
    event = decode((("ce_type", Label.ce_type.encode()),), row.value)
    assert event.patterns == ("Half moon",)
    assert 'data-pattern="Half moon"' in client.get("/models").text
    assert ">Half moon</option>" in client.get("/wafers").text


def test_a_known_pattern_has_one_spelling(client):
    answer = client.post(WAFER, json={"patterns": ["edge ring", "Edge_Ring"], "by": "kim"})
    assert answer.json()["patterns"] == ["Edge-Ring"]


def test_labelled_wafers_leave_the_queue(client):
    before = client.get("/api/v1/label-queue").json()
    first = before[0]["substrate_id"]
    url = f"/api/v1/wafers/{SITE}/{first}/label"
    assert client.post(url, json={"patterns": ["None"], "by": "kim"}).status_code == 200
    after = client.get("/api/v1/label-queue").json()
    assert first not in [one["substrate_id"] for one in after]
    assert after[0] == before[1]


@pytest.fixture
def log(tmp_path):
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({topic_name(SITE, Stream.DEAD_LETTERS): 1})
    yield log
    log.close()


def test_a_dead_letter_is_found_at_its_place(log):
    letters = [a_dead_letter(index) for index in range(3)]
    log.append([encode(letter) for letter in letters])
    place = TopicPartition(topic_name(SITE, Stream.DEAD_LETTERS), 0)
    assert fetch(log, place, 1) == letters[1]
    assert fetch(log, place, 99) is None


@pytest.mark.parametrize("given", ["whole", "cut"])
def test_a_record_is_put_back_once_and_only_whole(client_of, engine, log, given):
    letter = a_dead_letter()
    if given == "cut":
        letter = msgspec.structs.replace(letter, value_bytes=9_000_000)
    log.append([encode(letter)])
    with engine.begin() as connection:
        project(connection, delivered([letter]))
    # The app's threads are not started, so that the outbox stays as it is.
    client = client_of(engine, log=log)
    url = f"/api/v1/dead-letters/{letter.event_id}/replay"
    first = client.post(url, json={"by": "kim"})
    if given == "cut":
        assert first.status_code == 422
        assert "9000000 bytes" in first.json()["detail"]
        assert outbox(engine) == []
        return
    assert first.status_code == 200
    (row,) = outbox(engine)
    assert (row.topic, row.key, row.value) == (
        letter.source_topic,
        letter.source_key,
        letter.value,
    )
    assert client.post(url, json={"by": "lee"}).status_code == 409
    with engine.begin() as connection:
        assert connection.execute(select(tables.dead_letters.c.replayed_by)).scalar() == "kim"


def test_what_cannot_be_replayed_says_why(client):
    assert client.post("/api/v1/dead-letters/none/replay", json={"by": "k"}).status_code == 404
    answer = client.post("/api/v1/dead-letters/dead-0/replay", json={"by": "k"})
    assert answer.status_code == 503
    assert "no log" in answer.json()["detail"]
