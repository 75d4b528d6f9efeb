"""A champion that learns: a challenger from confirmed labels, in shadow, before the gate.

1. The champion's own data plus what engineers confirmed; it is marked what is held out.
2. A challenger is trained on them, with a class for every new pattern.
3. In shadow: both judge the same wafers of the log, and nothing is published.
4. Before the gate: both on the frozen hold-out and the held-out confirmed maps. No class that the
   champion knows may get worse.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import ConfigError, DatasetError, ModelFileError, RegistryError
from contracts.events import WaferMap
from control.excursion import at_most
from fabpilot.confirmed import Confirmed, combine, read_confirmed
from fabpilot.map_data import load_named_maps, part_of
from fabpilot.promotion import Contest, Outcome, find_contest, judge, settle, this_user
from fabpilot.settings import Settings
from fabpilot.shadow import Shadow, ShadowReport, recorded_maps
from fabpilot.training import TrainReport, train_and_register
from fabpilot.wiring import MODEL_NAME, open_repository
from models.data import MapSet, save_maps
from models.evaluate import decide, predict_all
from models.gate import Check, GateDecision
from models.options import TrainOptions
from models.registry import CHALLENGER, CHAMPION, ModelVersion, find_version
from serving.repository import Loaded
from streaming.log import Log

__all__ = ["RetrainOptions", "RetrainReport", "before_the_gate", "retrain", "teaching_set"]

# What a class that the champion knows may lose, of its maps.
_MAY_LOSE = 0.01
# A loss that chance explains this well is none: two maps of forty are five points.
_CHANCE = 0.05
# With fewer maps than this the default batch leaves too few steps (docs/models.md).
_FEW_MAPS = 20_000
_NONE = "None"


class RetrainReport(msgspec.Struct, frozen=True):
    """What came of retraining.

    Attributes:
        confirmed: maps by class that engineers labelled, the held-out ones among them.
        confirmed_held_out: how many of them judge and do not teach.
        confirmed_by: maps by who confirmed them.
        unused_labels: labels without a map, or that such a model cannot hold.
        new_classes: patterns that the champion cannot name.
        old_class_f1: by class the champion names, champion and challenger on the held-out maps.
        new_class_recall: of the challenger, on held-out confirmed maps.
        gate: the verdict; nothing was moved unless `gate.serves`.
        holdout: file with the maps that were judged on.
        next: the command to type, or '' where nothing is left to do.
    """

    reference: str
    champion: str
    challenger: str
    confirmed: dict[str, int]
    confirmed_held_out: int
    confirmed_by: dict[str, int]
    unused_labels: int
    new_classes: tuple[str, ...]
    training: TrainReport
    shadow: ShadowReport
    old_class_f1: dict[str, tuple[float, float]]
    new_class_recall: dict[str, float]
    gate: Outcome
    holdout: str
    next: str


@dataclasses.dataclass(frozen=True)
class RetrainOptions:
    """How to retrain.

    Attributes:
        data: the reference, a file or `sim:SCENARIO`; None takes what the champion was trained on.
        budget_s: seconds to train.
        epochs: at most so many passes over the data; None for no limit.
        seed: of draws and views.
        shadow: wafers that both models judge side by side.
        promote: let the challenger serve if it passes the gate.
        by: who decides, for the record.
    """

    data: str | None = None
    budget_s: float = 600.0
    epochs: int | None = None
    seed: int = 0
    shadow: int = 500
    promote: bool = False
    by: str = ""


def retrain(
    settings: Settings,
    log: Log,
    sites: Sequence[str],
    options: RetrainOptions,
    *,
    wafers: Callable[[], Iterable[WaferMap]] | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[str, float], None] = lambda _, __: None,
) -> RetrainReport:
    """Teach the champion what engineers confirmed, and bring what comes of it to the gate.

    Args:
        settings: registry, device and folder.
        log: with labels and wafer maps.
        sites: whose.
        options: how.
        wafers: gives those of the shadow run; None takes the latest on the log.
        say: told in words what happens.
        on_progress: called with a stage and the share of it that is done.

    Raises:
        DatasetError: the reference cannot be had, or nobody has labelled anything.
        RegistryError: there is no champion, or the registry does not answer.
    """
    champion = find_version(settings.mlflow_uri, MODEL_NAME, CHAMPION)
    if champion is None:
        raise RegistryError(
            f"{MODEL_NAME} has no champion to learn from; train one with"
            " 'fabpilot train wafer-map', or promote the challenger with 'fabpilot models promote'"
        )
    maps, confirmed = teaching_set(champion, log, sites, options.data)
    people = ", ".join(f"{name} {count}" for name, count in confirmed.people.items())
    say(f"{len(confirmed.maps)} confirmed maps ({people}); {len(maps)} in all")
    trained = _train(settings, champion, maps, options, on_progress)
    contest = find_contest(settings, MODEL_NAME)
    say(f"version {contest.challenger.version} in shadow beside version {champion.version}")
    seen = wafers() if wafers is not None else recorded_maps(log, sites, options.shadow)
    shadow = _in_shadow(settings, contest, seen, options.shadow, on_progress)
    judged = before_the_gate(
        settings, contest, maps, lambda done, total: on_progress("judging", done / total)
    )
    outcome = settle(
        settings,
        contest,
        judged.decision,
        judged.maps,
        by=options.by or this_user(),
        dry_run=not options.promote,
    )
    holdout = _keep(settings, contest, judged.maps)
    waits = judged.decision.passed and not outcome.serves
    return RetrainReport(
        reference=options.data or champion.params.get("data_argument", ""),
        champion=f"models:/{MODEL_NAME}/{champion.version}",
        challenger=trained.model,
        confirmed=confirmed.maps.class_counts(),
        confirmed_held_out=_count_held_out(confirmed.maps),
        confirmed_by=confirmed.people,
        unused_labels=confirmed.without_map + confirmed.unusable,
        new_classes=tuple(judged.new_class_recall),
        training=trained,
        shadow=shadow,
        old_class_f1=judged.old_class_f1,
        new_class_recall=judged.new_class_recall,
        gate=outcome,
        holdout=str(holdout),
        next=f"fabpilot models promote --data {holdout}" if waits else "",
    )


def teaching_set(
    champion: ModelVersion, log: Log, sites: Sequence[str], data: str | None
) -> tuple[MapSet, Confirmed]:
    """Reference and confirmed maps as one set, and the confirmed ones alone.

    Args:
        champion: its run names the reference.
        log: with labels and wafer maps.
        sites: whose.
        data: take this file or `sim:SCENARIO` for the reference instead.

    Raises:
        DatasetError: the reference cannot be had, or nobody has labelled anything.
    """
    params = champion.params
    named = data or params.get("data_argument", "")
    if not named:
        raise DatasetError(
            f"the run of version {champion.version} does not say which data it was trained on;"
            " name them with --data"
        )
    reference = load_named_maps(
        named, wafers=int(params.get("wafers", 40_000)), seed=int(params.get("data_seed", 0))
    )
    confirmed = read_confirmed(log, sites, multi_label=reference.multi_label)
    return combine(reference, confirmed.maps), confirmed


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the gate says, and what it looked at."""

    decision: GateDecision
    maps: MapSet
    old_class_f1: dict[str, tuple[float, float]]
    new_class_recall: dict[str, float]


def before_the_gate(
    settings: Settings,
    contest: Contest,
    maps: MapSet,
    on_progress: Callable[[int, int], None] | None = None,
) -> Judged:
    """Judge both models on what neither was taught, with one check more than the gate's own.

    A new class counts in the champion's disfavour, since it cannot name it: that is what labels are
    for. In return no class that it can name may lose more than a point of its maps, unless chance
    explains the loss.

    Args:
        settings: registry and device.
        contest: who is judged.
        maps: a set that marks what is held out.
        on_progress: called after every batch.
    """
    held_out = part_of(maps, "holdout")
    decision = judge(settings, contest, held_out, on_progress)
    try:
        champion, challenger = _both(settings, contest)
    except ModelFileError:
        # The gate has refused it for this.
        return Judged(decision, held_out, {}, {})
    known = {*champion.session.card.labels, _NONE}
    answers = [_answers(loaded, held_out) for loaded in (champion, challenger)]
    truth = held_out.one_hot().astype(np.bool_)
    f1: dict[str, tuple[float, float]] = {}
    recall: dict[str, float] = {}
    losses: list[Check] = []
    for column, name in enumerate(held_out.label_names):
        shown = truth[:, column]
        if not shown.any():
            continue
        before, after = (one[:, column] for one in answers)
        if name not in known:
            recall[name] = float(after[shown].mean())
            continue
        f1[name] = _f1(shown, before), _f1(shown, after)
        losses.append(_loss(name, before[shown], after[shown]))
    worst = max(losses, key=lambda check: (not check.passed, check.value), default=None)
    if worst is not None:
        decision = _with_check(decision, worst)
    return Judged(decision, held_out, f1, recall)


def _train(
    settings: Settings,
    champion: ModelVersion,
    maps: MapSet,
    options: RetrainOptions,
    on_progress: Callable[[str, float], None],
) -> TrainReport:
    """Train a challenger of the champion's architecture and register it."""
    given = TrainOptions(
        budget_s=options.budget_s,
        epochs=options.epochs,
        seed=options.seed,
        device=settings.device.value,
    )
    chosen = dataclasses.replace(
        given,
        backbone=champion.params.get("backbone", given.backbone),
        size=int(champion.params.get("size", given.size)),
        batch=128 if len(maps) < _FEW_MAPS else given.batch,
    )
    report = train_and_register(
        maps,
        chosen,
        mlflow_uri=settings.mlflow_uri,
        alias=CHALLENGER,
        on_progress=lambda progress: on_progress("training", progress.share),
    )
    if report is None:
        raise ConfigError("retrain is one process; leave torchrun to 'fabpilot train'")
    return report


def _in_shadow(
    settings: Settings,
    contest: Contest,
    wafers: Iterable[WaferMap],
    count: int,
    on_progress: Callable[[str, float], None],
) -> ShadowReport:
    champion, challenger = _both(settings, contest)
    return Shadow(champion, challenger).run(
        wafers, lambda done: on_progress("in shadow", done / max(1, count))
    )


def _keep(settings: Settings, contest: Contest, maps: MapSet) -> Path:
    """Keep the maps that were judged on, for who judges again."""
    path = settings.home / "retrain" / f"{MODEL_NAME}-v{contest.challenger.version}-holdout.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_maps(maps, path)
    return path


def _count_held_out(maps: MapSet) -> int:
    return 0 if maps.held_out is None else int(maps.held_out.sum())


def _both(settings: Settings, contest: Contest) -> tuple[Loaded, Loaded]:
    assert contest.champion is not None
    return _load(settings, contest.champion), _load(settings, contest.challenger)


def _load(settings: Settings, version: ModelVersion) -> Loaded:
    named = f"models:/{version.name}/{version.version}"
    with closing(open_repository(settings, named)) as repository:
        return repository.current()


def _answers(loaded: Loaded, maps: MapSet) -> npt.NDArray[np.bool_]:
    """What a model says (N, C), in the order of the maps' classes; False where it lacks one."""
    session = loaded.session
    card = session.card
    probabilities = predict_all(
        lambda batch: session.run(batch).probabilities, maps, card.canonical_size
    )
    said = decide(probabilities, card.multi_label, card.thresholds).astype(np.bool_)
    out = np.zeros((len(maps), len(maps.label_names)), dtype=np.bool_)
    for column, name in enumerate(maps.label_names):
        if name in card.labels:
            out[:, column] = said[:, card.labels.index(name)]
        elif name == _NONE:
            out[:, column] = ~said.any(axis=1)
    return out


def _f1(truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> float:
    return 2.0 * float((truth & said).sum()) / max(1, int(truth.sum() + said.sum()))


def _loss(name: str, before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> Check:
    """Whether the maps (n,) of one class are recognised as well as before.

    The sign test on the maps about which the two differ (McNemar, Psychometrika 12, 1947, exact and
    one-sided) says whether chance explains a loss.
    """
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    share = (lost - won) / len(before)
    by_chance = at_most(won, lost + won, 0.5)
    return Check(
        "known classes",
        share,
        _MAY_LOSE,
        share <= _MAY_LOSE or by_chance > _CHANCE,
        f"{name} loses {lost} and wins {won} of {len(before)} maps"
        f" (at most {100 * _MAY_LOSE:g} point less, or what chance explains)",
    )


def _with_check(decision: GateDecision, check: Check) -> GateDecision:
    """A decision with one check more."""
    numbered = dataclasses.replace(check, number=len(decision.checks) + 1)
    if check.passed:
        return dataclasses.replace(decision, checks=(*decision.checks, numbered))
    reason = check.sentence if decision.passed else f"{decision.reason}; {check.sentence}"
    return dataclasses.replace(
        decision, passed=False, reason=reason, checks=(*decision.checks, numbered)
    )
