"""A console's database as after a shift of the synthetic fab: what a page has to show."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Engine

from console.store import project
from console.tables import create_tables
from contracts.arrays import Array
from contracts.events import Action, Alert, Commonality, Event, Prediction, VariableShift, WaferMap
from contracts.ids import derived_id
from contracts.records import Record
from contracts.topics import topic_name
from contracts.wafer_map import PATTERNS
from fab_sim import Fab, load_scenario
from streaming.outbox import create_tables as create_outbox_tables

__all__ = ["SITE", "Arrived", "an_alert", "fill", "shift"]

SITE = "bench"
_START_MS = 1_700_000_000_000
# A page of alerts, some of them with a proposed action.
_ALERTS = 12
_BATCH = 400


@dataclass(frozen=True)
class Arrived:
    """An event as the stateful loop hands it over."""

    record: Record
    event: Event


def arrived(events: list[Event]) -> list[Arrived]:
    """With records around them."""
    return [
        Arrived(Record(topic_name(e.site, e.stream), 0, at, e.time_ms, b"", b""), e)
        for at, e in enumerate(events)
    ]


def shift(wafers: int, seed: int = 0) -> Iterator[list[Event]]:
    """What a fab tells until so many wafers are tested, with a prediction for every map."""
    fab = Fab(load_scenario("demo"), site=SITE, start_ms=_START_MS)
    rng = np.random.default_rng(seed)
    batch: list[Event] = []
    while fab.wafers_done < wafers:
        for event in fab.step():
            batch.append(event)
            if isinstance(event, WaferMap):
                batch.append(_prediction(event, rng))
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    yield batch


def an_alert(number: int, wafers: list[WaferMap], *, revision: int = 1) -> Alert:
    """An alert about some of these wafers."""
    names = [one.substrate_id for one in wafers]
    bad, good = tuple(names[::3][:50]), tuple(names[1::3][:50])
    alert_id = derived_id("bench-alert", number)
    return Alert(
        event_id=derived_id("alert", alert_id, revision),
        site=SITE,
        time_ms=wafers[-1].time_ms + 1,
        alert_id=alert_id,
        revision=revision,
        status="open",
        kind="pattern",
        severity=("medium", "high", "critical", "low")[number % 4],
        pattern="Edge-Ring",
        suspect_module="ETCH-01/A",
        suspect_equipment="ETCH-01",
        suspect_recipe="ETCH-M1",
        suspect_step="etch",
        since_ms=wafers[0].time_ms,
        affected=bad,
        unaffected=good,
        affected_count=len(bad),
        examined_count=len(bad) + 3,
        baseline_rate=0.003,
        confidence=0.8,
        commonalities=(
            Commonality(
                factor="module",
                value="ETCH-01/A",
                bad_through=len(bad),
                bad_total=len(bad),
                good_through=3,
                good_total=len(good),
                odds_ratio=160.0,
                p_value=2e-8,
            ),
        ),
        shifts=(
            VariableShift(
                variable="rf_reflected_w",
                recipe_id="ETCH-M1",
                mean=24.1,
                normal=11.9,
                spread=1.1,
                z=11.1,
            ),
        ),
        at_risk=tuple(dict.fromkeys(one.lot_id for one in wafers[-75:])),
    )


def fill(engine: Engine, wafers: int, seed: int = 0) -> list[WaferMap]:
    """Project a shift and some alerts into a new database; the maps in it, in time order."""
    create_tables(engine)
    create_outbox_tables(engine)
    maps: list[WaferMap] = []
    for events in shift(wafers, seed):
        with engine.begin() as connection:
            project(connection, arrived(events))
        maps += [event for event in events if isinstance(event, WaferMap)]
    told: list[Event] = []
    for number in range(_ALERTS):
        alert = an_alert(number, maps)
        told.append(alert)
        if number % 2:
            told.append(_proposal(alert))
    with engine.begin() as connection:
        project(connection, arrived(told))
    return maps


def _proposal(alert: Alert) -> Action:
    action_id = derived_id("bench-action", alert.alert_id)
    return Action(
        event_id=Action.event_id_for(action_id, "proposed"),
        site=SITE,
        time_ms=alert.time_ms,
        action_id=action_id,
        alert_id=alert.alert_id,
        kind="inhibit_module",
        status="proposed",
        by="controller",
        equipment_id="ETCH-01",
        module_id="A",
        expected_good_dies=1840.0,
        cost_good_dies=210.0,
        confidence=0.8,
        check="Edge-Ring below 1 % on the next two lots",
    )


def _prediction(wafer: WaferMap, rng: np.random.Generator) -> Prediction:
    said = rng.dirichlet(np.full(len(PATTERNS), 0.1))
    return Prediction(
        event_id=Prediction.id_for(wafer.event_id, "wafer-map", "1"),
        site=wafer.site,
        time_ms=wafer.time_ms,
        lot_id=wafer.lot_id,
        substrate_id=wafer.substrate_id,
        slot=wafer.slot,
        input_id=wafer.event_id,
        input_type=WaferMap.ce_type,
        labels=PATTERNS,
        probabilities=tuple(said.tolist()),
        predicted=(PATTERNS[int(said.argmax())],),
        heatmap=Array.of((255 * rng.random((16, 16))).astype(np.uint8)),
        embedding=Array.of(rng.normal(0, 1, 32).astype(np.float32)),
        provider="CPUExecutionProvider",
        model_name="wafer-map",
        model_version="1",
        model_sha256="5f" * 32,
    )
