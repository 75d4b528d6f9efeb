import json
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from sqlalchemy import select

from console import tables
from console.decisions import (
    OUTBOX,
    MissingError,
    decide_action,
    decide_alert,
    next_decision,
)
from console.queries.alerts import alert_detail, list_alerts
from console.store import project
from console.strings import strings_for
from contracts.codec import decode
from contracts.errors import ConflictError
from contracts.events import Action, AlertDecision
from streaming.outbox import metadata
from tests.console_events import ACTION_ID, ALERT_ID, delivered, dump, inhibit_action
from tests.factories import NOON_MS

HOUR_MS = 3_600_000


def decide(engine, verb, *, hours=0.0, now_ms=NOON_MS, by="kim"):
    with engine.begin() as connection:
        return decide_alert(
            connection, ALERT_ID, verb, by=by, comment="because", hours=hours, now_ms=now_ms
        )


def approve(engine, verdict="approve", by="kim"):
    with engine.begin() as connection:
        return decide_action(connection, ACTION_ID, verdict, by=by, comment="go", now_ms=NOON_MS)


def state(engine, now_ms=NOON_MS):
    with engine.begin() as connection:
        return alert_detail(connection, ALERT_ID, now_ms, strings_for("en"), {}).state


def waiting(engine):
    """The events in the outbox."""
    outbox = metadata.tables["outbox"]
    with engine.begin() as connection:
        rows = connection.execute(select(outbox).order_by(outbox.c.seq)).all()
    assert {row.name for row in rows} <= {OUTBOX}
    decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode
    return [decode(decode_headers(row.headers), row.value) for row in rows]


def trail(engine):
    with engine.begin() as connection:
        return connection.execute(select(tables.audit).order_by(tables.audit.c.id)).all()


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        ("new", {"acknowledge", "resolve", "shelve"}),
        ("normal", {"acknowledge", "resolve", "shelve"}),
        ("acknowledged", {"resolve", "shelve", "reopen"}),
        ("shelved", {"resolve", "reopen"}),
        ("resolved", {"reopen"}),
    ],
)
def test_what_may_follow_a_state(state, allowed):
    for verb in ("acknowledge", "resolve", "shelve", "reopen"):
        if verb in allowed:
            assert next_decision(state, verb, by="")
        else:
            with pytest.raises(ConflictError, match=state):
                next_decision(state, verb, by="lee")


def test_a_decision_is_state_audit_and_event_at_once(full):
    event = decide(full, "acknowledge")
    assert state(full) == "acknowledged"
    assert waiting(full) == [event]
    assert isinstance(event, AlertDecision)
    (row,) = trail(full)
    assert (row.who, row.what, row.subject, row.why) == (
        "kim", "alert.acknowledged", ALERT_ID, "because",
    )  # fmt: skip
    assert json.loads(row.before) == {"state": "new"}
    assert json.loads(row.after)["state"] == "acknowledged"


def test_the_second_to_decide_is_told_who_was_first(full):
    decide(full, "acknowledge", by="kim")
    with pytest.raises(ConflictError, match="by kim"):
        decide(full, "acknowledge", by="lee")
    assert len(trail(full)) == len(waiting(full)) == 1


def test_nothing_stays_of_a_decision_that_fails(full, monkeypatch):
    def fail(*_):
        raise RuntimeError("outbox")

    monkeypatch.setattr("console.decisions.enqueue", fail)
    with pytest.raises(RuntimeError, match="outbox"):
        decide(full, "acknowledge")
    assert state(full) == "new"
    assert trail(full) == []


def test_a_shelved_alert_comes_back_by_itself_on_the_fabs_clock(full):
    event = decide(full, "shelve", hours=2)
    assert event.until_ms == event.time_ms + 2 * HOUR_MS
    assert state(full, NOON_MS + 2 * HOUR_MS - 1) == "shelved"
    assert state(full, NOON_MS + 2 * HOUR_MS) == "new"
    # And can then be acknowledged like any other.
    decide(full, "acknowledge", now_ms=NOON_MS + 3 * HOUR_MS)


def test_a_resolved_alert_can_be_opened_again(full):
    for verb, expected in (
        ("resolve", "resolved"), ("reopen", "new"), ("acknowledge", "acknowledged"),
    ):  # fmt: skip
        decide(full, verb)
        assert state(full) == expected
    ids = [event.event_id for event in waiting(full)]
    assert len(set(ids)) == 3


def test_open_alerts_leave_out_what_is_settled(full):
    decide(full, "resolve")
    with full.begin() as connection:
        strings = strings_for("en")
        page = list_alerts(connection, NOON_MS, strings, {}, states=("new", "acknowledged"))
        everything = list_alerts(connection, NOON_MS, strings, {})
    assert (page.total, everything.total) == (0, 1)


def test_approving_publishes_the_action_with_the_id_of_its_stage(full):
    event = approve(full)
    assert event.event_id == Action.event_id_for(ACTION_ID, "approved")
    assert (event.status, event.by, event.comment) == ("approved", "kim", "go")
    assert waiting(full) == [event]
    assert event.expected_good_dies == inhibit_action().expected_good_dies


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_an_action_is_decided_once(full, verdict):
    approve(full, "reject", by="lee")
    with pytest.raises(ConflictError, match=r"rejected already \(by lee\)"):
        approve(full, verdict)
    assert len(waiting(full)) == 1


def test_of_many_who_decide_at_once_one_wins(full):
    barrier = threading.Barrier(6)

    def one(number):
        barrier.wait(10)
        try:
            approve(full, ("approve", "reject")[number % 2], by=f"engineer {number}")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(one, range(6)))
    assert sum(won) == 1
    (row,) = trail(full)
    (event,) = waiting(full)
    assert row.who == event.by == f"engineer {won.index(True)}"


@pytest.mark.parametrize("status", ["applied", "failed", "approved"])
def test_what_the_fab_did_meanwhile_is_respected(full, status):
    with full.begin() as connection:
        project(connection, delivered([inhibit_action(event_id="x", status=status, by="fab")]))
    with pytest.raises(ConflictError, match=status):
        approve(full)


def test_there_must_be_something_to_decide_about(engine):
    with pytest.raises(MissingError, match="no alert"):
        decide(engine, "acknowledge")
    with pytest.raises(MissingError, match="no action"):
        approve(engine)


def test_our_own_decision_coming_back_from_the_log_changes_nothing(full):
    event = decide(full, "acknowledge")
    action = approve(full)
    before = dump(full)
    with full.begin() as connection:
        project(connection, delivered([event, action]))
    after = dump(full)
    before.pop("console_site_clocks")
    after.pop("console_site_clocks")
    assert after == before
