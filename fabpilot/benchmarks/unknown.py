"""Does a model notice a pattern nobody has taught it? One class held out at a time.

A network learns all classes but one. In the lots held out, maps of that class should score as more
novel than maps of the classes it knows; how often they do, over all pairs, is the AUROC.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from contracts.errors import DatasetError
from fabpilot.benchmarks.learning import Scores
from fabpilot.benchmarks.results import Results
from fabpilot.benchmarks.stream import machine
from models.data import MapSet
from models.evaluate import judge
from models.unknown import auroc, unsureness

__all__ = ["UnknownBench", "UnknownClass", "measure_unknown"]

_NONE = "None"


class UnknownClass(msgspec.Struct, frozen=True):
    """One class held out.

    Attributes:
        unknown_maps: of the class, in the held-out lots.
        known_maps: of all other classes there.
        auroc: of the network's own novelty score; None if it has none.
        auroc_unsureness: of 1 - the largest probability, which any classifier gives for nothing.
        macro_f1: of the network on the classes it knows.
    """

    unknown_maps: int
    known_maps: int
    auroc: float | None
    auroc_unsureness: float
    macro_f1: float


class UnknownBench(msgspec.Struct, frozen=True):
    """All patterns.

    Attributes:
        mean_auroc: over the classes; None if the networks have no novelty score.
        mean_auroc_unsureness: the same of the peer.
        resumed: classes that an earlier run had measured.
    """

    data: str
    mean_auroc: float | None
    mean_auroc_unsureness: float
    classes: dict[str, UnknownClass]
    resumed: int
    budget_s: float
    seed: int
    machine: str


def measure_unknown(
    learning: MapSet,
    holdout: MapSet,
    learn: Callable[[MapSet, MapSet], Scores],
    results: Results,
    *,
    budget_s: float,
    seed: int,
    on_class: Callable[[str], None] = lambda said: None,
) -> UnknownBench:
    """Hold every pattern out once.

    Args:
        learning: maps to learn from, one pattern each.
        holdout: maps of other lots, with the same classes.
        learn: trains on its first set and scores its second.
        results: where each class is kept as soon as it is known.
        budget_s: of one training, for the report.
        seed: of the trainings, for the report.
        on_class: told which class is held out now.

    Raises:
        DatasetError: mixed patterns, or no class can be held out.
    """
    names = [
        name
        for name, count in holdout.class_counts().items()
        if count and name != _NONE and learning.class_counts()[name]
    ]
    if len(names) < 2:
        raise DatasetError(
            f"{learning.source}: {names} cannot be left out one at a time; at least two patterns"
            " need maps in both parts"
        )
    found: dict[str, UnknownClass] = {}
    resumed = 0
    for number, name in enumerate(names, start=1):
        on_class(f"{number} of {len(names)}: without {name}")
        earlier = results.get(name)
        if earlier is None:
            measured = _measure(name, learning, holdout, learn)
            results.add(name, msgspec.to_builtins(measured))
        else:
            measured = msgspec.convert(earlier, UnknownClass)
            resumed += 1
        found[name] = measured
    scores = [item.auroc for item in found.values() if item.auroc is not None]
    return UnknownBench(
        data=learning.source,
        mean_auroc=float(np.mean(scores)) if len(scores) == len(found) else None,
        mean_auroc_unsureness=float(np.mean([c.auroc_unsureness for c in found.values()])),
        classes=found,
        resumed=resumed,
        budget_s=budget_s,
        seed=seed,
        machine=machine(),
    )


def _measure(
    name: str, learning: MapSet, holdout: MapSet, learn: Callable[[MapSet, MapSet], Scores]
) -> UnknownClass:
    rest = [other for other in learning.label_names if other != name]
    known, unknown = holdout.of_classes(rest), holdout.of_classes([name])
    both = _one_after_the_other(known, unknown)
    said = learn(learning.of_classes(rest), both)
    split = len(known)
    unsure: Any = unsureness(said.probabilities)
    own = None
    if said.novelty is not None:
        own = auroc(said.novelty[:split], said.novelty[split:])
    judged = judge(said.probabilities[:split], rest, False, said.thresholds, known)
    return UnknownClass(
        unknown_maps=len(unknown),
        known_maps=split,
        auroc=own,
        auroc_unsureness=auroc(unsure[:split], unsure[split:]),
        macro_f1=judged.macro_f1,
    )


def _one_after_the_other(known: MapSet, unknown: MapSet) -> MapSet:
    """Both sets' maps, those of the unknown class last; only their grids are looked at."""
    return MapSet(
        grids=[*known.grids, *unknown.grids],
        labels=np.concatenate([known.labels, np.zeros(len(unknown), dtype=np.int64)]),
        label_names=known.label_names,
        groups=np.concatenate([known.groups, unknown.groups]),
        source=known.source,
    )
