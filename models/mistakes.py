"""The maps a model is most surely wrong about: its own faults, or those of the labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.wafer_map import Grid
from models.data import MapSet
from models.evaluate import decide

__all__ = ["Mistake", "worst_mistakes"]

_NONE = "None"


class Mistake(NamedTuple):
    """A map the model is wrong about.

    Attributes:
        place: in the set.
        grid: the map.
        true, predicted: class names; several joined by ' + '.
        probability: that the model gave its answer: of the class it named, or, for mixed patterns,
            of the answer (yes or no) about the class it is most surely wrong about.
    """

    place: int
    grid: Grid
    true: str
    predicted: str
    probability: float


def worst_mistakes(
    probabilities: npt.NDArray[np.floating[Any]],
    labels: Sequence[str],
    multi_label: bool,
    thresholds: Sequence[float],
    maps: MapSet,
    count: int,
) -> list[Mistake]:
    """The mistakes a model is surest of, surest first, at most `count`.

    Args:
        probabilities: (N, C).
        labels: the C classes.
        multi_label: whether the model is.
        thresholds: (C,) for multi-label models.
        maps: the N maps.
        count: how many.
    """
    true = _named(maps.one_hot(), maps.label_names)
    said = _named(decide(probabilities, multi_label, thresholds), labels)
    wrong = np.array([t != s for t, s in zip(true, said, strict=True)])
    if multi_label:
        sure = np.abs(probabilities - _truth(maps, labels)).max(axis=1)
    else:
        sure = probabilities.max(axis=1)
    order = np.argsort(np.where(wrong, -sure, np.inf), kind="stable")[: min(count, wrong.sum())]
    return [
        Mistake(int(i), maps.grids[i], _joined(true[i]), _joined(said[i]), float(sure[i]))
        for i in order
    ]


def _named(hot: npt.NDArray[np.uint8], names: Sequence[str]) -> list[frozenset[str]]:
    """The patterns of each map; that there is none is no pattern."""
    return [
        frozenset(name for name, there in zip(names, row, strict=True) if there and name != _NONE)
        for row in hot
    ]


def _truth(maps: MapSet, labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """Whether each map shows each of `labels`, (N, C); never where the set does not know one."""
    hot = dict(zip(maps.label_names, maps.one_hot().T.astype(np.float64), strict=True))
    never = np.zeros(len(maps))
    return np.stack([hot.get(name, never) for name in labels], axis=1)


def _joined(names: frozenset[str]) -> str:
    return " + ".join(sorted(names)) or _NONE
