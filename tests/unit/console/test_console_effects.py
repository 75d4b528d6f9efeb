"""What the advisor did, why, whether it helped, and the one switch over it."""

import csv
import io
import json

import msgspec
import pytest
from sqlalchemy import select

from console import tables
from console.decisions import switch_automation
from console.store import project
from contracts.codec import decode
from contracts.events import ActionEffect, AutomationSwitch
from contracts.ids import derived_id
from streaming.outbox import metadata
from tests.console_events import (
    ALERT_ID,
    SITE,
    delivered,
    edge_ring_alert,
    inhibit_action,
)
from tests.console_steering import OLD_ALERT, explained, history_events, stages, switch
from tests.factories import NOON_MS

SWITCH = f"/api/v1/automation/{SITE}"


@pytest.fixture
def told(full, client):
    """A client of a fab with a history of actions."""
    with full.begin() as connection:
        project(connection, delivered(history_events()))
    return client


def sent(engine):
    with engine.begin() as connection:
        rows = connection.execute(select(metadata.tables["outbox"])).all()
    return [decode((("ce_type", AutomationSwitch.ce_type.encode()),), row.value) for row in rows]


# Effects


def test_an_action_tells_its_stages_and_its_effect(told):
    actions = {one["action_id"]: one for one in told.get("/api/v1/actions").json()["items"]}
    helped = actions[derived_id("action", "old-1")]
    assert [(one["status"], one["by"]) for one in helped["stages"]] == [
        ("proposed", "advisor"), ("approved", "policy:night"), ("applied", "fab"),
    ]  # fmt: skip
    effect = helped["effect"]
    assert (effect["verdict"], effect["before"], effect["after"]) == ("came", 0.82, 0.0)
    assert helped["evidence"][0].startswith("9 of 11")
    assert actions[derived_id("action", "old-4")]["effect"] is None


def test_actions_that_wait_come_first_and_can_be_asked_for_by_effect(told):
    found = told.get("/api/v1/actions").json()
    assert (found["items"][0]["status"], found["total"]) == ("proposed", 5)
    for verdict in ("came", "absent", "unclear"):
        only = told.get(f"/api/v1/actions?verdict={verdict}").json()
        assert [one["effect"]["verdict"] for one in only["items"]] == [verdict]
    page = told.get("/actions?verdict=absent").text
    assert "Did not help" in page
    assert "a person is asked" in page
    assert "policy night" not in page


def test_the_effect_may_come_before_the_action(engine, client_of):
    events = history_events()
    effects = [event for event in events if isinstance(event, ActionEffect)]
    with engine.begin() as connection:
        project(connection, delivered([*effects, *reversed(events)]))
    with client_of(engine) as client:
        found = client.get("/api/v1/actions?verdict=came").json()["items"]
    assert [one["action_id"] for one in found] == [derived_id("action", "old-1")]
    assert [one["status"] for one in found[0]["stages"]] == ["proposed", "approved", "applied"]


def test_the_alert_page_tells_the_course(told):
    text = told.get(f"/alerts/{OLD_ALERT}").text
    assert "16 of 25 wafers since" in text
    assert "Action did not help" in text  # in the timeline
    detail = told.get(f"/api/v1/alerts/{OLD_ALERT}").json()
    assert "effect.came" in [entry["what"] for entry in detail["timeline"]]


def test_effects_are_in_the_csv(told):
    text = told.get("/api/v1/export/actions.csv").content.decode("utf-8-sig")
    rows = {row["action_id"]: row for row in csv.DictReader(io.StringIO(text))}
    assert rows[derived_id("action", "old-2")]["effect_verdict"] == "absent"
    assert rows[derived_id("action", "old-2")]["effect_consequence"] == "escalated"
    assert rows[derived_id("action", "old-4")]["effect_verdict"] == ""
    assert rows[derived_id("action", "old-1")]["evidence"].endswith("robot_torque_n +31 %")


def test_a_decision_by_hand_is_a_stage(client):
    action_id = inhibit_action().action_id
    client.post(
        f"/api/v1/actions/{action_id}/decisions",
        json={"decision": "approve", "by": "kim", "comment": "go"},
    )
    (action,) = client.get("/api/v1/actions").json()["items"]
    assert [(one["status"], one["by"], one["comment"]) for one in action["stages"]] == [
        ("proposed", "controller", ""), ("approved", "kim", "go"),
    ]  # fmt: skip


def test_thousands_of_actions_fit_a_table(engine, client_of):
    events = [
        event
        for index in range(700)
        for event in stages(f"many-{index}", index, approver="kim", alert_id=f"alert-{index}")
    ]
    with engine.begin() as connection:
        project(connection, delivered(events))
    with client_of(engine) as client:
        text = client.get("/api/v1/export/actions.csv").text
    assert text.count("\n") == 701


# Causes


def test_causes_are_ranked_with_their_evidence(looking):
    text = looking.get(f"/alerts/{ALERT_ID}").text
    assert text.index("rf match drift") < text.index("edge ring wear") < text.index("WET-01/A")
    assert "T2 out since 14:44" in text
    assert "Something else, not known" in text
    for factor in ("Time since maintenance", "Both together", "Order in the lot"):
        assert factor in text
    causes = looking.get(f"/api/v1/alerts/{ALERT_ID}").json()["causes"]
    assert [one["probability"] for one in causes] == [0.71, 0.17, 0.05]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "no failure mode has been told"),
        ({"suspect_module": ""}, "do not tell one cause from another"),
    ],
)
def test_inconclusive_says_what_would_settle_it(engine, client_of, changed, words):
    with engine.begin() as connection:
        project(connection, delivered([edge_ring_alert(9, **changed)]))
    with client_of(engine) as client:
        text = client.get(f"/alerts/{ALERT_ID}").text
    assert "Inconclusive" in text
    assert words in text
    assert "would settle it" in text


def test_causes_that_add_up_to_one_leave_nothing_unknown(engine, client_of):
    alert = explained(edge_ring_alert(9))
    sure = msgspec.structs.replace(alert.causes[0], probability=1.0)
    with engine.begin() as connection:
        project(connection, delivered([msgspec.structs.replace(alert, causes=(sure,))]))
    with client_of(engine) as client:
        assert "Something else, not known" not in client.get(f"/alerts/{ALERT_ID}").text


# The switch


def test_off_is_one_press_with_a_name(client, full):
    assert client.get("/api/v1/automation").json()[0]["automatic"] is True
    answer = client.post(SWITCH, json={"automatic": False, "by": " kim "})
    assert answer.status_code == 200
    assert (answer.json()["automatic"], answer.json()["by"]) == (False, "kim")
    (event,) = sent(full)
    assert (event.automatic, event.by, event.site, event.reason) == (False, "kim", SITE, "")
    (line,) = client.get("/api/v1/audit").json()["items"]
    assert (line["what"], line["who"], line["subject"]) == ("automation.off", "kim", SITE)
    for path in ("/", "/models", "/charts", f"/alerts/{ALERT_ID}"):
        assert 'class="automation abnormal"' in client.get(path).text, path


def test_on_again_takes_a_reason_and_off_to_begin_with(client, full):
    on = {"automatic": True, "by": "kim"}
    assert client.post(SWITCH, json={**on, "comment": "why not"}).status_code == 409
    client.post(SWITCH, json={"automatic": False, "by": "lee", "comment": "smoke"})
    assert client.post(SWITCH, json=on).status_code == 422
    assert client.post(SWITCH, json={**on, "comment": "  "}).status_code == 422
    assert client.post(SWITCH, json={**on, "comment": "fan replaced"}).status_code == 200
    assert [event.automatic for event in sent(full)] == [False, True]
    assert sent(full)[0].time_ms < sent(full)[1].time_ms
    latest = client.get("/api/v1/audit").json()["items"][0]
    assert json.loads(latest["before"]) == {"automatic": 0, "by": "lee"}
    history = client.get("/actions").text
    assert "fan replaced" in history
    assert "smoke" in history


def test_off_is_never_refused(client, full):
    for by in ("kim", "lee"):
        assert client.post(SWITCH, json={"automatic": False, "by": by}).status_code == 200
    assert [event.by for event in sent(full)] == ["kim", "lee"]
    assert client.get("/api/v1/automation").json()[0]["by"] == "lee"


@pytest.mark.parametrize(
    ("url", "body", "headers", "status"),
    [
        (SWITCH, {"automatic": False}, {}, 422),
        (SWITCH, {"automatic": False, "by": "  "}, {}, 422),
        (SWITCH, {"automatic": False, "by": "k", "more": 1}, {}, 422),
        ("/api/v1/automation/nowhere", {"automatic": False, "by": "k"}, {}, 404),
        (SWITCH, {"automatic": False, "by": "k"}, {"origin": "http://evil.example"}, 403),
        (SWITCH, {"automatic": False, "by": "k"}, {"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_switches_that_are_none_are_refused(client, full, url, body, headers, status):
    assert client.post(url, json=body, headers=headers).status_code == status
    assert sent(full) == []


def test_our_own_switch_coming_back_from_the_log_changes_nothing(full):
    with full.begin() as connection:
        event = switch_automation(
            connection, SITE, False, by="kim", reason="", now_ms=NOON_MS + 1000
        )
    with full.begin() as connection:
        before = connection.execute(select(metadata.tables["outbox"])).all()
        project(connection, delivered([event, switch(True, -60)]))
        assert connection.execute(select(metadata.tables["outbox"])).all() == before
    (now,) = _states(full)
    assert (now.automatic, now.by) == (0, "kim")


def test_the_latest_switch_holds_in_whatever_order_they_come(engine):
    with engine.begin() as connection:
        project(connection, delivered([switch(True, 5, by="lee", reason="done")]))
        project(connection, delivered([switch(False, 1)]))
    (now,) = _states(engine)
    assert (now.automatic, now.by, now.reason) == (1, "lee", "done")


def _states(engine):
    with engine.begin() as connection:
        return connection.execute(select(tables.automation)).all()
