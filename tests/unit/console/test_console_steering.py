"""What steers the process, from the log to the API: risk, charts, virtual metrology, run-to-run."""

import csv
import io
import math

import msgspec
import pytest
from sqlalchemy import func, select

from console import store, tables
from console.queries import charts, risks, run_to_run, virtual
from console.store import project
from contracts.events import ChartPoint
from tests.console_events import SITE, delivered, dump, substrate, wafer_events
from tests.console_steering import (
    STOPPED,
    THREAD,
    chart_events,
    chart_id,
    history_events,
    metrology_events,
    risk,
    risk_events,
    run_events,
    steering_events,
)
from tests.factories import NOON_MS, registered_virtual_metrology, sample_events, wafer_map


def put(engine, events):
    with engine.begin() as connection:
        project(connection, delivered(events))


def ask(engine, query, *args, **options):
    with engine.begin() as connection:
        return query(connection, *args, **options)


def count(engine, table):
    return ask(engine, lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())


def rows_of(client, table, **query):
    answer = client.get(f"/api/v1/export/{table}.csv", params=query)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def test_steering_depends_on_the_events_alone(engine, copy_of):
    events = [*steering_events()[::7], *history_events()]
    put(engine, events)
    once = dump(engine)
    put(engine, events[::-1])
    assert dump(engine) == once
    with engine.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            if table is not tables.audit:
                connection.execute(table.delete())
    for start in range(0, len(events), 5):
        put(engine, events[::-1][start : start + 5])
    assert dump(engine) == once


@pytest.mark.parametrize(
    "broken",
    [
        {"fabpilot.risk.v1": {"any_pattern": math.nan}},
        {"fabpilot.risk.v1": {"probabilities": (0.5,)}},
        {"fabpilot.chart_point.v1": {"value": math.inf}},
        {"fabpilot.virtual_metrology.v1": {"low": math.nan}},
        {"fabpilot.run_to_run.v1": {"set_point": math.nan}},
        {"fabpilot.action_effect.v1": {"after": math.nan}},
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_left_out_and_the_rest_stored(engine, broken):
    ((ce_type, changed),) = broken.items()
    bad = msgspec.structs.replace(sample_events()[ce_type], **changed)
    put(engine, [bad, *wafer_events(0, bad=False, module="A")])
    assert count(engine, tables.wafer_maps) == 1
    for table in (tables.risks, tables.charts, tables.virtual_metrology, tables.r2r_runs,
                  tables.effects):  # fmt: skip
        assert count(engine, table) == 0


def test_a_chart_without_false_alarms_has_an_endless_arl(engine):
    point = sample_events()[ChartPoint.ce_type]
    put(engine, [msgspec.structs.replace(point, arl0=math.inf, lower=math.nan, cpk=None)])
    found = ask(engine, charts.chart_detail, SITE, "c1")
    assert (found.arl0, found.lower, found.cpk) == (None, None, None)
    assert found.upper == 326.0


@pytest.mark.parametrize(
    "changed",
    [
        {"chart_id": "c" * 201},
        {"parameter": "a\x00b"},
        {"points": 2**31},
        {"time_ms": 2**63},
        {"time_ms": 10**15},
    ],
    ids=["long", "nul", "points", "time", "far"],
)
def test_what_no_database_keeps_does_not_stop_the_rest(engine, changed):
    point = sample_events()[ChartPoint.ce_type]
    put(engine, [msgspec.structs.replace(point, **changed)])
    put(engine, [msgspec.structs.replace(point, chart_id="c" * 200, event_id="x")])
    assert count(engine, tables.charts) == count(engine, tables.chart_points) == 1


# Risk


def test_lots_with_most_to_lose_come_first_and_tested_ones_go(engine):
    put(engine, risk_events())
    lots = ask(engine, risks.list_lots).items
    lost = [lot.expected_loss * lot.wafers for lot in lots]
    assert len(lots) == 5
    assert lost == sorted(lost, reverse=True)
    assert lots[-1].lot_id == "L0005"
    for index in range(25):
        put(engine, wafer_events(index, bad=False, module="A"))
    assert "L0001" not in [lot.lot_id for lot in ask(engine, risks.list_lots).items]
    (lot,) = ask(engine, risks.list_lots, open_only=False, q="L0001").items
    assert (lot.tested, lot.wafers, lot.expected_bad) == (25, 25, 0.0)


def test_a_lot_sums_what_is_expected_of_its_wafers(engine):
    put(engine, [risk("L1", slot, 1, level, NOON_MS) for slot, level in ((1, 0.9), (2, 0.1))])
    put(engine, [risk("L1", 1, 0, 0.2, NOON_MS + 5)])
    lot = ask(engine, risks.lot_detail, SITE, "L1")
    # 0.04 more for any pattern than for the likeliest; the step that came late is not the latest.
    assert lot.expected_bad == pytest.approx(0.94 + 0.14)
    assert lot.expected_loss == pytest.approx(0.22 * 0.5)
    assert (lot.step, lot.pattern, lot.suspects) == ("etch", "Edge-Ring", ["ETCH-04/B"])
    assert [one.sequence for one in lot.histories["L1.01"]] == [0, 1]
    assert [one.risk.sequence for one in lot.slots] == [1, 1]


def test_the_later_of_two_risks_after_one_step_holds(engine):
    first = risk("L1", 1, 0, 0.2, NOON_MS)
    later = msgspec.structs.replace(first, event_id="again", time_ms=NOON_MS + 1, any_pattern=0.5)
    put(engine, [later])
    put(engine, [first])
    (step,) = ask(engine, risks.wafer_risks, SITE, "L1.01")
    assert step.any_pattern == 0.5


def test_the_risk_goes_with_its_wafer(engine, monkeypatch):
    monkeypatch.setattr(store, "MAX_WAFERS", 5)
    for slot in range(1, 10):
        put(engine, [risk("L1", slot, 0, 0.1, NOON_MS + slot)])
    for table in (tables.risks, tables.wafer_risks, tables.wafers):
        with engine.begin() as connection:
            kept = set(connection.execute(select(table.c.substrate_id)).scalars())
        assert kept == {f"L1.{slot:02d}" for slot in range(5, 10)}, table.name


def test_the_shift_shows_the_risk_before_inspection(looking):
    shift = looking.get("/api/v1/shift").json()
    known = [point["risk_percent"] for point in shift if point["risk_percent"] is not None]
    assert len(known) >= 10
    assert all(10 < percent < 40 for percent in known)


# Charts


def test_charts_that_are_out_come_first(engine):
    put(engine, chart_events())
    found = ask(engine, charts.list_charts)
    assert found.total == 9
    assert [chart.state for chart in found.items[:3]] == ["out"] * 3
    assert {chart.module for chart in found.items[:3]} == {"ETCH-04/B"}
    rank = {"out": 0, "recent": 1, "in": 2, "learning": 2}
    assert [rank[chart.state] for chart in found.items] == sorted(
        rank[chart.state] for chart in found.items
    )
    assert ask(engine, charts.chart_counts)[SITE, "ETCH-04/B"] == (3, 3)
    only = ask(engine, charts.list_charts, chart="t2", state="out")
    assert [chart.chart_id for chart in only.items] == [chart_id("t2", "ETCH-04/B", "all")]


def test_a_chart_is_what_its_latest_point_says_and_remembers_when_it_was_out(engine):
    point = sample_events()[ChartPoint.ce_type]
    calm = msgspec.structs.replace(
        point, event_id="later", time_ms=point.time_ms + 60_000, rules=(), value=320.0, points=42
    )
    put(engine, [calm])
    put(engine, [point])
    chart = ask(engine, charts.chart_detail, SITE, "c1")
    assert (chart.value, chart.points, chart.rules, chart.state) == (320.0, 42, [], "recent")
    assert chart.out_ms == point.time_ms
    assert [one.value for one in chart.history] == [325.5, 320.0]
    much_later = msgspec.structs.replace(
        calm, event_id="tomorrow", time_ms=point.time_ms + 25 * 3_600_000
    )
    put(engine, [much_later])
    assert ask(engine, charts.chart_detail, SITE, "c1").state == "in"


def test_modules_of_one_kind_are_side_by_side(engine):
    put(engine, chart_events())
    found = ask(engine, charts.chart_detail, SITE, chart_id("xbar", "ETCH-04/B"))
    assert [one.module for one in found.siblings] == ["ETCH-04/A", "ETCH-04/C"]
    assert {one.parameter for one in found.siblings} == {"etch_depth_nm"}


def test_points_are_bounded(engine, monkeypatch):
    monkeypatch.setattr(store, "_SWEEP_EVERY", 1)
    monkeypatch.setitem(store._BOUNDS, "chart_points", ("time_ms", 9))
    put(engine, chart_events())
    put(engine, [])
    put(engine, run_events())
    assert count(engine, tables.chart_points) == 9
    assert count(engine, tables.charts) == 9


# Virtual metrology


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Brown, Cai, DasGupta, Statistical Science 16 (2001), eq. 4.
    [(0, 10, 0.0, 0.2775), (9, 10, 0.5958, 0.9821), (10, 10, 0.7225, 1.0)],
)
def test_the_interval_of_a_share(hits, total, low, high):
    assert virtual.wilson(hits, total) == pytest.approx((low, high), abs=1e-4)
    assert virtual.wilson(0, 0) is None


def test_coverage_counts_measured_wafers_the_model_stands_for(engine):
    put(engine, metrology_events())
    events = {event.event_id: event for event in metrology_events()}
    held, seen, squares = 0, 0, 0.0
    for index in range(1, 50, 3):
        wafer = substrate(index)
        said, real = events[f"virtual-{wafer}"], events.get(f"depth-{wafer}")
        if real is None or said.unlike:
            continue
        mean = sum(real.values) / len(real.values)
        seen += 1
        held += said.low <= mean <= said.high
        squares += (said.predicted - mean) ** 2
    place = ask(engine, virtual.place_detail, SITE, "ETCH-04/B", "etch", "etch_depth_nm")
    assert (place.measured, place.covered, place.predicted, place.unlike) == (seen, held, 17, 3)
    assert place.coverage == held / seen
    assert place.rmse == pytest.approx(math.sqrt(squares / seen))
    assert place.coverage_low < place.coverage <= place.coverage_high
    times = [point.time_ms for point in place.history]
    assert times == sorted(times)


def test_a_registered_model_is_judged_apart_from_the_controller(engine, client_of):
    looking = client_of(engine)
    event = sample_events()["fabpilot.virtual_metrology.v1"]
    registered = msgspec.structs.replace(
        registered_virtual_metrology(), event_id="virtual-2", predicted=319.5
    )
    put(engine, [event, registered, wafer_map(31)])
    keys = {"site": SITE, "module": event.key}
    places = looking.get("/api/v1/virtual-metrology", params=keys).json()["items"]
    said = {place["model"]: place["history"][0]["predicted"] for place in places}
    assert said["trace-metrology"] == 319.5
    keys |= {"step": "etch", "parameter": "etch_depth_nm", "model": "trace-metrology"}
    (row,) = rows_of(looking, "virtual_metrology", **keys)
    assert float(row["predicted"]) == 319.5
    assert "by trace-metrology" in looking.get("/virtual", params=keys).text
    assert "by trace-metrology" in looking.get(f"/wafers/{SITE}/{event.substrate_id}").text


def test_what_an_older_version_stored_is_the_controllers(engine):
    put(engine, [sample_events()["fabpilot.virtual_metrology.v1"]])
    with engine.begin() as connection:
        connection.execute(tables.virtual_metrology.update().values(model=None))
    (place,) = ask(engine, virtual.list_places).items
    assert (place.model, place.predicted) == ("", 1)
    (one,) = ask(engine, virtual.foretold, SITE, "L0001.07")
    assert one.model == ""


def test_nothing_is_said_of_coverage_before_a_measurement(engine):
    put(engine, [sample_events()["fabpilot.virtual_metrology.v1"]])
    (place,) = ask(engine, virtual.list_places).items
    assert (place.measured, place.coverage, place.coverage_low, place.rmse) == (0, None, None, None)


# Run-to-run


def test_a_thread_that_needs_a_person_comes_first(engine):
    put(engine, run_events()[::-1])
    threads = ask(engine, run_to_run.list_threads).items
    assert [thread.thread for thread in threads] == [STOPPED, THREAD]
    assert [thread.status for thread in threads] == ["stopped", "active"]
    detail = ask(engine, run_to_run.thread_detail, SITE, THREAD)
    assert [run.runs for run in detail.history] == list(range(1, 31))
    assert (detail.runs, detail.history[0].gain_ratio) == (30, None)


# The API


@pytest.mark.parametrize(
    ("path", "total"),
    [
        ("/api/v1/lots", 3),
        ("/api/v1/lots?tested=true", 5),
        ("/api/v1/lots?q=3", 1),
        ("/api/v1/charts", 9),
        ("/api/v1/charts?module=ETCH-04/B", 3),
        ("/api/v1/charts?kind=etch&state=out", 3),
        ("/api/v1/charts?kind=clean", 0),
        ("/api/v1/virtual-metrology?module=ETCH-04/A", 1),
        ("/api/v1/run-to-run?status=stopped", 1),
    ],
)
def test_lists_can_be_filtered(looking, path, total):
    assert looking.get(path).json()["total"] == total


def test_one_of_each(looking):
    lot = looking.get(f"/api/v1/lots/{SITE}/L0003").json()
    assert (len(lot["slots"]), lot["tested"]) == (25, 0)
    assert lot["expected_bad"] > 9
    steps = looking.get(f"/api/v1/wafers/{SITE}/{substrate(1)}/risks").json()
    assert [one["step"] for one in steps] == ["deposition", "etch", "clean"]
    chart = looking.get(f"/api/v1/charts/{SITE}/{chart_id('t2', 'ETCH-04/B', 'all')}").json()
    assert chart["history"][-1]["contributions"][0]["variable"] == "rf_reflected_w"
    place = {"site": SITE, "module": "ETCH-04/A", "step": "etch", "parameter": "etch_depth_nm"}
    found = looking.get("/api/v1/virtual-metrology/place", params=place).json()
    assert len(found["history"]) == 17
    thread = looking.get("/api/v1/run-to-run/thread", params={"site": SITE, "thread": THREAD})
    assert len(thread.json()["history"]) == 30


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/lots/{SITE}/nope",
        f"/api/v1/charts/{SITE}/nope",
        f"/api/v1/virtual-metrology/place?site={SITE}&module=a&step=b&parameter=c",
        f"/api/v1/run-to-run/thread?site={SITE}&thread=nope",
        f"/lots/{SITE}/nope",
        f"/charts/{SITE}/nope",
        f"/equipment/{SITE}/nope",
        f"/virtual?site={SITE}&module=a&step=b&parameter=c",
        f"/run-to-run?site={SITE}&thread=nope",
    ],
)
def test_what_is_not_there_is_said(looking, path):
    assert looking.get(path).status_code == 404


def test_tables_as_csv(looking):
    assert [row["lot_id"] for row in rows_of(looking, "lots")] == ["L0003", "L0004", "L0005"]
    assert len(rows_of(looking, "risks", site=SITE, lot="L0003")) == 100
    assert len(rows_of(looking, "charts", module="ETCH-04/B")) == 3
    points = rows_of(looking, "chart_points", site=SITE, chart_id=chart_id("xbar", "ETCH-04/B"))
    assert len(points) == 60
    assert "limit" in points[-1]["rules"]
    assert len(rows_of(looking, "virtual_metrology")) == 3
    place = {"site": SITE, "module": "ETCH-04/A", "step": "etch", "parameter": "etch_depth_nm"}
    assert len(rows_of(looking, "virtual_metrology", **place)) == 17
    assert len(rows_of(looking, "run_to_run")) == 2
    assert len(rows_of(looking, "runs", site=SITE, thread=THREAD)) == 30


def test_the_risk_of_a_wafer_is_on_its_page_before_any_step_is_known(looking):
    text = looking.get(f"/wafers/{SITE}/L0003.04").text
    assert "data-risk" in text
    (one,) = looking.get(f"/api/v1/wafers/{SITE}/{substrate(43)}/virtual-metrology").json()
    assert one["unlike"] is True
    assert "do not rely on it" in looking.get(f"/wafers/{SITE}/{substrate(43)}").text
    assert "ETCH-04/B" in text
