"""Whether a challenger among wafer-map models may take the champion's place.

1. `frozen_holdout`: the maps that neither model has trained on.
2. `judge_map_contest`: both models on them, clean and perturbed, through the runtime that serves
   them; `models.gate` decides.
"""

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError, ModelFileError
from fabpilot.map_data import load_maps_of_run, part_of
from fabpilot.promotion import Contest, open_version
from fabpilot.settings import Settings
from models.data import MapSet
from models.evaluate import decide, judge, predict_all
from models.gate import Candidate, GateDecision, pass_gate, refused
from models.paired import macro_f1
from models.registry import ModelVersion
from models.robustness import perturbations
from serving.session import Session, open_session

__all__ = ["blind", "frozen_holdout", "judge_map_contest"]

_LATENCY_ROUNDS = 200
# The metric of a quantised version's run: what it lost against its own fp32 file, in points.
_INT8_LOSS = "int8_drop_points"

Progress = Callable[[int, int], None]
"""Called with (maps done, maps in all)."""


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
        maps = load_maps_of_run(named, params)
    except DatasetError as error:
        if data is not None:
            raise
        raise DatasetError(
            f"{error}; version {judged.version} was judged on these data: name them with --data"
        ) from error
    holdout = part_of(maps, "holdout")
    if data is None and not _same(holdout, judged):
        raise DatasetError(
            f"{named} no longer holds the maps that version {judged.version} was judged on;"
            " use the file of that time, or name data that neither model has seen with --data"
        )
    return holdout


def blind(contest: Contest, maps: MapSet) -> bool:
    """Whether it is on record that the challenger has not trained on these maps."""
    return _same(maps, contest.challenger)


def judge_map_contest(
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
    judged = judge(clean, card.labels, card.multi_label, card.thresholds, maps)
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


def _same(maps: MapSet, version: ModelVersion) -> bool:
    """Whether a version was judged on these maps, as far as its run says."""
    return bool(version.holdout) and maps.fingerprint().startswith(version.holdout)


def _open(settings: Settings, version: ModelVersion) -> Session:
    return open_version(settings, version, open_session)
