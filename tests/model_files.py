"""Small model files of the real format, made without torch, for tests of whatever serves them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from contracts.arrays import Array
from contracts.model_file import METADATA_KEY, ModelCard, encode_card
from contracts.wafer_map import PATTERNS, canonical_maps
from tests.factories import wafer_grid

SIZE = 64
_CELLS = 64  # 8x8 averages of the map are embedding, heatmap and features alike


def graph(seed: int = 0, labels: tuple[str, ...] = PATTERNS, size: int = SIZE) -> onnx.ModelProto:
    """A linear classifier on 8x8 block averages; `seed` picks its weights."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 8, (_CELLS, len(labels))).astype(np.float32)
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array([255.0], np.float32), "scale"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    sides = [size // 8] * 2
    nodes = [
        helper.make_node("Cast", ["maps"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["scaled"]),
        helper.make_node("Unsqueeze", ["scaled", "axis"], ["image"]),
        helper.make_node(
            "AveragePool",
            ["image"],
            ["pooled"],
            kernel_shape=sides,
            strides=sides,
        ),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("Squeeze", ["pooled", "axis"], ["heatmap"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("maps", TensorProto.UINT8, ["N", size, size])],
            [
                helper.make_tensor_value_info(
                    "probabilities", TensorProto.FLOAT, ["N", len(labels)]
                ),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", _CELLS]),
                helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", 8, 8]),
            ],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )


def write_model(path: Path, *, seed: int = 0, size: int = SIZE, **card_changes: Any) -> Path:
    """A whole model file; `card_changes` replace fields of its card."""
    labels = card_changes.get("labels", PATTERNS)
    model = graph(seed, labels, size)
    maps = canonical_maps([wafer_grid(24, 26, 0.1, i) for i in range(4)], size)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities = session.run(["probabilities"], {"maps": maps})[0]
    card = ModelCard(
        name="wafer-map",
        architecture="linear test model",
        labels=labels,
        multi_label=False,
        thresholds=(0.5,) * len(labels),
        canonical_size=size,
        data_fingerprint="test",
        metrics={"macro_f1": 0.5},
        code_version="test",
        golden_maps=Array.of(maps),
        golden_probabilities=Array.of(probabilities),
    )
    card = msgspec.structs.replace(card, **card_changes)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, encode_card(card)
    path.write_bytes(model.SerializeToString())
    return path
