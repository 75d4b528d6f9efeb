"""What served fault models say: charted, one alert an episode, never an action on the process."""

from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from contracts.codec import decode, encode
from contracts.errors import CodecError
from contracts.events import (
    Action,
    Alert,
    AlertDecision,
    ChartPoint,
    Event,
    Prediction,
    TraceJudgement,
)
from control.engine import Engine
from control.judgement_watch import MAX_CHARTS, RULE
from control.policy import load_policy
from control.spc.bernoulli import BernoulliChart, bernoulli_chart, bernoulli_run_length
from tests.control_streams import MINUTE_MS, SITE, START_MS, Sick, make, prediction, state
from tests.judgement_streams import MODULES, PARTS, Line, judgement

POLICY = load_policy()
SICK = MODULES[1]


def feed(engine: Engine, events: Iterable[Event]) -> list[Event]:
    return [answer for event in events for answer in engine.handle(event)]


def alerts(told: Iterable[Event]) -> list[Alert]:
    return [event for event in told if isinstance(event, Alert)]


def points(told: Iterable[Event]) -> list[ChartPoint]:
    return [event for event in told if isinstance(event, ChartPoint)]


def failing(seed: int = 0) -> tuple[Engine, Line, list[Event]]:
    """A module that fails after a while, until its alert is raised."""
    engine, line = Engine(POLICY, SITE), Line(seed)
    told = feed(engine, line.wafers(200))
    line.sick = {SICK: 0.8}
    while not alerts(told):
        told += feed(engine, line.wafer())
    return engine, line, told


# -- the chart ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.48, 0.9])
def test_the_arl_is_what_following_the_chart_gives(share: float) -> None:
    chart, runs = bernoulli_chart(0.02, 0.48, 20_000.0), 4_000
    rng = np.random.default_rng(1)
    total, length = np.zeros(runs, dtype=int), np.zeros(runs)
    going = np.ones(runs, dtype=bool)
    while going.any():
        hit = rng.random(runs) < share
        total = np.where(hit, total + chart.hit, np.maximum(0, total - 1))
        length += going
        going &= total < chart.limit
    # Four standard errors of run lengths that vary no more than geometric ones.
    assert length.mean() == pytest.approx(bernoulli_run_length(chart, share), rel=4 / runs**0.5)


def test_false_alarms_are_as_rare_as_the_policy_asks_even_at_twice_the_nominal_rate() -> None:
    chart = bernoulli_chart(0.02, 0.48, POLICY.detection.wafers_per_false_alert)
    assert bernoulli_run_length(chart, 0.02) > POLICY.detection.wafers_per_false_alert
    assert bernoulli_run_length(chart, 0.01) > 1e6
    assert bernoulli_run_length(BernoulliChart(5, 16), 0.0) == np.inf


@pytest.mark.parametrize("seed", range(2))
def test_a_quiet_week_at_the_nominal_rate_has_no_alert(seed: int) -> None:
    told = feed(Engine(POLICY, SITE), Line(seed).wafers(5_200))
    assert len(points(told)) == 5_200
    assert sum(point.value > 1.0 for point in points(told)) > 30
    assert alerts(told) == []
    assert not [event for event in told if isinstance(event, Action)]


def test_points_have_limit_rule_arl_model_and_what_contributed() -> None:
    _, _, told = failing()
    last = points(told)[-1]
    assert (last.chart, last.parameter, last.upper) == ("score", "trace-fault v3", 1.0)
    assert (last.rules, last.enabled) == ((RULE,), (RULE,))
    assert last.arl0 == pytest.approx(2_770_707, rel=0.01)
    assert [one.variable for one in last.contributions] == [name for name, _ in PARTS]
    assert {point.chart_id for point in points(told)} != {last.chart_id}
    assert all(point.rules == () for point in points(told) if point.key != SICK)


# -- alerts ---------------------------------------------------------------------------------------


def test_an_episode_is_one_alert_with_the_module_and_what_contributed() -> None:
    engine, line, told = failing()
    found = alerts(told)[0]
    assert (found.suspect_module, found.kind, found.status) == (SICK, "fault", "open")
    assert 4 <= found.affected_count <= found.examined_count <= 15
    said = found.causes[0].evidence
    assert said[0].startswith("trace-fault v3: ")
    assert said[1] == "rf_reflected_w: 60% of the score"
    more = feed(engine, line.wafers(300))
    assert {alert.alert_id for alert in alerts(more)} == {found.alert_id}
    assert [alert.revision for alert in alerts(more)] == [2, 3][: len(alerts(more))]


def test_it_proposes_to_measure_and_nothing_else() -> None:
    engine, line, told = failing()
    told += feed(engine, line.wafers(300))
    kinds = [event.kind for event in told if isinstance(event, Action)]
    assert kinds == ["request_metrology"]


def test_it_is_over_when_the_module_is_back_for_long_enough_and_may_come_again() -> None:
    engine, line, told = failing()
    line.sick = {SICK: 0.0}
    told = feed(engine, line.wafers(4 * POLICY.detection.clean_wafers - 8))
    assert alerts(told) == []
    told = feed(engine, line.wafers(12))
    assert [alert.status for alert in alerts(told)] == ["normal"]
    line.sick = {SICK: 1.0}
    again = alerts(feed(engine, line.wafers(40)))
    assert [alert.revision for alert in again][:1] == [1]


def test_what_a_person_resolved_is_not_told_again_while_it_goes_on() -> None:
    engine, line, told = failing()
    found = alerts(told)[0]
    decided = AlertDecision(
        event_id="d", site=SITE, time_ms=line.now_ms, alert_id=found.alert_id,
        decision="resolved", by="Kim",
    )  # fmt: skip
    engine.handle(decided)
    assert alerts(feed(engine, line.wafers(200))) == []


def test_after_a_repair_only_what_comes_then_counts() -> None:
    engine, line, told = failing()
    found = alerts(told)[0]
    at = line.now_ms
    repaired = [
        state(SICK, "etch", at, state="unscheduled_down"),
        state(SICK, "etch", at + 1, state="standby"),
    ]
    told = feed(engine, [*repaired, *line.wafers(60)])
    back = alerts(told)
    assert back[0].alert_id == found.alert_id
    assert back[0].status == "open"
    assert back[0].revision > found.revision


def test_an_alert_that_stands_is_joined_and_not_doubled() -> None:
    made = make(3, (Sick(SICK, "Scratch", first=40, shift=8.0),), lots=14, traces=True)
    plain, engine, told, judged = Engine(POLICY, SITE), Engine(POLICY, SITE), [], 0
    own = {
        alert.alert_id for alert in alerts(feed(plain, made.events)) if alert.suspect_module == SICK
    }
    assert len(own) == 1
    for event in made.events:
        told += engine.handle(event)
        standing = [alert for alert in alerts(told) if alert.suspect_module == SICK]
        if standing and getattr(event, "key", "") == SICK and type(event).__name__ == "Trace":
            score = judgement(event.substrate_id, SICK, event.time_ms, 5.0)
            told += engine.handle(score)
            judged += 1
    assert judged > 10
    mine = [alert for alert in alerts(told) if alert.suspect_module == SICK]
    assert {alert.alert_id for alert in mine} == own
    assert any("trace-fault v3" in line for line in mine[-1].causes[0].evidence)


def test_the_controllers_own_evidence_takes_over_what_the_model_said_first() -> None:
    made = make(3, (Sick(SICK, "Scratch", first=40, shift=8.0),), lots=14, traces=True)
    engine, told, counted = Engine(POLICY, SITE), [], 0
    for event in made.events:
        trace = type(event).__name__ == "Trace" and getattr(event, "key", "") == SICK
        counted += trace
        if trace:
            # Known to the model long before the module shows anything to the controller.
            told += engine.handle(
                judgement(event.substrate_id, SICK, event.time_ms, 3.0 if counted > 12 else 0.5)
            )
        told += engine.handle(event)
    mine = [alert for alert in alerts(told) if alert.suspect_module == SICK]
    assert len({alert.alert_id for alert in mine}) == 1
    assert mine[0].causes[0].evidence[0].startswith("trace-fault v3")
    assert mine[-1].kind == "pattern"
    assert [alert.revision for alert in mine] == list(range(1, len(mine) + 1))


def test_without_a_served_model_every_byte_is_as_before() -> None:
    made = make(3, (Sick(SICK, "Scratch", first=40, shift=8.0),), lots=14, traces=True)
    risk_only, plain = Engine(POLICY, SITE), Engine(POLICY, SITE)
    for number, event in enumerate(made.events):
        # What models of risk say, and runs that were not judged, change nothing either.
        for extra in (
            judgement(f"x{number}", SICK, event.time_ms, 0.9, task="risk"),
            judgement(f"y{number}", SICK, event.time_ms, None, reason="too short"),
        ):
            assert risk_only.handle(extra) == []
        assert list(map(encode, plain.handle(event))) == list(map(encode, risk_only.handle(event)))
    assert plain.snapshot() == risk_only.snapshot()


# -- poisoned judgements --------------------------------------------------------------------------


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, -1.0])
def test_a_score_that_is_no_number_is_refused_by_whoever_reads_it(score: float) -> None:
    good = judgement("w", SICK, START_MS, 2.0)
    with pytest.raises(ValueError, match="score"):
        msgspec.structs.replace(good, score=score)
    raw = msgspec.to_builtins(good)
    message = encode(good)
    raw = msgspec.msgpack.decode(message.value)
    raw["score"] = score
    with pytest.raises(CodecError):
        decode(message.headers, msgspec.msgpack.encode(raw))


def test_replayed_judgements_count_once() -> None:
    engine, line = Engine(POLICY, SITE), Line(rate=0.0, sick={SICK: 1.0})
    events = list(line.wafers(12))
    told = feed(engine, events)
    assert alerts(told) == []  # three runs of the module
    hits = [event for event in events if isinstance(event, TraceJudgement) and event.key == SICK]
    for number in range(20):
        again = [msgspec.structs.replace(event, event_id=f"{number}") for event in hits]
        assert feed(engine, [*hits, *again]) == []
    assert engine.ignored["judgement seen before or out of order"] == 120


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"equipment_id": "ETCH-99"}, "judgement of a module that is not known"),
        ({"equipment_id": "E" * 70}, "judgement of a module that is not known"),
        ({"substrate_id": "nobody.01"}, "judgement of a wafer that was not there"),
        ({"time_ms": START_MS + 10**9}, "judgement from the future"),
        ({"site": "kr2"}, "another site"),
    ],
)
def test_what_cannot_be_is_ignored(change: dict[str, object], reason: str) -> None:
    engine, line = Engine(POLICY, SITE), Line(rate=0.0)
    feed(engine, line.wafers(8))
    wafer = "L0000.02"
    for number in range(50):
        forged = judgement(wafer, SICK, line.now_ms - 1_000 + number, 9.0)
        assert engine.handle(msgspec.structs.replace(forged, **change)) == []
    assert engine.ignored[reason] == 50
    # A module that is well is still charted.
    assert len(points(feed(engine, line.wafers(8)))) == 8


def test_the_state_is_bounded_however_many_versions_and_recipes_there_are() -> None:
    engine, line = Engine(POLICY, SITE), Line(rate=0.0)
    feed(engine, line.wafers(8))
    before = len(engine.snapshot())
    for number in range(3 * MAX_CHARTS):
        engine.handle(judgement("L0000.02", SICK, line.now_ms + number, 9.0, version=f"{number}"))
    assert len(engine.snapshot()) < before + MAX_CHARTS * 400


def test_a_restart_anywhere_says_the_same() -> None:
    def events() -> list[Event]:
        line = Line(5)
        first = list(line.wafers(40))
        line.sick = {SICK: 0.7}
        return first + list(line.wafers(60))

    whole = feed(Engine(POLICY, SITE), events())
    engine, told = Engine(POLICY, SITE), []
    parts: dict[str, bytes] = {}
    for event in events():
        told += engine.handle(event)
        for name, data in engine.changes().items():
            if data is None:
                parts.pop(name, None)
            else:
                parts[name] = data
        if isinstance(event, TraceJudgement) and event.slot:
            engine = Engine(POLICY, SITE, parts)
    assert list(map(encode, told)) == list(map(encode, whole))
    assert alerts(whole)


def test_a_pattern_that_names_the_module_later_takes_the_alert_over() -> None:
    """The alert of a pattern without a suspect and one of judgements end as one."""
    engine, line, told = failing()
    bad: list[Prediction] = []
    more = list(line.wafers(120))
    told += feed(engine, more)
    for event in more:
        if isinstance(event, TraceJudgement) and event.key == SICK:
            bad.append(prediction(event.substrate_id, ("Scratch",), event.time_ms + MINUTE_MS))
        elif isinstance(event, TraceJudgement):
            bad.append(prediction(event.substrate_id, (), event.time_ms + MINUTE_MS))
    told += feed(engine, bad)
    last = {alert.alert_id: alert for alert in alerts(told) if alert.suspect_module == SICK}
    assert [alert.status for alert in last.values()].count("open") == 1
    assert next(iter(last.values())).kind == "pattern"
