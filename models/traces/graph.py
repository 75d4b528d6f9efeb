"""Small ONNX graphs written node by node, checked against the numbers they stand for."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from contracts.arrays import Array
from contracts.errors import ModelFileError
from contracts.trace_model import METADATA_KEY, TraceCard, encode_trace_card

__all__ = ["Floats32", "Graph", "model_file"]

Floats32 = npt.NDArray[np.float32]

_OPSET = 17
# float32 against float64: a hundred times the rounding of sums of a thousand squares.
_TOLERANCE = 1e-3
_SCALARS = 1


class Graph:
    """A graph under construction. Names of values are given by whoever adds them."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, npt.NDArray[np.generic]] = {}

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """A constant of this name."""
        self._constants[name] = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node; its output's name."""
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def sum_rows(self, value: str, output: str) -> str:
        """(N, K) to (N,)."""
        if "last_axis" not in self._constants:
            self.constant("last_axis", [1], np.int64)
        return self.add("ReduceSum", [value, "last_axis"], output, keepdims=0)

    def top(self, value: str, count: str, output: str) -> str:
        """The `count` smallest of each row."""
        self._nodes.append(
            helper.make_node("TopK", [value, count], [output, f"{output}_at"], axis=1, largest=0)
        )
        return output

    def bytes(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """The file.

        Args:
            inputs: width K of each (N, K); 1 for (N,).
            outputs: the same.
        """
        graph = helper.make_graph(
            self._nodes,
            "traces",
            [_value(name, width) for name, width in inputs.items()],
            [_value(name, width) for name, width in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content


def model_file(
    content: bytes,
    card: TraceCard,
    inputs: Mapping[str, Floats32],
    expected: Mapping[str, npt.NDArray[np.float64]],
) -> tuple[bytes, TraceCard]:
    """The file with its card and golden rows in it.

    Args:
        content: of the graph.
        card: with anything as golden rows.
        inputs: golden rows by name.
        expected: what they must give, computed without the graph.

    Raises:
        ModelFileError: the graph gives something else.
    """
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = dict(zip(names, session.run(names, dict(inputs)), strict=True))
    for name, values in expected.items():
        allowed = _TOLERANCE * np.maximum(np.abs(values), 1.0)
        if given[name].shape != values.shape or not np.all(np.abs(given[name] - values) <= allowed):
            raise ModelFileError(
                f"the exported graph does not give the {name} that it was made from;"
                " please report this with the data set's name"
            )
    card = msgspec.structs.replace(
        card,
        golden_inputs={name: Array.of(values) for name, values in inputs.items()},
        golden_outputs={name: Array.of(values) for name, values in given.items()},
    )
    model = onnx.load_from_string(content)
    model.metadata_props.add(key=METADATA_KEY, value=encode_trace_card(card))
    return model.SerializeToString(), card


def _value(name: str, width: int) -> onnx.ValueInfoProto:
    shape: list[str | int] = ["runs"] if width == _SCALARS else ["runs", width]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
