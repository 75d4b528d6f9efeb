"""A champion that learns: a challenger from confirmed labels, in shadow, before the gate.

1. The champion's own data plus what engineers confirmed, kept as a file that marks what is held
   out.
2. The champion is taught further on them, with a class for every new pattern: the challenger.
3. In shadow: both judge the same wafers of the log, and nothing is published.
4. Before the gate: both on the frozen hold-out and the held-out confirmed maps (`models.gate`).
"""

import dataclasses
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from contracts.errors import ConfigError, DatasetError, RegistryError
from contracts.events import WaferMap
from contracts.model_file import missing_patterns
from fabpilot.confirmed import Confirmed, as_confirmed, combine, read_labelled
from fabpilot.map_data import load_maps_of_run, part_of
from fabpilot.map_gate import judge_map_contest
from fabpilot.promotion import Outcome, find_contest, settle
from fabpilot.settings import Settings
from fabpilot.shadow import Shadow, ShadowReport, recorded_maps
from fabpilot.trail import this_user
from fabpilot.training import Origin, TrainReport, train_and_register
from fabpilot.wiring import MODEL_NAME, open_repository
from models.data import MapSet
from models.map_files import load_maps, save_maps
from models.options import Precision, TrainOptions, batch_for
from models.registry import CHALLENGER, CHAMPION, ModelVersion, find_version
from serving.repository import Loaded
from serving.session import Session
from streaming.log import Log

__all__ = ["RetrainOptions", "RetrainReport", "retrain", "teaching_set"]


class RetrainReport(msgspec.Struct, frozen=True):
    """What came of retraining.

    Attributes:
        confirmed: maps by class that engineers labelled, the held-out ones among them.
        confirmed_held_out: how many of them judge and do not teach.
        confirmed_by: maps by who confirmed them.
        unused_labels: labels without a map, or that such a model cannot hold.
        new_classes: patterns that the champion cannot name.
        gate: the verdict; nothing was moved unless `gate.serves`.
        maps: file with the maps that were taught and judged on.
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
    gate: Outcome
    maps: str
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
    together, confirmed = teaching_set(champion, log, sites, options.data)
    maps, path = _kept(settings, together)
    people = ", ".join(f"{name} {count}" for name, count in confirmed.people.items())
    say(f"{len(confirmed.maps)} confirmed maps ({people}); {len(maps)} in all")
    trained = _train(settings, champion, maps, path, options, on_progress)
    contest = find_contest(settings, MODEL_NAME)
    say(f"version {contest.challenger.version} in shadow beside version {champion.version}")
    seen = wafers() if wafers is not None else recorded_maps(log, sites, options.shadow)
    serving, taught = (_load(settings, one) for one in (champion, contest.challenger))
    shadow = Shadow(serving, taught).run(
        seen, lambda done: on_progress("in shadow", done / max(1, options.shadow))
    )
    held_out = part_of(maps, "holdout")
    decision = judge_map_contest(
        settings, contest, held_out, lambda done, total: on_progress("judging", done / total)
    )
    outcome = settle(
        settings,
        contest,
        decision,
        held_out,
        by=options.by or this_user(),
        dry_run=not options.promote,
    )
    waits = decision.passed and not outcome.serves
    return RetrainReport(
        reference=options.data or champion.params.get("data_argument", ""),
        champion=f"models:/{MODEL_NAME}/{champion.version}",
        challenger=trained.model,
        confirmed=confirmed.maps.class_counts(),
        confirmed_held_out=_count_held_out(confirmed.maps),
        confirmed_by=confirmed.people,
        unused_labels=confirmed.without_map + confirmed.unusable,
        new_classes=missing_patterns(serving.session.card.labels, taught.session.card.labels),
        training=trained,
        shadow=shadow,
        gate=outcome,
        maps=str(path),
        next=f"fabpilot models promote --data {path}" if waits else "",
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
    # First what is quickly read and often missing.
    labelled = read_labelled(log, sites)
    reference = load_maps_of_run(named, params)
    confirmed = as_confirmed(labelled, multi_label=reference.multi_label)
    return combine(reference, confirmed.maps), confirmed


def _precision(champion: ModelVersion) -> Precision:
    """The champion's: timing both again would let a busy moment decide how the same run goes."""
    match champion.params.get("precision_used"):
        case "bf16":
            return "bf16"
        case "fp32":
            return "fp32"
        case _:
            return "auto"


def _train(
    settings: Settings,
    champion: ModelVersion,
    maps: MapSet,
    path: Path,
    options: RetrainOptions,
    on_progress: Callable[[str, float], None],
) -> TrainReport:
    """Teach the champion's network further and register what comes of it as the challenger."""
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
        views=int(champion.params.get("views", given.views)),
        batch=batch_for(len(maps)),
        precision=_precision(champion),
    )
    init = f"models:/{MODEL_NAME}/{champion.version}"
    again = ["fabpilot", "train", "wafer-map", "--data", str(path.resolve()), "--init", init]
    again += ["--backbone", chosen.backbone, "--size", str(chosen.size), "--seed", str(chosen.seed)]
    again += ["--views", str(chosen.views)]
    again += ["--budget", f"{chosen.budget_s:g}s"] if chosen.budget_s else []
    again += ["--epochs", str(chosen.epochs)] if chosen.epochs else []
    report = train_and_register(
        maps,
        chosen,
        origin=Origin(data=str(path.resolve()), command=shlex.join(again)),
        mlflow_uri=settings.mlflow_uri,
        alias=CHALLENGER,
        init=init,
        on_progress=lambda progress: on_progress("training", progress.share),
    )
    if report is None:
        raise ConfigError("retrain is one process; leave torchrun to 'fabpilot train'")
    return report


def _kept(settings: Settings, maps: MapSet) -> tuple[MapSet, Path]:
    """The maps as a file, so that whoever judges or trains again has the very same ones.

    The log forgets, and labels go on coming; the file also says what is held out.
    """
    folder = settings.home / "retrain"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"maps-{maps.fingerprint()[:12]}.npz"
    save_maps(maps, path)
    return load_maps(path), path


def _count_held_out(maps: MapSet) -> int:
    return 0 if maps.held_out is None else int(maps.held_out.sum())


def _load(settings: Settings, version: ModelVersion) -> Loaded[Session]:
    named = f"models:/{version.name}/{version.version}"
    with closing(open_repository(settings, named)) as repository:
        return repository.current()
