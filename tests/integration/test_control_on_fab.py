"""The controller on the synthetic fab: what really went wrong is named, and obeying it helps."""

import random

import msgspec

from contracts.events import Action, Alert, Event, Metrology, WaferMap
from contracts.wafer_map import PATTERNS
from control.engine import Engine
from control.policy import load_policy
from fab_sim import load_scenario
from fab_sim.fab import Fab
from tests.control_streams import SITE, START_MS, prediction


def seen(event: WaferMap, fab: Fab, rng: random.Random) -> Event:
    """What a model that is wrong about 3 % of the wafers says."""
    true = [p for p in fab.true_patterns()[event.substrate_id] if p != "None"]
    if rng.random() < 0.03:
        true = [] if true else [rng.choice(PATTERNS[1:])]
    return prediction(event.substrate_id, tuple(true), event.time_ms, event.lot_id)


def run(scenario: str, wafers: int, *, obey: bool = False) -> tuple[Fab, list[Event]]:
    fab = Fab(load_scenario(scenario), site=SITE, start_ms=START_MS)
    engine, rng = Engine(load_policy(), SITE), random.Random(1)
    told: list[Event] = []
    while fab.wafers_done < wafers:
        for event in fab.step():
            if isinstance(event, Metrology):
                continue
            answers = engine.handle(seen(event, fab, rng) if isinstance(event, WaferMap) else event)
            told += answers
            for answer in answers if obey else ():
                if isinstance(answer, Action) and answer.status == "proposed":
                    event_id = Action.event_id_for(answer.action_id, "approved")
                    approved = msgspec.structs.replace(
                        answer, status="approved", by="kim", event_id=event_id
                    )
                    engine.handle(approved)
                    fab.submit(approved)
    return fab, told


def test_every_excursion_of_the_demo_is_named_and_nothing_else() -> None:
    fab, told = run("demo", 450)
    last = {event.alert_id: event for event in told if isinstance(event, Alert)}
    truth = {excursion.module: excursion for excursion in fab.truth()}
    assert sorted(alert.suspect_module for alert in last.values()) == sorted(truth)
    for alert in last.values():
        assert alert.pattern == truth[alert.suspect_module].pattern
        assert alert.commonalities[0].value == alert.suspect_module


def test_the_fab_obeys_and_gets_well() -> None:
    fab, told = run("demo", 450, obey=True)
    ended = [excursion.cleared_ms for excursion in fab.truth()]
    assert len(ended) == 3
    assert None not in ended
    assert sum(excursion.affected for excursion in fab.truth()) <= 10
    assert [a.status for a in told if isinstance(a, Alert)].count("normal") == 3


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    _, told = run("quiet", 300)
    assert [event for event in told if isinstance(event, Alert | Action)] == []
