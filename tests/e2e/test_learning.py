"""It learns: a pattern the champion has never seen is labelled, taught, and recognised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from contracts.arrays import Array
from contracts.codec import encode
from contracts.events import Alert, Event, Label, Prediction, WaferMap
from control.engine import Engine
from control.policy import load_policy
from fabpilot.map_data import load_named_maps
from fabpilot.retrain import RetrainOptions, RetrainReport, retrain
from fabpilot.settings import Settings
from fabpilot.training import Origin, train_and_register
from fabpilot.wiring import open_repository, open_site_log
from models.data import MapSet, from_lists
from models.evaluate import evaluate
from models.map_files import save_maps
from models.options import TrainOptions
from serving.device import Device
from serving.scorer import Scorer
from serving.session import Session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NEW = "Donut"
# Without the faint patterns, which take minutes to learn.
KNOWN = ("None", "Center", "Edge-Ring", "Near-full", "Random")
SITE, START_MS = "kr1", 1_790_000_000_000
LABELS = 40


def of_classes(maps: MapSet, names: Sequence[str], most: int | None = None) -> MapSet:
    """The maps that show one of `names`, with no other class left."""
    rows = [row for row, label in enumerate(maps.labels) if maps.label_names[int(label)] in names][
        :most
    ]
    return from_lists(
        [maps.grids[row] for row in rows],
        [maps.label_names[int(maps.labels[row])] for row in rows],
        maps.groups[rows].tolist(),
        "maps.npz",
    )


def as_events(maps: MapSet) -> list[WaferMap]:
    return [
        WaferMap(
            event_id=f"map-{number}",
            site=SITE,
            time_ms=START_MS + 60_000 * number,
            product="P",
            lot_id=f"L{number // 25:03d}",
            substrate_id=f"L{number // 25:03d}.{number % 25 + 1:02d}",
            slot=number % 25 + 1,
            grid=Array.of(grid),
        )
        for number, grid in enumerate(maps.grids)
    ]


def as_label(event: WaferMap, pattern: str) -> Label:
    return Label(
        event_id=f"label-{event.event_id}",
        site=SITE,
        time_ms=event.time_ms + 1,
        lot_id=event.lot_id,
        substrate_id=event.substrate_id,
        patterns=(pattern,),
        by="kim",
    )


@dataclass(frozen=True)
class Learned:
    """What happened, for the tests to look at."""

    settings: Settings
    predictions: list[Prediction]
    truth: list[str]
    report: RetrainReport


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    home = tmp_path_factory.mktemp("learning")
    settings = Settings(home=home, device=Device.CPU)
    # 1. A champion that has never seen the pattern.
    reference = of_classes(load_named_maps("sim:mixed", wafers=2500, seed=0), KNOWN)
    save_maps(reference, home / "reference.npz")
    train_and_register(
        reference,
        # Timing would choose the precision, and with it the run.
        TrainOptions(
            budget_s=None,
            epochs=12,
            backbone="mapnet_xs",
            size=32,
            batch=128,
            precision="fp32",
            device="cpu",
        ),
        origin=Origin(data=str(home / "reference.npz"), command="fabpilot train wafer-map"),
        mlflow_uri=settings.mlflow_uri,
        alias="champion",
    )
    # 2. The fab goes on, and after a while the pattern appears.
    later = load_named_maps("sim:mixed", wafers=1500, seed=5)
    usual, odd = of_classes(later, KNOWN, 200), of_classes(later, (NEW,), 60)
    seen = from_lists(
        [*usual.grids, *odd.grids],
        [*(usual.label_names[int(n)] for n in usual.labels), *([NEW] * len(odd))],
        list(range(len(usual) + len(odd))),
        "fab",
    )
    events = as_events(seen)
    truth = [seen.label_names[int(number)] for number in seen.labels]
    log = open_site_log(settings, SITE)
    try:
        log.append([encode(event) for event in events])
        # 3. The champion judges the wafers, and an engineer names forty.
        repository = open_repository(settings)
        scored = Scorer(repository)(events)
        repository.close()
        named = [event for event, pattern in zip(events, truth, strict=True) if pattern == NEW]
        log.append([encode(as_label(event, NEW)) for event in named[:LABELS]])
        # 4. Retrain.
        options = RetrainOptions(budget_s=500, epochs=30, shadow=100, promote=True)
        report = retrain(settings, log, [SITE], options)
    finally:
        log.close()
    predictions = [one for result in scored if isinstance(result, list) for one in result]
    return Learned(settings, [p for p in predictions if isinstance(p, Prediction)], truth, report)


def test_forty_labels_teach_a_new_pattern_and_no_other_is_forgotten(learned: Learned) -> None:
    report = learned.report
    assert report.confirmed == {NEW: LABELS}
    assert report.confirmed_by == {"kim": LABELS}
    assert 0 < report.confirmed_held_out < LABELS
    assert report.new_classes == (NEW,)
    assert report.shadow.wafers == 100
    assert report.shadow.agreement is not None
    assert any(one.challenger == NEW for one in report.shadow.differences)
    assert report.gate.decision.passed, report.gate.reason
    # Judged on new wafers, of which neither model has seen any.
    fresh = load_named_maps("sim:mixed", wafers=12_000, seed=11)
    champion, challenger = (open_session(learned, name) for name in ("previous", "champion"))
    new = of_classes(fresh, (NEW,))
    said = challenger.run(new.canonical(32)).probabilities.argmax(axis=1)
    recall = float(np.mean(said == challenger.card.labels.index(NEW)))
    assert recall >= 0.8
    old = of_classes(fresh, KNOWN)
    before, after = per_class_f1(champion, old), per_class_f1(challenger, old)
    losses = {name: before[name] - after.get(name, 0.0) for name in before}
    assert max(losses.values()) <= 0.01, losses


def test_before_that_it_is_flagged_as_unknown(learned: Learned) -> None:
    pairs = list(zip(learned.predictions, learned.truth, strict=True))
    novelty = {
        kind: [p.novelty or 0.0 for p, pattern in pairs if (pattern == NEW) == kind]
        for kind in (True, False)
    }
    assert np.mean(np.array(novelty[True]) >= 1.0) >= 0.3
    assert np.mean(np.array(novelty[False]) >= 1.0) <= 0.05
    engine = Engine(load_policy(), SITE)
    told: list[Event] = [answer for p in learned.predictions for answer in engine.handle(p)]
    assert [one.kind for one in told if isinstance(one, Alert)][:1] == ["unknown"]


def open_session(learned: Learned, alias: str) -> Session:
    repository = open_repository(learned.settings, f"models:/wafer-map@{alias}")
    repository.close()
    return repository.current().session


def per_class_f1(session: Session, maps: MapSet) -> dict[str, float]:
    card = session.card
    judged = evaluate(
        lambda batch: session.run(batch).probabilities,
        card.labels,
        card.multi_label,
        card.thresholds,
        maps,
        card.canonical_size,
    )
    return judged.per_class_f1
