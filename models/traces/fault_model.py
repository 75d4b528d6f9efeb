"""A fault model: how a run is measured, matched to its tool, and judged."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.errors import DatasetError, ModelFileError
from models.traces.data import Run, TraceSet
from models.traces.fault_detector import Detector, fit_detector
from models.traces.step_features import Layout, Trouble, learn_layout, measure
from models.traces.tool_matching import Matching, Reference, learn_matching

__all__ = [
    "FEWEST_RUNS",
    "Deviations",
    "FaultDetail",
    "FaultModel",
    "deviations_of",
    "fit_fault_model",
    "variable_names",
]

FEWEST_RUNS = 15
# What keeps runs apart that may differ in mean: whichever of these a set has.
_REFERENCE_KEYS = ("experiment", "recipe", "machine", "module", "chamber")
# A run of which less is known is not judged.
_KNOWN_SHARE = 0.4

Floats = npt.NDArray[np.float64]


class FaultDetail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a fault model's card says beyond the graph.

    Attributes:
        layout: how features are computed.
        gain, scale, warm_up, floor: (P,) of `tool_matching.Matching`.
        univariate_limit: of the greatest deviation, for one false alarm in a hundred. The score is
            in units of its limit.
        learned: digests of the runs it was trained on, so that nobody judges it on them.
    """

    layout: Layout
    gain: Array
    scale: Array
    warm_up: Array
    floor: Array
    univariate_limit: float
    learned: tuple[str, ...]

    @classmethod
    def of(cls, model: "FaultModel") -> "FaultDetail":
        """What is to be written down of a fitted model."""
        m = model.matching
        return cls(
            layout=model.layout,
            gain=Array.of(m.gain.astype(np.float32)),
            scale=Array.of(m.scale.astype(np.float32)),
            warm_up=Array.of(m.warm_up.astype(np.float32)),
            floor=Array.of(m.floor.astype(np.float32)),
            univariate_limit=model.detector.univariate_limit,
            learned=model.learned,
        )

    @classmethod
    def read(cls, document: msgspec.Raw) -> "FaultDetail":
        """From a card.

        Raises:
            ModelFileError: it is none, or contradicts itself.
        """
        try:
            detail = msgspec.json.decode(document, type=cls)
        except msgspec.DecodeError as error:
            raise ModelFileError(f"the model's fault detection is not ours: {error}") from error
        p = len(detail.layout.features())
        if any(x.shape != (p,) for x in (detail.gain, detail.scale, detail.warm_up, detail.floor)):
            raise ModelFileError("the model's tool matching does not fit its features")
        return detail

    def matching(self) -> Matching:
        """What training learned about the features."""
        return Matching(
            *(
                x.numpy().astype(np.float64)
                for x in (self.gain, self.scale, self.warm_up, self.floor)
            )
        )


@dataclass(frozen=True)
class FaultModel:
    """A fitted model; attributes as in `FaultDetail`."""

    layout: Layout
    matching: Matching
    detector: Detector
    deviations: Floats
    learned: tuple[str, ...]


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
        found: npt.NDArray[np.bool_] = (~np.isnan(self.values)).mean(axis=1) >= _KNOWN_SHARE
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
    series = [
        np.array([measure(traces.runs[i], layout)[0] for i in rows])
        for rows in _references(traces).values()
    ]
    matching = learn_matching(series, layout.floors())
    found = []
    for rows in series:
        reference = Reference(matching)
        # The first run has nothing to be compared with.
        found += [reference.deviations(features) for features in rows][1:]
    deviations = np.array(found)
    deviations = deviations[(~np.isnan(deviations)).mean(axis=1) >= _KNOWN_SHARE]
    return FaultModel(
        layout=layout,
        matching=matching,
        detector=fit_detector(deviations, _owner(layout)),
        deviations=deviations,
        learned=tuple(sorted(_digest(run) for run in traces.runs)),
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


def _references(traces: TraceSet) -> dict[tuple[str, ...], list[int]]:
    """Runs by what they may be compared within, each in time."""
    keys = [traces.context[name] for name in _REFERENCE_KEYS if name in traces.context]
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in np.argsort(traces.order, kind="stable"):
        found[tuple(str(column[i]) for column in keys)].append(int(i))
    return dict(found)


def _owner(layout: Layout) -> Floats:
    """(P, V) which variable each feature is of; the variables of `variable_names`."""
    names = variable_names(layout)
    features = layout.features()
    owner = np.zeros((len(features), len(names)))
    for row, feature in enumerate(features):
        owner[row, names.index(feature.variable)] = 1.0
    return owner


def variable_names(layout: Layout) -> tuple[str, ...]:
    """The variables that contributions name: those of the traces, and a step's duration."""
    return tuple(dict.fromkeys(feature.variable for feature in layout.features()))


def _digest(run: Run) -> str:
    return hashlib.sha256(np.ascontiguousarray(run.values).tobytes()).hexdigest()[:16]
