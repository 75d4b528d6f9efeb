"""Small ONNX graphs written node by node, checked against the numbers they stand for."""

from collections.abc import Mapping
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
# ONNX IR of the same age as the opset; ONNX Runtime of that time reads both.
_IR_VERSION = 8
# float32 against float64: a hundred times the rounding of sums of a thousand squares.
_TOLERANCE = 1e-3


class Graph:
    """A graph under construction. Values get names of their own unless one is given."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """A constant's name."""
        name = f"c{len(self._constants)}"
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; the name of its output.

        Args:
            operator: of ONNX's standard set.
            inputs: names of values; those of the graph's inputs are known by themselves.
            output: give it for what the graph returns.
            attributes: of the operator.
        """
        output = output or f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def clip(self, value: str, limit: float) -> str:
        """`value` between -`limit` and `limit`."""
        return self.add("Clip", value, self.constant(-limit), self.constant(limit))

    def sum_rows(self, value: str, *, keepdims: bool = False) -> str:
        """(N, K) to (N,), or to (N, 1) with `keepdims`."""
        axes = self.constant([1], np.int64)
        return self.add("ReduceSum", value, axes, keepdims=int(keepdims))

    def top(self, value: str, count: int, *, largest: bool) -> str:
        """(N, K) to (N, count): the largest, or smallest, of each row."""
        output = f"n{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(
                "TopK",
                [value, self.constant([count], np.int64)],
                [output, f"{output}.places"],
                axis=1,
                largest=int(largest),
            )
        )
        return output

    def model(
        self, inputs: Mapping[str, int | None], outputs: Mapping[str, int | None]
    ) -> onnx.ModelProto:
        """The finished graph, checked by ONNX.

        Args:
            inputs: name to the width K of a float32 (N, K), or None for (N,).
            outputs: the same.
        """
        graph = helper.make_graph(
            self._nodes,
            "traces",
            [_value(name, width) for name, width in inputs.items()],
            [_value(name, width) for name, width in outputs.items()],
            self._constants,
        )
        made: onnx.ModelProto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        onnx.checker.check_model(made, full_check=True)
        return made


def model_file(
    model: onnx.ModelProto,
    card: TraceCard,
    inputs: Mapping[str, Floats32],
    expected: Mapping[str, npt.NDArray[np.float64]],
) -> tuple[bytes, TraceCard]:
    """The file with its card and golden rows in it.

    Args:
        model: the graph; its metadata is added to.
        card: with anything as golden rows.
        inputs: golden rows by name.
        expected: what they must give, computed without the graph.

    Raises:
        ModelFileError: the graph gives something else.
    """
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
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
    model.metadata_props.add(key=METADATA_KEY, value=encode_trace_card(card))
    return model.SerializeToString(), card


def _value(name: str, width: int | None) -> onnx.ValueInfoProto:
    shape: list[str | int] = ["runs"] if width is None else ["runs", width]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
