"""Networks trained and asked: the step that long benchmarks repeat."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.data import MapSet
from models.options import TrainOptions
from models.splits import split_blocks
from models.train import Trained, train
from models.unknown import network_scores
from models.weights import Weights

__all__ = ["Scores", "learn", "options_for", "score", "weights_of"]

# Of the maps to learn from; temperature and thresholds are chosen on them.
_VALIDATION, _VALIDATION_SEED = 0.1, 1
# With fewer maps a large batch leaves too few steps (docs/models.md).
_FEW_MAPS, _FEW_BATCH = 20_000, 128
_HARDLY_ANY, _HARDLY_ANY_BATCH = 1_000, 32


class Scores(NamedTuple):
    """What a network said about maps.

    Attributes:
        probabilities: (N, C).
        novelty: (N,), larger for maps unlike those it learned; None if it has no such score.
        thresholds: (C,).
    """

    probabilities: npt.NDArray[np.float32]
    novelty: npt.NDArray[np.float32] | None
    thresholds: tuple[float, ...]


def options_for(maps: MapSet, budget_s: float, *, seed: int, device: Any) -> TrainOptions:
    """The defaults of `fabpilot train` with a batch that suits the number of maps."""
    few: dict[str, Any] = {}
    if len(maps) < _FEW_MAPS:
        few["batch"] = _FEW_BATCH if len(maps) >= _HARDLY_ANY else _HARDLY_ANY_BATCH
    # Only time ends it: passes over few maps are short, and every rival gets the same time.
    return TrainOptions(budget_s=budget_s, epochs=None, seed=seed, device=device, **few)


def learn(learning: MapSet, options: TrainOptions, init: Weights | None = None) -> Trained:
    """Train and calibrate on one part.

    Args:
        learning: a tenth of it is kept to calibrate on.
        options: how to train.
        init: weights to start from; None for random ones.

    Raises:
        DatasetError: too few lots or classes.
    """
    training, validation = split_blocks(learning, holdout=_VALIDATION, seed=_VALIDATION_SEED)
    return train(training, validation, options, init=init)


def weights_of(trained: Trained) -> Weights:
    """To start another network from."""
    return Weights(trained.net.backbone_name, trained.labels, trained.net.state_dict())


def score(trained: Trained, maps: MapSet) -> Scores:
    """What a network says about maps it has not seen; their labels are not looked at."""
    probabilities, novelty = network_scores(trained.net, maps, trained.options.size)
    return Scores(probabilities, novelty, trained.thresholds)
