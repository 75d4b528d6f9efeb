"""Bringing a challenger to the gate: gather the numbers, let the gate decide, write it down.

1. `find_contest`: who challenges whom.
2. `frozen_holdout`: the maps that neither has trained on.
3. `judge`: both models on them, through the runtime that serves them; the gate decides.
4. `settle`: the decision becomes tags on the version, and the aliases move if it passed.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.clock import SystemClock, rfc3339
from contracts.errors import DatasetError, ModelFileError, RegistryError
from contracts.model_file import TAG_ACCEPTED
from contracts.trace_model import task_of_name
from fabpilot.map_data import load_named_maps, part_of
from fabpilot.settings import Settings
from fabpilot.trail import record, this_user
from models.data import MapSet
from models.evaluate import decide, predict_all
from models.evaluate import judge as judge_model
from models.gate import Candidate, GateDecision, macro_f1, pass_gate, refused
from models.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    TAG_PROMOTION,
    TAG_ROLLBACK,
    ModelVersion,
    find_version,
    rollback,
    set_tags,
)
from models.registry import promote as move_aliases
from models.robustness import perturbations
from models.traces.data import TraceSet
from serving.mlflow_source import MlflowSource
from serving.repository import Opener, S
from serving.session import Session, open_session
from serving.trace_scorer import trace_opener

__all__ = [
    "Contest",
    "Outcome",
    "find_contest",
    "frozen_holdout",
    "judge",
    "open_version",
    "roll_back",
    "settle",
    "this_user",
]

_LATENCY_ROUNDS = 200
# The metric of a quantised version's run: what it lost against its own fp32 file, in points.
_INT8_LOSS = "int8_drop_points"

Progress = Callable[[int, int], None]
"""Called with (maps done, maps in all)."""


@dataclass(frozen=True)
class Contest:
    """Who wants whose place; `champion` is None if nothing serves yet."""

    challenger: ModelVersion
    champion: ModelVersion | None


@dataclass(frozen=True)
class Outcome:
    """What came of a contest.

    Attributes:
        verdict: 'promoted', 'refused' or 'forced'.
        serves: the challenger serves from now on.
        version: of the challenger.
        compared_to: version and digest of the champion, or 'none'.
        by: who asked.
        reason: the gate's, or for 'forced' the person's.
        decision: the gate's, with every check.
    """

    model: str
    verdict: str
    serves: bool
    version: int
    compared_to: str
    by: str
    reason: str
    decision: GateDecision


def find_contest(settings: Settings, name: str) -> Contest:
    """The challenger and the champion of a registered model.

    Raises:
        RegistryError: there is no challenger, or the registry does not answer.
    """
    challenger = find_version(settings.mlflow_uri, name, CHALLENGER)
    champion = find_version(settings.mlflow_uri, name, CHAMPION)
    if challenger is None:
        raise RegistryError(
            f"{name} has no challenger to promote; train one with 'fabpilot train',"
            " or set the alias on a version"
        )
    if champion is not None and champion.version == challenger.version:
        raise RegistryError(
            f"version {champion.version} of {name} is champion and challenger at once;"
            " set the alias 'challenger' on the version that shall be judged"
        )
    return Contest(challenger, champion)


def frozen_holdout(contest: Contest, data: str | None = None) -> MapSet:
    """The held-out part of the data that the champion was trained on.

    Args:
        contest: without a champion, the challenger's run names the data.
        data: take the held-out part of this file or `sim:SCENARIO` instead.

    Raises:
        DatasetError: the run does not name its data, they cannot be read, or they are no longer
            those that the run held out.
    """
    judged = contest.champion or contest.challenger
    params = judged.params
    named = data or params.get("data_argument", "")
    if not named:
        raise DatasetError(
            f"the run of version {judged.version} does not say which data it held maps out of;"
            " name them with --data"
        )
    try:
        maps = load_named_maps(
            named, wafers=int(params.get("wafers", 40_000)), seed=int(params.get("data_seed", 0))
        )
    except DatasetError as error:
        if data is not None:
            raise
        raise DatasetError(
            f"{error}; version {judged.version} was judged on these data: name them with --data"
        ) from error
    holdout = part_of(maps, "holdout")
    if data is None and not _same(holdout, judged):
        raise DatasetError(
            f"{named} does not hold the maps any more that version {judged.version} was judged on;"
            " find the file of that time, or name data that neither model has seen with --data"
        )
    return holdout


def blind(contest: Contest, maps: MapSet) -> bool:
    """Whether it is on record that the challenger has not trained on these maps."""
    return _same(maps, contest.challenger)


def judge(
    settings: Settings, contest: Contest, maps: MapSet, on_progress: Progress | None = None
) -> GateDecision:
    """Both models on the same maps, clean and perturbed, and what the gate says of it.

    A challenger whose file cannot be loaded is refused; a champion whose file cannot be loaded
    leaves nothing to compare with, so the challenger is refused too.

    Args:
        settings: registry and device.
        contest: whose files are loaded, by version.
        maps: labelled; neither model may have trained on them.
        on_progress: called after every batch.

    Raises:
        DatasetError: a model and the maps have no class in common.
        RegistryError: a file cannot be fetched.
        DeviceError: the device asked for is not there.
    """
    trouble = ""
    try:
        sessions = [_open(settings, contest.challenger)]
    except ModelFileError as error:
        return refused("file", str(error))
    if contest.champion is not None:
        try:
            sessions.append(_open(settings, contest.champion))
        except ModelFileError as error:
            trouble = f"the champion's file cannot be loaded, so nothing can be compared: {error}"
    mixed = maps.multi_label or any(session.card.multi_label for session in sessions)
    classes = _classes(maps, sessions, mixed)
    variants = {name: perturb(maps) for name, perturb in perturbations(0).items()}
    bar = _Bar(on_progress, len(maps) * len(sessions) * (1 + len(variants)))
    latencies = _latencies_ms(sessions, maps)
    versions = [contest.challenger, contest.champion or contest.challenger]
    candidates = [
        _candidate(version, session, maps, variants, classes, latency, bar)
        for version, session, latency in zip(versions, sessions, latencies, strict=False)
    ]
    decision = pass_gate(
        _columns(maps.one_hot(), maps.label_names, classes),
        maps.lots(),
        candidates[0],
        candidates[1] if len(candidates) > 1 else None,
        classes=classes,
    )
    return refused("champion", trouble, decision) if trouble else decision


def settle(
    settings: Settings,
    contest: Contest,
    decision: GateDecision,
    judged_on: MapSet | TraceSet,
    *,
    by: str,
    force: str = "",
    dry_run: bool = False,
) -> Outcome:
    """Write the decision on the version and move the aliases if it passed.

    The audit trail and the tags come first: should the registry fail in between, a decision without
    a move is seen and repeated; a move without a decision would go unseen.

    Args:
        settings: registry.
        contest: who was judged.
        decision: the gate's.
        judged_on: maps, or runs of a model of traces.
        by: who asked.
        force: promote in spite of the gate, for this reason. A file that cannot be loaded is
            refused all the same: no server would take it.
        dry_run: write and move nothing.

    Raises:
        ConflictError: somebody moved an alias in the meantime.
        RegistryError: the registry does not answer.
    """
    loads = all(check.passed for check in decision.checks if check.name == "file")
    forced = bool(force) and not decision.passed and loads
    verdict = "forced" if forced else "promoted" if decision.passed else "refused"
    challenger, champion = contest.challenger, contest.champion
    outcome = Outcome(
        model=challenger.name,
        verdict=verdict,
        serves=verdict != "refused" and not dry_run,
        version=challenger.version,
        compared_to=f"{champion.version} {champion.sha256}" if champion else "none",
        by=by,
        reason=force if forced else decision.reason,
        decision=decision,
    )
    if dry_run:
        return outcome
    tags = _tags(TAG_PROMOTION, verdict, by, outcome.reason) | {
        f"{TAG_PROMOTION}.compared_to": outcome.compared_to,
        f"{TAG_PROMOTION}.data": _about(judged_on),
        f"{TAG_PROMOTION}.decision": msgspec.json.encode(decision).decode(),
    }
    if forced:
        # Servers take a version that knows fewer patterns only if a person decided so.
        tags[TAG_ACCEPTED] = f"forced by {by}: {force}"
    uri = settings.mlflow_uri
    what = {"promoted": "model.promoted", "refused": "model.refused", "forced": "model.forced"}
    record(
        settings,
        by,
        what[verdict],
        f"{challenger.name} v{challenger.version}",
        outcome.reason,
        before={"champion": champion.version if champion else None},
        after={
            "champion": challenger.version if outcome.serves else (champion and champion.version),
            "sha256": challenger.sha256,
        },
    )
    set_tags(uri, challenger.name, challenger.version, tags)
    if outcome.serves:
        before = champion.version if champion else None
        move_aliases(uri, challenger.name, challenger=challenger.version, champion=before)
    return outcome


def roll_back(settings: Settings, name: str, *, by: str, reason: str) -> ModelVersion:
    """Let the previous champion serve again, once its file has been loaded and tried.

    Raises:
        ModelError: there is none, it cannot be loaded, or the registry does not answer.
    """
    uri = settings.mlflow_uri
    previous = find_version(uri, name, PREVIOUS)
    if previous is None:
        raise RegistryError(f"{name} has no previous champion to go back to")
    champion = find_version(uri, name, CHAMPION)
    if (task := task_of_name(name)) is None:
        _open(settings, previous)
    else:
        open_version(settings, previous, trace_opener(task))
    tags = _tags(TAG_ROLLBACK, "served again", by, reason)
    tags[f"{TAG_ROLLBACK}.from"] = str(champion.version) if champion else "none"
    record(
        settings,
        by,
        "model.rolled_back",
        f"{name} v{previous.version}",
        reason,
        before={"champion": champion.version if champion else None},
        after={"champion": previous.version, "sha256": previous.sha256},
    )
    set_tags(uri, name, previous.version, tags)
    return rollback(uri, name, why=f"rolled back to by {by}: {reason}")


class _Bar:
    """Counts maps over all runs of one contest."""

    def __init__(self, on_progress: Progress | None, total: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self._before = 0

    def __call__(self, done: int, run: int) -> None:
        if self._on_progress is not None:
            self._on_progress(self._before + done, self._total)
        if done == run:
            self._before += run


def _candidate(
    version: ModelVersion,
    session: Session,
    maps: MapSet,
    variants: Mapping[str, MapSet],
    classes: tuple[str, ...],
    latency_ms: float,
    bar: _Bar,
) -> Candidate:
    card = session.card
    truth = _columns(maps.one_hot(), maps.label_names, classes)

    def said(about: MapSet) -> npt.NDArray[np.float32]:
        size = card.canonical_size
        return predict_all(
            lambda batch: session.run(batch).probabilities, about, size, on_progress=bar
        )

    def answers(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        decided = decide(probabilities, card.multi_label, card.thresholds)
        return _columns(decided, card.labels, classes)

    clean = said(maps)
    judged = judge_model(clean, card.labels, card.multi_label, card.thresholds, maps)
    return Candidate(
        labels=card.labels,
        answers=answers(clean),
        ece=judged.ece,
        latency_ms=latency_ms,
        parity=_parity(session),
        robustness={
            name: macro_f1(truth, answers(said(variant))) for name, variant in variants.items()
        },
        int8_loss=_int8_loss(version, session),
    )


def _int8_loss(version: ModelVersion, session: Session) -> float | None:
    """What quantising cost, from the version's run; NaN if the run does not say."""
    if not session.card.architecture.endswith("int8"):
        return None
    return version.metrics.get(_INT8_LOSS, float("nan")) / 100


def _parity(session: Session) -> float:
    """The largest difference of a probability on the golden batch."""
    golden = session.card.golden_probabilities.numpy()
    said = session.run(session.card.golden_maps.numpy()).probabilities
    return float(np.abs(said - golden).max())


def _latencies_ms(sessions: list[Session], maps: MapSet) -> list[float]:
    """Median time of a single map, the models in turn, so that both meet the same neighbours."""
    one = maps.subset(np.array([0]))
    inputs = [one.canonical(session.card.canonical_size) for session in sessions]
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(_LATENCY_ROUNDS):
        for session, batch, taken in zip(sessions, inputs, times, strict=True):
            began = time.perf_counter()
            session.run(batch)
            taken.append(1e3 * (time.perf_counter() - began))
    return [statistics.median(taken) for taken in times]


def _classes(maps: MapSet, sessions: list[Session], mixed: bool) -> tuple[str, ...]:
    """All classes of the data and the models; for mixed patterns 'None' is no class."""
    names = dict.fromkeys(maps.label_names)
    for session in sessions:
        names |= dict.fromkeys(session.card.labels)
    return tuple(name for name in names if not (mixed and name == "None"))


def _columns(
    values: npt.NDArray[np.uint8], have: tuple[str, ...], want: tuple[str, ...]
) -> npt.NDArray[np.uint8]:
    """Columns of `values` (N, C) by name; zeros for a name that is not there."""
    out = np.zeros((len(values), len(want)), dtype=np.uint8)
    for column, name in enumerate(want):
        if name in have:
            out[:, column] = values[:, have.index(name)]
    return out


def open_version(settings: Settings, version: ModelVersion, opener: Opener[S]) -> S:
    """The version's file, out of the registry: what is cached here says nothing about that.

    Raises:
        RegistryError: it cannot be fetched.
        ModelFileError: it cannot be loaded.
    """
    uri = f"models:/{version.name}/{version.version}"
    with tempfile.TemporaryDirectory(prefix="fabpilot-gate-") as folder:
        source = MlflowSource(settings.mlflow_uri, uri, Path(folder))
        ref = source.resolve()
        return opener(source.fetch(ref), settings.device, sha256=ref.sha256)


def _open(settings: Settings, version: ModelVersion) -> Session:
    return open_version(settings, version, open_session)


def _about(judged_on: MapSet | TraceSet) -> str:
    if isinstance(judged_on, TraceSet):
        return f"{judged_on.name}, {len(judged_on)} runs, {judged_on.fingerprint()}"
    return f"{judged_on.source}, {len(judged_on)} maps, {judged_on.fingerprint()}"


def _same(maps: MapSet, version: ModelVersion) -> bool:
    """Whether a version was judged on these maps, as far as its run says."""
    return bool(version.holdout) and maps.fingerprint().startswith(version.holdout)


def _tags(prefix: str, verdict: str, by: str, reason: str) -> dict[str, str]:
    return {
        prefix: verdict,
        f"{prefix}.by": by,
        f"{prefix}.at": rfc3339(SystemClock().now_ms()),
        f"{prefix}.reason": reason,
    }
