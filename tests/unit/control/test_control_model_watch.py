"""What the model stumbles over: unknown patterns and drift, each one alert and no action."""

import msgspec
import numpy as np
import pytest

from contracts.arrays import Array
from contracts.events import Alert, AlertDecision, Event, Prediction
from contracts.model_file import Reference
from control.drift import compare, moments
from control.engine import Engine
from control.model_watch import REFERENCE_WAFERS, WINDOW_WAFERS
from control.policy import load_policy
from tests.control_streams import MINUTE_MS, SITE, START_MS, prediction, process

POLICY = load_policy()
LABELS = ("None", "Center", "Scratch")


class Wafers:
    """A made-up stream of predictions of one model version."""

    def __init__(self, seed: int = 0, version: str = "1", first: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.version = version
        self.number = first

    def one(
        self,
        novelty: float | None = 0.3,
        shift: float = 0.0,
        shares: tuple[float, ...] = (0.9, 0.06, 0.04),
    ) -> Prediction:
        self.number += 1
        shown = int(self.rng.choice(3, p=shares))
        # Wafers of a class lie together, and components differ in size by orders of magnitude.
        embedding = (self.rng.normal(size=16) + shown + shift) * np.logspace(-3, 2, 16)
        lot = self.number // 25
        return msgspec.structs.replace(
            prediction(
                f"W{self.number:05d}", (), START_MS + self.number * MINUTE_MS, f"L{lot:04d}"
            ),
            labels=LABELS,
            probabilities=tuple(np.eye(3)[shown].tolist()),
            predicted=("None",),
            embedding=Array.of(embedding.astype(np.float32)),
            novelty=novelty,
            model_version=self.version,
        )

    def many(self, count: int, **how: object) -> list[Event]:
        return [self.one(**how) for _ in range(count)]  # type: ignore[arg-type]


def feed(engine: Engine, events: list[Event]) -> list[Event]:
    told = [answer for event in events for answer in engine.handle(event)]
    return [answer for answer in told if isinstance(answer, Alert)]


def resolved(alert: Alert) -> AlertDecision:
    return AlertDecision(
        event_id=f"{alert.alert_id}-resolved",
        site=SITE,
        time_ms=alert.time_ms,
        alert_id=alert.alert_id,
        decision="resolved",
        by="kim",
    )


def test_a_few_novel_wafers_among_many_are_what_the_limit_promises() -> None:
    rng = np.random.default_rng(1)
    wafers = Wafers()
    events: list[Event] = [wafers.one(1.2 if rng.random() < 0.01 else 0.4) for _ in range(5000)]
    assert feed(Engine(POLICY, SITE), events) == []


def test_an_unknown_pattern_is_one_alert_without_suspect_or_action() -> None:
    wafers = Wafers()
    events = wafers.many(100)
    for _ in range(20):
        events += [wafers.one(1.5), wafers.one(), wafers.one()]
    told = feed(Engine(POLICY, SITE), events)
    assert all(isinstance(event, Alert) for event in told)
    assert len({event.alert_id for event in told}) == 1
    first, last = told[0], told[-1]
    assert (first.kind, first.pattern, first.suspect_module) == ("unknown", "", "")
    assert (first.severity, first.status) == ("medium", "open")
    assert first.affected_count <= 10
    assert last.affected_count >= 13
    assert set(last.affected) <= {e.substrate_id for e in events if e.novelty == 1.5}
    assert not set(last.affected) & set(last.unaffected)
    assert first.since_ms == events[100].time_ms
    assert len(told) <= 6


def test_what_unknown_wafers_share_is_shown() -> None:
    wafers = Wafers()
    events: list[Event] = []
    for number in range(120):
        one = wafers.one(1.5 if number > 60 and number % 2 else 0.2)
        module = "ETCH-01/B" if number % 2 else "ETCH-01/A"
        events.append(
            process("completed", one.substrate_id, one.lot_id, module, "etch", 0, one.time_ms - 9)
        )
        events.append(one)
    told = feed(Engine(POLICY, SITE), events)
    assert told[-1].commonalities[0].value == "ETCH-01/B"


def test_it_ends_when_the_pattern_is_gone_and_when_a_model_that_knows_it_serves() -> None:
    wafers = Wafers()
    engine = Engine(POLICY, SITE)
    assert feed(engine, wafers.many(8, novelty=1.5))
    over = feed(engine, wafers.many(60))
    assert [alert.status for alert in over] == ["normal"]
    assert feed(engine, wafers.many(8, novelty=1.5))[0].revision == 1
    retrained = Wafers(version="2", first=1000)
    assert [alert.status for alert in feed(engine, retrained.many(60))] == ["normal"]


def test_what_a_person_resolved_is_not_told_again_for_the_same_wafers() -> None:
    wafers = Wafers()
    engine = Engine(POLICY, SITE)
    alert = feed(engine, wafers.many(8, novelty=1.5))[0]
    engine.handle(resolved(alert))
    assert feed(engine, [*wafers.many(3), *wafers.many(2, novelty=1.5)]) == []
    again = feed(engine, wafers.many(8, novelty=1.5))
    assert again[0].alert_id != alert.alert_id


def test_a_model_that_says_nothing_about_novelty_raises_nothing() -> None:
    assert feed(Engine(POLICY, SITE), Wafers().many(300, novelty=None)) == []


def test_a_fab_that_stays_itself_does_not_drift() -> None:
    assert feed(Engine(POLICY, SITE), Wafers(3).many(4000)) == []


@pytest.mark.parametrize(
    ("changed", "worst"),
    [({"shift": 1.0}, "embedding"), ({"shares": (0.5, 0.06, 0.44)}, "Scratch")],
)
def test_drift_is_told_once_with_what_changed(changed: dict[str, object], worst: str) -> None:
    wafers = Wafers()
    engine = Engine(POLICY, SITE)
    assert feed(engine, wafers.many(REFERENCE_WAFERS + WINDOW_WAFERS)) == []
    told = feed(engine, wafers.many(4 * WINDOW_WAFERS, **changed))
    assert len(told) == 1
    (alert,) = told
    assert isinstance(alert, Alert)
    assert (alert.kind, alert.severity, alert.suspect_module) == ("drift", "low", "")
    assert alert.examined_count == WINDOW_WAFERS
    assert alert.shifts[0].variable == worst
    assert alert.shifts[0].z > 0.5
    back = feed(engine, wafers.many(WINDOW_WAFERS))
    assert [alert.status for alert in back] == ["normal"]


def test_resolving_drift_takes_the_present_for_normal() -> None:
    wafers = Wafers()
    engine = Engine(POLICY, SITE)
    feed(engine, wafers.many(REFERENCE_WAFERS))
    (alert,) = feed(engine, wafers.many(WINDOW_WAFERS, shift=1.0))
    engine.handle(resolved(alert))
    assert feed(engine, wafers.many(REFERENCE_WAFERS + 2 * WINDOW_WAFERS, shift=1.0)) == []
    assert feed(engine, wafers.many(WINDOW_WAFERS))


def test_novel_wafers_are_no_drift() -> None:
    wafers = Wafers()
    engine = Engine(POLICY, SITE)
    feed(engine, wafers.many(REFERENCE_WAFERS))
    told = feed(engine, wafers.many(2 * WINDOW_WAFERS, shift=3.0, novelty=1.5))
    assert {alert.kind for alert in told} == {"unknown"}


def test_a_restart_changes_nothing() -> None:
    def events() -> list[Event]:
        wafers = Wafers()
        return [
            *wafers.many(REFERENCE_WAFERS),
            *wafers.many(10, novelty=1.5),
            *wafers.many(2 * WINDOW_WAFERS, shift=1.0),
        ]

    straight = feed(Engine(POLICY, SITE), events())
    state: bytes | None = None
    told: list[Event] = []
    stream = events()
    for start in range(0, len(stream), 97):
        engine = Engine(POLICY, SITE, state)
        told += feed(engine, stream[start : start + 97])
        state = engine.snapshot()
    assert told == straight
    assert {alert.kind for alert in told if isinstance(alert, Alert)} == {"unknown", "drift"}
    assert state is not None
    assert len(state) < 200_000


def test_absurd_predictions_are_left_out() -> None:
    wafers = Wafers()
    good = wafers.one()
    nan = np.full(16, np.nan, np.float32)
    for changed in (
        {"embedding": Array.of(nan)},
        {"embedding": Array.of(np.zeros(5000, np.float32))},
        {"probabilities": (0.5,)},
        {"labels": tuple(map(str, range(100))), "probabilities": (0.01,) * 100},
    ):
        assert moments(msgspec.structs.replace(good, **changed)) is None


def test_wafers_are_compared_with_what_a_model_card_says_of_its_training_data() -> None:
    one = moments(Wafers().one())
    assert one is not None
    known = Reference(
        embedding_mean=Array.of(np.frombuffer(one.embedding).astype(np.float32)),
        embedding_scale=Array.of(np.ones(16, np.float32)),
        class_shares=Array.of(np.array([0.0, 1.0, 0.0], np.float32)),
    )
    effect = compare(one, known)
    assert effect.embedding < 1e-4
    assert effect.shares == pytest.approx(1.0)
