"""Drift: is what the model sees still what it used to see? By effect size, not by p-value.

With enough wafers every difference is significant; what matters is how large it is. Compared are

- the embedding: standardised mean differences (Cohen's d, J. Cohen, Statistical Power Analysis for
  the Behavioral Sciences, 1988: 0.2 small, 0.5 medium, 0.8 large) of its D components, of which the
  root mean square is taken, so that the size of the embedding does not matter;
- the probabilities: total variation, half the sum of the absolute changes of the mean probability
  of each class, which is the share of wafers that would have to change class.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.events import Prediction
from contracts.model_file import Reference
from control.state import Moments

__all__ = [
    "MAX_CLASSES",
    "MAX_EMBEDDING",
    "Effect",
    "add",
    "compare",
    "is_drift",
    "moments",
    "shares",
]

# Larger ones would swell the state that is saved with every batch; ours has some hundred.
MAX_EMBEDDING, MAX_CLASSES = 2048, 64
# A medium effect over all components. Ten lots of a quiet fab differ from others by 0.06 to 0.19, a
# single lot by up to 0.5 (docs/decisions/0014).
EMBEDDING_LIMIT = 0.5
# One wafer in five is called something else.
SHARES_LIMIT = 0.2
# Components that hardly vary would make mountains of nothing: no spread counts as less than this
# share of the typical one.
LEAST_SPREAD = 0.1

FloatArray = npt.NDArray[np.float64]


class Effect(NamedTuple):
    """How different wafers are from the reference.

    Attributes:
        embedding: root mean square of the standardised mean differences.
        shares: total variation of the class shares, 0 to 1.
    """

    embedding: float
    shares: float


def moments(event: Prediction) -> Moments | None:
    """What one prediction adds; None if it cannot be used."""
    if not 0 < len(event.labels) <= MAX_CLASSES or len(event.labels) != len(event.probabilities):
        return None
    embedding = np.zeros(0)
    if event.embedding is not None:
        embedding = event.embedding.numpy().astype(np.float64).ravel()
    probabilities = np.asarray(event.probabilities, dtype=np.float64)
    if embedding.size > MAX_EMBEDDING or not (
        np.isfinite(embedding).all() and np.isfinite(probabilities).all()
    ):
        return None
    return Moments(
        wafers=1,
        labels=event.labels,
        embedding=embedding.tobytes(),
        squares=np.square(embedding).tobytes(),
        probabilities=probabilities.tobytes(),
    )


def add(first: Moments, second: Moments) -> Moments | None:
    """Both together; None if they are of different models."""
    if first.labels != second.labels or len(first.embedding) != len(second.embedding):
        return None
    return Moments(
        wafers=first.wafers + second.wafers,
        labels=first.labels,
        embedding=_sum(first.embedding, second.embedding),
        squares=_sum(first.squares, second.squares),
        probabilities=_sum(first.probabilities, second.probabilities),
    )


def shares(seen: Moments) -> FloatArray:
    """Mean probability of each class (C,)."""
    return _numbers(seen.probabilities) / seen.wafers


def compare(seen: Moments, reference: Moments | Reference) -> Effect:
    """How different `seen` is from `reference`, of the same model.

    Args:
        seen: recent wafers, at least one.
        reference: other wafers, or what a model card says of its training data.

    Raises:
        ValueError: embeddings or classes are not as many.
    """
    if isinstance(reference, Reference):
        mean, spread = _values(reference.embedding_mean), _values(reference.embedding_scale)
        usual = _values(reference.class_shares)
    else:
        mean, spread = _mean_and_spread(reference)
        usual = shares(reference)
    now, now_spread = _mean_and_spread(seen)
    pooled = np.sqrt(0.5 * (np.square(spread) + np.square(now_spread)))
    typical = float(np.sqrt(np.mean(np.square(pooled)))) if pooled.size else 0.0
    effect = 0.0
    if typical > 0:
        differences = (now - mean) / np.maximum(pooled, LEAST_SPREAD * typical)
        effect = float(np.sqrt(np.mean(np.square(differences))))
    return Effect(effect, 0.5 * float(np.abs(shares(seen) - usual).sum()))


def is_drift(effect: Effect) -> bool:
    """Whether an effect is large enough to tell a person."""
    return effect.embedding >= EMBEDDING_LIMIT or effect.shares >= SHARES_LIMIT


def _mean_and_spread(seen: Moments) -> tuple[FloatArray, FloatArray]:
    mean = _numbers(seen.embedding) / seen.wafers
    variance = _numbers(seen.squares) / seen.wafers - np.square(mean)
    return mean, np.sqrt(np.maximum(variance, 0.0))


def _sum(first: bytes, second: bytes) -> bytes:
    return (_numbers(first) + _numbers(second)).tobytes()


def _numbers(data: bytes) -> FloatArray:
    return np.frombuffer(data, dtype=np.float64)


def _values(array: Array) -> FloatArray:
    return np.asarray(array.numpy(), dtype=np.float64)
