"""Networks trained and asked: the step that long benchmarks repeat."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.data import MapSet
from models.options import TrainOptions, batch_for
from models.splits import split_blocks
from models.train import Trained, train
from models.unknown import network_scores
from models.weights import Weights

__all__ = ["Scores", "learn", "options_for", "score", "weights_of"]

# Of the maps to learn from; temperature and thresholds are chosen on them.
_VALIDATION, _VALIDATION_SEED = 0.1, 1
# With hardly any maps even the batch for few leaves too few steps.
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
    batch = batch_for(len(maps)) if len(maps) >= _HARDLY_ANY else _HARDLY_ANY_BATCH
    # Only time ends it: passes over few maps are short, and every rival gets the same time.
    return TrainOptions(budget_s=budget_s, epochs=None, seed=seed, device=device, batch=batch)


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
