"""A fault model: how a run is measured, matched to its tool, and judged."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.errors import DatasetError
from contracts.trace_fault import KNOWN_SHARE, FaultDetail, FaultReference, variable_names
from contracts.trace_threads import EVERYTHING, JOINED
from models.traces.data import Run, TraceSet
from models.traces.fault_detector import Detector, fit_detector
from models.traces.step_features import Layout, Trouble, learn_layout, measure
from models.traces.tool_matching import Matching, Reference, learn_matching

__all__ = [
    "FEWEST_RUNS",
    "Deviations",
    "FaultModel",
    "detail_of",
    "deviations_of",
    "fit_fault_model",
    "matching_of",
]

FEWEST_RUNS = 15
# What keeps runs apart that may differ in mean: whichever of these a set has.
_REFERENCE_KEYS = ("experiment", "recipe", "machine", "module", "chamber")

Floats = npt.NDArray[np.float64]


def detail_of(model: "FaultModel") -> FaultDetail:
    """What is to be written down of a fitted model."""
    m = model.matching
    return FaultDetail(
        layout=model.layout,
        gain=Array.of(m.gain.astype(np.float32)),
        scale=Array.of(m.scale.astype(np.float32)),
        warm_up=Array.of(m.warm_up.astype(np.float32)),
        floor=Array.of(m.floor.astype(np.float32)),
        univariate_limit=model.detector.univariate_limit,
        learned=model.learned,
        references=model.references,
    )


def matching_of(detail: FaultDetail) -> Matching:
    """What training learned about the features."""
    parts = (detail.gain, detail.scale, detail.warm_up, detail.floor)
    return Matching(*(x.numpy().astype(np.float64) for x in parts))


@dataclass(frozen=True)
class FaultModel:
    """A fitted model; attributes as in `FaultDetail`, with the deviations it was fitted to."""

    layout: Layout
    matching: Matching
    detector: Detector
    deviations: Floats
    learned: tuple[str, ...]
    references: tuple[FaultReference, ...]


class Deviations:
    """Of N runs: what is known of each.

    Attributes:
        values: (N, P), NaN where unknown.
        learned: (N,) whether the model was trained on it.
        troubles: of each run's sensors.
    """

    def __init__(self, n: int, p: int):
        self.values = np.full((n, p), np.nan)
        self.learned = np.zeros(n, dtype=bool)
        self.troubles: list[tuple[Trouble, ...]] = [()] * n

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        """(N,) whether enough is known to judge the run."""
        found: npt.NDArray[np.bool_] = (~np.isnan(self.values)).mean(axis=1) >= KNOWN_SHARE
        return found


def fit_fault_model(traces: TraceSet) -> FaultModel:
    """Learn from normal runs of one recipe.

    Raises:
        DatasetError: too few runs, or they have no step in common.
    """
    if len(traces) < FEWEST_RUNS:
        raise DatasetError(
            f"{traces.name}, part {traces.part}: {len(traces)} normal runs are too few for fault"
            f" detection; at least {FEWEST_RUNS} are needed"
        )
    layout = learn_layout(traces)
    series = {
        thread: np.array([measure(traces.runs[i], layout)[0] for i in rows])
        for thread, rows in _references(traces).items()
    }
    matching = learn_matching(list(series.values()), layout.floors())
    found, references = [], []
    for thread, rows in series.items():
        reference = Reference(matching)
        # The first run has nothing to be compared with.
        found += [reference.deviations(features) for features in rows][1:]
        references.append(
            FaultReference(
                thread,
                Array.of(reference.level.astype(np.float32)),
                Array.of(reference.expected().astype(np.float32)),
            )
        )
    deviations = np.array(found)
    deviations = deviations[(~np.isnan(deviations)).mean(axis=1) >= KNOWN_SHARE]
    return FaultModel(
        layout=layout,
        matching=matching,
        detector=fit_detector(deviations, _owner(layout)),
        deviations=deviations,
        learned=tuple(sorted(_digest(run) for run in traces.runs)),
        references=tuple(references),
    )


def deviations_of(
    traces: TraceSet, layout: Layout, matching: Matching, learned: Sequence[str] = ()
) -> Deviations:
    """Each run against the runs of its own module before it, whatever they turned out to be.

    Raises:
        DatasetError: the set lacks variables that the model needs.
    """
    if missing := [name for name in layout.variables if name not in traces.variables]:
        raise DatasetError(f"{traces.name} lacks variables of the model: {', '.join(missing)}")
    columns = [traces.variables.index(name) for name in layout.variables]
    known = set(learned)
    found = Deviations(len(traces), len(matching.gain))
    for rows in _references(traces).values():
        reference = Reference(matching)
        for i in rows:
            run = traces.runs[i]
            own = Run(run.values[:, columns], run.times_s, run.step)
            features, found.troubles[i] = measure(own, layout)
            found.values[i] = reference.deviations(features)
            found.learned[i] = _digest(own) in known
    return found


def _references(traces: TraceSet) -> dict[str, list[int]]:
    """Runs by what they may be compared within, each in time: the thread, if it has a name."""
    names = ("thread",) if "thread" in traces.context else _REFERENCE_KEYS
    keys = [traces.context[name] for name in names if name in traces.context]
    found: dict[str, list[int]] = defaultdict(list)
    for i in np.argsort(traces.order, kind="stable"):
        found[JOINED.join(str(column[i]) for column in keys) or EVERYTHING].append(int(i))
    return dict(found)


def _owner(layout: Layout) -> Floats:
    """(P, V) which variable each feature is of; the variables of `variable_names`."""
    names = variable_names(layout)
    features = layout.features()
    owner = np.zeros((len(features), len(names)))
    for row, feature in enumerate(features):
        owner[row, names.index(feature.variable)] = 1.0
    return owner


def _digest(run: Run) -> str:
    return hashlib.sha256(np.ascontiguousarray(run.values).tobytes()).hexdigest()[:16]
