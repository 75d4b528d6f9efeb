"""Static int8: a second file that says the same with 8-bit weights and features, and runs faster.

Convolutions and what stands between them (sums, ReLU, pooling) become 8-bit. The channels and the
first convolution before them and pooling, head, calibration and heatmap after them stay float32:
they cost next to nothing, and a rounded weight of the head would move every probability. No torch.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from contracts.arrays import Array
from contracts.errors import ModelFileError
from contracts.model_file import (
    INPUT_NAME,
    METADATA_KEY,
    OUTPUT_NAMES,
    ModelCard,
    decode_card,
    encode_card,
)
from models.data import MapSet
from models.evaluate import EvaluationReport, evaluate

__all__ = [
    "CALIBRATION_MAPS",
    "INT8_SUFFIX",
    "MOST_POINTS_LOST",
    "Int8Loss",
    "calibration_maps",
    "is_int8",
    "judge_file",
    "quantize",
    "read_card",
    "with_card",
]

MOST_POINTS_LOST = 0.3
"""Of macro-F1, in points of a hundred; an int8 file that loses more may not serve."""
CALIBRATION_MAPS = 512
"""How many maps the ranges are taken from; a few hundred of all classes are enough."""
INT8_SUFFIX = ", int8"
"""What the architecture in an int8 file's card ends with."""

_BATCH = 64
# What may stand between two convolutions and has an 8-bit form. Anything else ends the 8-bit part.
_BETWEEN = frozenset({"Add", "AveragePool", "Clip", "Concat", "MaxPool", "Relu"})


@dataclass(frozen=True)
class Int8Loss:
    """What 8 bits cost.

    Attributes:
        macro_f1_fp32: of the file it was made from.
        macro_f1_int8: of the int8 file, on the same maps.
        drop_points: what was lost, in points of a hundred; negative if it gained.
        allowed: not more than `MOST_POINTS_LOST` was.
    """

    macro_f1_fp32: float
    macro_f1_int8: float
    drop_points: float
    allowed: bool

    @classmethod
    def of(cls, fp32: EvaluationReport, int8: EvaluationReport) -> "Int8Loss":
        """Compare what two files reached on the same maps."""
        drop = 100.0 * (fp32.macro_f1 - int8.macro_f1)
        return cls(fp32.macro_f1, int8.macro_f1, drop, drop <= MOST_POINTS_LOST)


def quantize(content: bytes, maps: npt.NDArray[np.uint8]) -> bytes:
    """The int8 form of a model file: QDQ, weights int8 per channel, features uint8.

    Its card says int8 and holds a golden batch of its own; the metrics are still those of the
    file it was made from, so judge it (`judge_file`) and write them with `with_card`.

    Args:
        content: an exported model file.
        maps: (N, S, S) uint8, real canonical maps of all classes, for the ranges of the features.

    Raises:
        ModelFileError: no model file of ours, already int8, without convolutions, or the maps
            are of another size.
    """
    card = read_card(content)
    size = card.canonical_size
    if is_int8(card):
        raise ModelFileError(f"{card.architecture}: it is int8 already; name the float32 file")
    if maps.ndim != 3 or maps.shape[1:] != (size, size) or not len(maps):
        raise ModelFileError(
            f"maps to calibrate on are {maps.shape}, the model takes (N, {size}, {size})"
        )
    quantized = with_card(_quantized(content, maps), card)
    golden = card.golden_maps.numpy()
    (probabilities,) = _session(quantized).run([OUTPUT_NAMES[0]], {INPUT_NAME: golden})
    return with_card(
        quantized,
        msgspec.structs.replace(
            card,
            architecture=card.architecture + INT8_SUFFIX,
            golden_probabilities=Array.of(np.asarray(probabilities, dtype=np.float32)),
        ),
    )


def calibration_maps(maps: MapSet, size: int) -> npt.NDArray[np.uint8]:
    """Maps (N, S, S) uint8 to take ranges from: at most `CALIBRATION_MAPS`, all classes alike.

    A pattern that is rare in the set would otherwise meet ranges that never saw it.

    Args:
        maps: real ones, none of them judged on.
        size: S.
    """
    shown = maps.one_hot().argmax(axis=1)
    classes = np.unique(shown)
    each = max(CALIBRATION_MAPS // len(classes), 1)
    rows = np.concatenate([_spread(np.flatnonzero(shown == number), each) for number in classes])
    return maps.subset(rows).canonical(size)


def is_int8(card: ModelCard) -> bool:
    """Whether a card is that of a file `quantize` made."""
    return card.architecture.endswith(INT8_SUFFIX)


def judge_file(content: bytes, maps: MapSet) -> EvaluationReport:
    """How good a model file is on a set, run by ONNX Runtime on the CPU.

    Raises:
        ModelFileError: no model file of ours.
        DatasetError: data and model have no class in common.
    """
    card = read_card(content)
    session = _session(content)

    def predict(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        (probabilities,) = session.run([OUTPUT_NAMES[0]], {INPUT_NAME: batch})
        return np.asarray(probabilities, dtype=np.float32)

    return evaluate(
        predict, card.labels, card.multi_label, card.thresholds, maps, card.canonical_size
    )


def read_card(content: bytes) -> ModelCard:
    """The card of a model file.

    Raises:
        ModelFileError: it is no ONNX file, or not one of ours.
    """
    documents = [p.value for p in _load(content).metadata_props if p.key == METADATA_KEY]
    if len(documents) != 1:
        raise ModelFileError(
            f"an ONNX file without {METADATA_KEY} metadata; make one with 'fabpilot train'"
        )
    return decode_card(documents[0])


def with_card(content: bytes, card: ModelCard) -> bytes:
    """The same graph with another card."""
    model = _load(content)
    kept = [p for p in model.metadata_props if p.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA_KEY, value=encode_card(card))
    written: bytes = model.SerializeToString()
    return written


def _spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most so many of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))]


def _quantized(content: bytes, maps: npt.NDArray[np.uint8]) -> bytes:
    # ONNX Runtime's tools work on files and leave some beside them.
    with tempfile.TemporaryDirectory(prefix="fabpilot-int8-") as folder, _quiet():
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in "abc")
        source.write_bytes(content)
        # Folds constants and batch norms and infers shapes. Symbolic inference is for transformers.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        nodes = _eight_bit_nodes(onnx.load(prepared))
        if not nodes:
            raise ModelFileError("the model has no second convolution, so nothing to run in 8 bits")
        quantize_static(
            prepared,
            target,
            _Maps(maps),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=nodes,
            per_channel=True,
            # What x86 multiplies: with signed features it was slower than float32.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Seven bits of weight: processors without VNNI add two products in 16 bits, which eight
            # would overflow. So the file says the same everywhere, and was not worse for it.
            reduce_range=True,
        )
        return target.read_bytes()


def _eight_bit_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of all convolutions but the first, and of what follows them with only its like between.

    The first stays float32: with three channels it does not fill an 8-bit kernel, and the whole
    model was 6 % slower with it.
    """
    names: list[str] = []
    eight_bit: set[str] = set()
    first = next((node.name for node in model.graph.node if node.op_type == "Conv"), "")
    for node in model.graph.node:  # in the order of computation, says ONNX
        if (node.op_type == "Conv" and node.name != first) or (
            node.op_type in _BETWEEN and any(name in eight_bit for name in node.input)
        ):
            names.append(node.name)
            eight_bit.update(node.output)
    return names


class _Maps(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    """Maps in batches, the way the calibrator wants them."""

    def __init__(self, maps: npt.NDArray[np.uint8]) -> None:
        self._batches: Iterator[npt.NDArray[np.uint8]] = (
            maps[first : first + _BATCH] for first in range(0, len(maps), _BATCH)
        )

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's tools warn on the root logger of what we do on purpose."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _load(content: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelFileError("not an ONNX file, or one that was cut off") from error


def _session(content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
