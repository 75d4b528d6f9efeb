"""How well a score tells maps of a pattern nobody has taught the model from maps it knows."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError
from models.auc import area_under_curve
from models.data import MapSet

if TYPE_CHECKING:
    # torch takes seconds to import, and the rest of this needs none of it.
    from models.networks import WaferMapNet

__all__ = ["auroc", "network_scores", "unsureness"]


def auroc(known: npt.NDArray[np.floating[Any]], unknown: npt.NDArray[np.floating[Any]]) -> float:
    """Area under the ROC curve: how often an unknown map scores above a known one.

    A tie counts half; 0.5 is chance.

    Args:
        known: (K,) scores of maps of known classes.
        unknown: (U,) scores of maps of the unknown class; larger means more unlike.

    Raises:
        DatasetError: one side is empty, or a score is no number.

    >>> auroc(np.array([0.1, 0.2]), np.array([0.2, 0.9]))
    0.875
    """
    if not len(known) or not len(unknown):
        raise DatasetError(f"{len(known)} known and {len(unknown)} unknown maps: both are needed")
    if not (np.isfinite(known).all() and np.isfinite(unknown).all()):
        raise DatasetError("a score is not a number; the model has diverged")
    scores = np.concatenate([known, unknown]).astype(np.float64)
    return area_under_curve(scores, np.arange(len(scores)) >= len(known)).value


def unsureness(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """1 - the largest probability (N,): the score of a model without one of its own.

    Hendrycks and Gimpel, ICLR 2017.

    Args:
        probabilities: (N, C).
    """
    return np.asarray(1.0 - probabilities.max(axis=1), dtype=np.float64)


def network_scores(
    net: "WaferMapNet", maps: MapSet, size: int, *, batch: int = 256
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Probabilities (N, C) of a network, and its novelty (N,), if it gives one.

    Args:
        net: in evaluation mode, on the CPU.
        maps: to score.
        size: S, its canonical size.
        batch: maps at a time.
    """
    import torch

    from models.replicas import one_core

    probabilities, novelty = [], []
    with one_core(), torch.inference_mode():
        for start in range(0, len(maps), batch):
            part = maps.subset(np.arange(start, min(start + batch, len(maps))))
            outputs = net(torch.from_numpy(part.canonical(size)))
            probabilities.append(outputs.probabilities.numpy())
            if getattr(outputs, "novelty", None) is not None:
                novelty.append(outputs.novelty.numpy())
    return np.concatenate(probabilities), np.concatenate(novelty) if novelty else None
