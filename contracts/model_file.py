"""A model is one file: what its ONNX metadata says, read by serving and written by models.

The graph takes `maps` uint8 (N, S, S), canonical maps, and returns `probabilities` (N, C),
`embedding` (N, D), `heatmap` (N, h, w) and `novelty` (N,), all float32, heatmap and probabilities
in 0..1. Novelty says how unlike anything the model learned a map is: 1 is the limit that one known
map in a hundred reaches.
Everything else a server needs is one JSON document under the metadata key `fabpilot.model`.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.arrays import Array
from contracts.errors import ModelFileError

__all__ = [
    "FORMAT",
    "INPUT_NAME",
    "MAX_MODEL_BYTES",
    "METADATA_KEY",
    "NOVELTY_NAME",
    "OUTPUT_NAMES",
    "TAG_ACCEPTED",
    "TAG_FILE",
    "TAG_SHA256",
    "ModelCard",
    "Reference",
    "decode_card",
    "encode_card",
    "missing_patterns",
    "predicted_labels",
]

METADATA_KEY = "fabpilot.model"
FORMAT = 1
INPUT_NAME = "maps"
OUTPUT_NAMES = ("probabilities", "embedding", "heatmap")
# Files made before there was one have no novelty, and serve without.
NOVELTY_NAME = "novelty"
# Tags of a registered version: where its file is below the version's source, and its digest.
TAG_FILE, TAG_SHA256 = "fabpilot.file", "fabpilot.sha256"
# Why a version may serve although it names fewer patterns than the one before: a person decided.
TAG_ACCEPTED = "fabpilot.accepted"
# ONNX is a protobuf message, and those end at 2 GiB; ours are a few MB. Larger is not a map model.
MAX_MODEL_BYTES = 1024**3

_Side = Annotated[int, msgspec.Meta(ge=16, le=1024)]


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the training data look like to the model, to compare other wafers with.

    Attributes:
        embedding_mean: (D,) float32, over the training maps.
        embedding_scale: (D,) float32, standard deviation of each component over them.
        class_shares: (C,) float32, mean probability of each class over them.
    """

    embedding_mean: Array
    embedding_scale: Array
    class_shares: Array


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model file says about itself.

    Attributes:
        format: of this document; a reader refuses one it does not know.
        name: the registered name, such as 'wafer-map'.
        architecture: the timm backbone and how it was changed, for people.
        labels: the classes, in the order of `probabilities`.
        multi_label: probabilities are independent (mixed patterns) rather than summing to 1.
        thresholds: one per class; a class is predicted at or above it (`multi_label` only).
        canonical_size: S.
        data_fingerprint: of the training data and split.
        metrics: measured on the held-out part, such as {'macro_f1': 0.93}.
        code_version: of fabpilot when it was trained.
        golden_maps: (G, S, S) uint8, inputs to try the model on before it may serve.
        golden_probabilities: (G, C) float32, what they gave when it was exported.
        reference: what the training data look like to it; None in files older than this.
    """

    format: int = FORMAT
    name: str
    architecture: str
    labels: tuple[str, ...]
    multi_label: bool
    thresholds: tuple[float, ...]
    canonical_size: _Side
    data_fingerprint: str
    metrics: dict[str, float]
    code_version: str
    golden_maps: Array
    golden_probabilities: Array
    reference: Reference | None = None


def encode_card(card: ModelCard) -> str:
    """The metadata document of a card."""
    return msgspec.json.encode(card).decode()


def decode_card(text: str) -> ModelCard:
    """The card in a metadata document.

    Raises:
        ModelFileError: it is not one, of another format, or contradicts itself.
    """
    try:
        card = msgspec.json.decode(text, type=ModelCard)
    except msgspec.DecodeError as error:
        raise ModelFileError(f"the model's metadata is not ours: {error}") from error
    classes = len(card.labels)
    if card.format != FORMAT:
        raise ModelFileError(f"model file format {card.format}; this version reads {FORMAT}")
    if classes < 2 or len(card.thresholds) != classes or len(set(card.labels)) != classes:
        raise ModelFileError(
            f"{classes} labels with {len(card.thresholds)} thresholds: they must be as many,"
            " at least two, and different"
        )
    size = card.canonical_size
    golden = card.golden_maps.shape
    if len(golden) != 3 or golden[1:] != (size, size) or card.golden_maps.dtype != "u1":
        raise ModelFileError(f"golden maps {golden} are not (G, {size}, {size}) uint8")
    if card.golden_probabilities.shape != (golden[0], classes):
        raise ModelFileError("golden probabilities do not match golden maps and labels")
    known = card.reference
    if known is not None and (
        known.class_shares.shape != (classes,)
        or len(known.embedding_mean.shape) != 1
        or known.embedding_mean.shape != known.embedding_scale.shape
    ):
        raise ModelFileError("the reference does not match the labels, or contradicts itself")
    return card


def predicted_labels(
    card: ModelCard, probabilities: npt.NDArray[np.floating[Any]]
) -> Sequence[str]:
    """What one row of probabilities (C,) says.

    A single-label model predicts its likeliest class. A multi-label one predicts every class at or
    above its threshold, or 'None' if there is none.
    """
    if not card.multi_label:
        return (card.labels[int(np.argmax(probabilities))],)
    over = [
        label
        for label, probability, threshold in zip(
            card.labels, probabilities, card.thresholds, strict=True
        )
        if probability >= threshold and label != "None"
    ]
    return tuple(over) or ("None",)


def missing_patterns(labels: Sequence[str], needed: Sequence[str]) -> tuple[str, ...]:
    """What a model with `labels` cannot name of `needed`; 'None' is no pattern.

    >>> missing_patterns(("Center", "Donut"), ("None", "Center", "Scratch"))
    ('Scratch',)
    """
    return tuple(label for label in needed if label != "None" and label not in labels)
