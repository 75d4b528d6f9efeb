import json

import msgspec
import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from console import store, tables, upsert
from console.queries.overview import changes_after, last_change
from console.store import project
from contracts.arrays import Array
from contracts.events import EVENT_TYPES, WaferMap
from contracts.topics import Stream
from streaming.database import insert_missing
from tests.console_events import (
    ALERT_ID,
    a_dead_letter,
    delivered,
    dump,
    edge_ring_alert,
    fab_events,
    inhibit_action,
    substrate,
    wafer_events,
)
from tests.factories import NOON_MS, sample_events, wafer_map


def count(engine, table):
    with engine.begin() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def put(engine, events, **options):
    with engine.begin() as connection:
        return project(connection, delivered(events, **options))


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_every_event_type_is_projected(engine, ce_type):
    # The sample map has seven dies, too few to be judged.
    events = sample_events() | {WaferMap.ce_type: wafer_map()}
    assert put(engine, [events[ce_type]]) == []
    assert any(rows for rows in dump(engine).values())


def test_projecting_twice_changes_nothing(engine):
    events = fab_events(8)
    put(engine, events)
    once = dump(engine)
    put(engine, events)
    assert dump(engine) == once


def test_prediction_and_map_may_come_in_either_order(engine):
    first, second = wafer_events(1, bad=True, module="B")[-2:]
    put(engine, [second])
    assert count(engine, tables.wafer_maps) == 0
    put(engine, [first])
    with engine.begin() as connection:
        wafer = connection.execute(select(tables.wafers)).one()
        prediction = connection.execute(select(tables.predictions)).one()
        grid = connection.execute(select(tables.wafer_maps)).one()
    assert wafer.product == "DRAM-1b"
    assert prediction.pattern == "Edge-Ring"
    assert json.loads(prediction.probabilities)["Edge-Ring"] == pytest.approx(0.98)
    assert grid.good + grid.bad == np.count_nonzero(first.grid.numpy())


def test_an_older_revision_never_replaces_a_newer_one(engine):
    put(engine, [edge_ring_alert(6, revision=2)], wall_ms=NOON_MS + 5)
    put(engine, [edge_ring_alert(6, revision=1, severity="low")], wall_ms=NOON_MS)
    with engine.begin() as connection:
        row = connection.execute(select(tables.alerts)).one()
    assert (row.revision, row.severity, row.received_ms) == (2, "high", NOON_MS)


def test_a_proposal_that_comes_late_does_not_undo_an_approval(engine):
    put(engine, [inhibit_action(event_id="x", status="approved", by="kim")])
    put(engine, [inhibit_action()])
    with engine.begin() as connection:
        assert connection.execute(select(tables.actions.c.status)).scalar_one() == "approved"


def test_a_map_that_is_none_is_left_out_and_the_rest_stored(engine):
    bad = wafer_map(3, grid=np.full((4, 4), 7, dtype=np.uint8))
    put(engine, [bad, wafer_map(4)])
    assert count(engine, tables.wafer_maps) == 1


def test_a_trace_whose_recipe_steps_are_not_one_a_sample_is_left_out(engine):
    (trace,) = (e for e in wafer_events(1, bad=False, module="A") if e.stream is Stream.TRACES)
    short = msgspec.structs.replace(trace, recipe_steps=Array.of(np.ones(119, np.uint8)))
    none = msgspec.structs.replace(trace, event_id="none", recipe_steps=None)
    put(engine, [short, none])
    with engine.begin() as connection:
        kept = connection.execute(select(tables.traces.c.event_id, tables.traces.c.recipe_steps))
        assert kept.all() == [("none", None)]


def test_traces_are_bounded_per_module_and_recipe_in_any_order(engine):
    traces = [
        event
        for index in range(90)
        for event in wafer_events(index, bad=False, module="A")
        if event.stream is Stream.TRACES
    ]
    put(engine, traces[::-1][:45])
    put(engine, traces[::-1][45:])
    with engine.begin() as connection:
        kept = connection.execute(select(tables.traces.c.substrate_id)).scalars().all()
    assert sorted(kept) == sorted(substrate(index) for index in range(30, 90))


def test_retention_takes_the_oldest_wafers_with_all_that_is_theirs(engine, monkeypatch):
    monkeypatch.setattr(store, "MAX_WAFERS", 5)
    for index in range(9):
        put(engine, wafer_events(index, bad=False, module="A"))
    with engine.begin() as connection:
        for table in (tables.wafers, tables.wafer_maps, tables.predictions, tables.steps):
            kept = set(connection.execute(select(table.c.substrate_id)).scalars())
            assert kept == {substrate(index) for index in range(4, 9)}, table.name


def test_changes_are_numbered_without_gaps(engine):
    put(engine, fab_events(2))
    put(engine, [edge_ring_alert(2, revision=3)])
    with engine.begin() as connection:
        found = changes_after(connection, 0, 100)
        assert last_change(connection) == len(found)
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    assert found[-1][1:] == ("alerts", ALERT_ID)


def test_sweeping_keeps_the_bounds(engine, monkeypatch):
    monkeypatch.setattr(store, "_SWEEP_EVERY", 1)
    monkeypatch.setitem(store._BOUNDS, "dead_letters", ("time_ms", 3))
    for index in range(6):
        put(engine, [a_dead_letter(index)])
    with engine.begin() as connection:
        kept = connection.execute(select(tables.dead_letters.c.event_id)).scalars().all()
    assert sorted(kept) == ["dead-3", "dead-4", "dead-5"]


@pytest.mark.parametrize(
    "statement", [tables.audit.delete(), tables.audit.update().values(who="nobody")]
)
def test_the_audit_trail_cannot_be_changed(engine, statement):
    row = {
        "time_ms": 1, "who": "kim", "what": "x", "subject": "y",
        "why": "", "before": "{}", "after": "{}",
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(tables.audit.insert().values(**row))
    with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(statement)


def test_a_heatmap_of_another_shape_is_not_stored(engine):
    _, prediction = wafer_events(1, bad=True, module="B")[-2:]
    odd = msgspec.structs.replace(prediction, heatmap=Array.of(np.zeros(4, np.float32)))
    put(engine, [odd])
    with engine.begin() as connection:
        assert connection.execute(select(tables.predictions.c.heatmap)).scalar_one() is None


def test_merges_compile_for_postgresql():
    class Connection:
        def __init__(self):
            self.dialect = postgresql.dialect()
            self.statements = []

        def execute(self, statement, rows):
            self.statements.append(str(statement.compile(dialect=self.dialect)))

    connection = Connection()
    upsert.upsert(
        connection, tables.actions, [{"action_id": "a", "rank": 1, "time_ms": 2, "event_id": "e"}],
        newer=upsert.later("rank", "time_ms", "event_id"),
    )  # fmt: skip
    insert_missing(connection, tables.timeline, [{"event_id": "e"}])
    assert "ON CONFLICT (action_id) DO UPDATE" in connection.statements[0]
    assert "ON CONFLICT DO NOTHING" in connection.statements[1]
