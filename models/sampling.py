"""Which maps an epoch shows: rare patterns more often than they occur, common ones less."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.data import MapSet

__all__ = ["class_shares", "epoch_order", "prior_shift"]


def class_shares(maps: MapSet, balance: float) -> npt.NDArray[np.float64] | None:
    """Share of each class in an epoch (C,), or None where maps are drawn as they come.

    Proportional to count ** (1 - balance). In WM-811K with 0.5, None falls from 60 % to 33 % of
    what is shown and Near-full rises from 0.2 % to 2 %.
    """
    if maps.multi_label or balance == 0.0:
        return None
    counts = np.array(list(maps.class_counts().values()), dtype=np.float64)
    weights = np.where(counts > 0, counts ** (1.0 - balance), 0.0)
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


def epoch_order(
    labels: Tensor, shares: npt.NDArray[np.float64] | None, chance: torch.Generator
) -> Tensor:
    """Row numbers of one epoch, as many as there are maps, shuffled.

    Within a class every map is shown once before any is shown again.
    """
    count = len(labels)
    if shares is None:
        return torch.randperm(count, generator=chance)
    # Rounded cumulatively, so that the parts add up to `count`.
    quotas = np.diff(np.rint(np.cumsum(shares) * count), prepend=0).astype(np.int64)
    parts = []
    for number, quota in enumerate(quotas):
        rows = torch.nonzero(labels == number).squeeze(1)
        wanted = int(quota)
        while wanted > 0 and len(rows) > 0:
            part = rows[torch.randperm(len(rows), generator=chance)[:wanted]]
            parts.append(part)
            wanted -= len(part)
    order = torch.cat(parts)
    return order[torch.randperm(len(order), generator=chance)]


def prior_shift(counts: Mapping[str, int], shares: npt.NDArray[np.float64] | None) -> Tensor:
    """What to add to the scores (C,) so that probabilities fit the classes as they come.

    A network trained on drawn shares q of classes with true shares p is off by log(p / q)
    (Saerens et al., Neural Computation 2002).

    Args:
        counts: maps of each class where the model will serve, in the order of the classes. One that
            is 0 there is taken for one map: rare, not impossible.
        shares: q, from `class_shares`.
    """
    if shares is None:
        return torch.zeros(len(counts))
    true = np.maximum(np.array(list(counts.values()), dtype=np.float64), 1.0)
    true /= true.sum()
    seen = shares > 0
    shift = np.zeros(len(counts))
    shift[seen] = np.log(true[seen] / shares[seen])
    return torch.tensor(shift, dtype=torch.float32)
