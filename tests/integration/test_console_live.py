"""The console over a real connection and a real log: event streams, the loop and the relay."""

import json
import threading
import time
from urllib.request import Request, urlopen

import pytest

from console import Site, tables
from console.decisions import OUTBOX
from console.store import announce, project
from console.tables import create_tables
from contracts.codec import decode, encode
from contracts.events import Action
from contracts.topics import STREAM_SPECS, Stream, topic_name
from streaming.database import open_engine
from streaming.embedded import EmbeddedLog
from tests.console_events import (
    ACTION_ID,
    ALERT_ID,
    SITE,
    a_dead_letter,
    delivered,
    edge_ring_alert,
    fab_events,
)
from tests.console_server import running

DEADLINE_S = 20.0


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request, tmp_path):
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path}/console.db")
    else:
        engine = open_engine(request.getfixturevalue("postgres_url"))
    create_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def log(tmp_path):
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics(
        {topic_name(SITE, stream): STREAM_SPECS[stream].partitions for stream in Stream}
    )
    yield log
    log.close()


def get(server, path):
    with urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return json.load(answer)


def post(server, path, body):
    request = Request(
        f"http://127.0.0.1:{server.port}{path}",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def until(check):
    """What `check` gives once it is true; waits on the thing itself, up to a deadline."""
    pause = threading.Event()
    deadline = time.monotonic() + DEADLINE_S
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come"
        pause.wait(0.05)
    return found


def stream(server, wanted, **headers):
    """Reads (id, event, data) until `wanted` of them that are not beats have come."""
    request = Request(f"http://127.0.0.1:{server.port}/api/v1/events", headers=headers)
    events, current = [], {}
    with urlopen(request, timeout=10) as answer:
        while len(events) < wanted:
            line = answer.readline().decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                current[name] = value
            elif current:
                if current.get("event") not in ("beat", None):
                    events.append(
                        (int(current["id"]), current["event"], json.loads(current["data"]))
                    )
                current = {}
    return events


def tell(engine, *topics):
    with engine.begin() as connection:
        announce(connection, [(topic, "x") for topic in topics])


def test_a_browser_that_was_away_misses_nothing(engine):
    tell(engine, "alerts", "actions", "wafers", "health")
    with running(engine=engine) as server:
        everything = stream(server, 4)
        assert [event for _, event, _ in everything] == ["alerts", "actions", "wafers", "health"]
        second = everything[1][0]
        resumed = stream(server, 2, **{"Last-Event-ID": str(second)})
        assert resumed == everything[2:]


def test_a_change_reaches_a_waiting_browser_at_once(engine):
    with running(engine=engine) as server:
        found = []
        waiting = threading.Thread(target=lambda: found.extend(stream(server, 1)), daemon=True)
        waiting.start()
        began = time.monotonic()
        tell(engine, "alerts")
        waiting.join(DEADLINE_S)
        assert [event for _, event, _ in found] == ["alerts"]
        assert time.monotonic() - began < 5


def test_a_browser_that_was_away_too_long_is_told_to_start_again(engine):
    tell(engine, *["alerts"] * 5)
    with engine.begin() as connection:
        connection.execute(tables.changes.delete().where(tables.changes.c.id <= 3))
    with running(engine=engine) as server:
        events = stream(server, 2, **{"Last-Event-ID": "1"})
    assert [(number, event) for number, event, _ in events] == [(3, "reset"), (4, "alerts")]


def test_open_streams_do_not_hold_up_a_stop(engine):
    tell(engine, "alerts")
    opened, ended = threading.Event(), threading.Event()

    def look(port):
        with urlopen(f"http://127.0.0.1:{port}/api/v1/events", timeout=30) as answer:
            answer.readline()
            opened.set()
            answer.read()
        ended.set()

    with running(engine=engine) as server:
        threading.Thread(target=look, args=(server.port,), daemon=True).start()
        assert opened.wait(DEADLINE_S)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert ended.wait(5)


def test_from_the_log_to_the_page_and_back(engine, log):
    log.append([encode(event) for event in fab_events(12)])
    sites = (Site(SITE, "Asia/Seoul"),)
    with running(engine=engine, log=log, sites=sites) as server:
        until(lambda: get(server, "/api/v1/alerts")["total"])
        until(lambda: get(server, "/api/v1/actions")["total"])
        strip = until(lambda: (s := get(server, "/api/v1/strip"))["lag_records"] == 0 and s)
        assert (strip["wafers"], strip["projector"]) == (12, "running")
        until(lambda: get(server, "/api/v1/dead-letters")["total"] == 1)
        post(
            server,
            f"/api/v1/actions/{ACTION_ID}/decisions",
            {"decision": "approve", "by": "kim", "comment": "go"},
        )
        topic = topic_name(SITE, Stream.ACTIONS)
        until(lambda: sum(log.ends([topic]).values()) == 2)
        reader = log.reader([topic], "beginning")
        records = reader.poll(10, 1.0)
        reader.close()
        approved = decode(records[1].headers, records[1].value)
        assert isinstance(approved, Action)
        assert (approved.status, approved.by) == ("approved", "kim")
        checks = {one["name"]: one["status"] for one in get(server, "/api/v1/health")["checks"]}
        assert checks == {
            "console projector": "ok", "console relay": "ok", "console dead letters": "ok",
            "console lag": "ok",
        }  # fmt: skip
        began = time.monotonic()
    assert time.monotonic() - began < 3


def test_a_restart_goes_on_where_it_was(engine, log):
    sites = (Site(SITE),)
    log.append([encode(edge_ring_alert(3, revision=1))])
    with running(engine=engine, log=log, sites=sites) as server:
        until(lambda: get(server, "/api/v1/alerts")["total"])
    log.append([encode(edge_ring_alert(3, revision=2)), encode(a_dead_letter(1))])
    with running(engine=engine, log=log, sites=sites) as server:
        until(lambda: get(server, f"/api/v1/alerts/{ALERT_ID}")["revision"] == 2)
        until(lambda: get(server, "/api/v1/dead-letters")["total"] == 1)


def test_decisions_made_while_the_log_is_away_are_published_later(engine, log):
    sites = (Site(SITE),)
    with engine.begin() as connection:
        project(connection, delivered([edge_ring_alert(3)]))
    with running(engine=engine, sites=sites) as server:
        post(
            server,
            f"/api/v1/alerts/{ALERT_ID}/decisions",
            {"decision": "acknowledge", "by": "kim"},
        )
    with running(engine=engine, log=log, sites=sites):
        until(lambda: sum(log.ends([topic_name(SITE, Stream.ALERTS)]).values()) == 1)
    assert log.position(f"outbox.{OUTBOX}") == 1
