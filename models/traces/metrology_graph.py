"""The ONNX graph of a virtual metrology model, written node by node: no tracing, no pickle."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from contracts.trace_metrology import INPUT_NAMES, OUTPUT_NAMES
from models.traces.thread_model import COUNTER_CLIP, LARGEST_Z, SIGNAL_CLIP, ThreadModel

__all__ = ["OPSET", "metrology_graph"]

OPSET = 17
# ONNX IR of the same age as the opset; ONNX Runtime of that time reads both.
_IR_VERSION = 8


class _Graph:
    """Nodes and constants under names of their own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(
        self, op: str, *inputs: str, output: int = 0, outputs: int = 1, **attributes: Any
    ) -> str:
        names = [f"n{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[output]

    def clip(self, x: str, limit: float) -> str:
        return self.add("Clip", x, self.const(-limit), self.const(limit))


def metrology_graph(threads: Sequence[ThreadModel]) -> onnx.ModelProto:
    """The graph of these threads, in the order of their indices; its signature is in the contract.

    Each thread's model runs on every row, and the row's own is taken: the rows of a request are few
    and threads are, too.
    """
    g = _Graph()
    features, thread, known = INPUT_NAMES
    chosen: list[str] = []
    for index, model in enumerate(threads):
        outs = _thread(g, model, features, known)
        if not chosen:
            chosen = outs
            continue
        apart = g.add("Abs", g.add("Sub", thread, g.const(float(index))))
        mine = g.add("Less", apart, g.const(0.5))
        chosen = [g.add("Where", mine, new, old) for new, old in zip(outs, chosen, strict=True)]
    axis = g.const([1], np.int64)
    for name, out in zip(OUTPUT_NAMES, chosen, strict=True):
        g.nodes.append(helper.make_node("Squeeze", [out, axis], [name]))
    width = max(len(model.standard.mean) for model in threads)
    graph = helper.make_graph(
        g.nodes,
        "virtual_metrology",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns])
            for name, columns in zip(INPUT_NAMES, (width, 1, 1), strict=True)
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch"]) for n in OUTPUT_NAMES],
        g.constants,
    )
    made: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
    )
    return made


def _thread(g: _Graph, model: ThreadModel, features: str, known: str) -> list[str]:
    """Prediction, half-width and novelty of one thread's model, each (N, 1)."""
    of = model.standard
    columns = g.const(np.arange(len(of.mean)), np.int64)
    x = g.add("Gather", features, columns, axis=1)
    absent = g.add("IsNaN", x)
    filled = g.add("Where", absent, g.const(of.median), x)
    moved = g.add("Sub", filled, g.const(of.mean))
    z = g.add("Mul", moved, g.const(1.0 / of.scale))
    s = g.clip(z, SIGNAL_CLIP)
    coefficients = g.const(model.coefficients[:, None])
    ridge = g.add("Add", g.add("MatMul", s, coefficients), g.const(model.intercept))
    process, spread = _process(g, model, z, s, known)
    weight = g.const(model.weight)
    predicted = g.add(
        "Add",
        g.add("Mul", process, weight),
        g.add("Mul", ridge, g.const(1.0 - model.weight)),
    )
    if model.weight > 0:
        half = g.add("Mul", spread, g.const(model.quantile))
    else:
        # Zero times the ridge: as many rows as there are, all of one width.
        flat = g.const(model.flat_spread * model.quantile)
        half = g.add("Add", g.add("Mul", ridge, g.const(0.0)), flat)
    return [predicted, half, _novelty(g, model, absent, moved)]


def _process(g: _Graph, model: ThreadModel, z: str, s: str, known: str) -> tuple[str, str]:
    p = model.process
    parts = []
    if model.signals:
        parts.append(
            g.add(
                "Mul",
                g.add(
                    "Exp",
                    g.add(
                        "Mul",
                        _squared(g, s, model.signals, p.signal_scales, p.signals, SIGNAL_CLIP),
                        g.const(-0.5),
                    ),
                ),
                g.const(p.a2),
            )
        )
    else:
        # No signals: all rows are alike in them, and the covariance of that part is its variance.
        zero = g.add("Mul", g.add("ReduceSum", s, g.const([1], np.int64)), g.const(0.0))
        parts.append(g.add("Add", zero, g.const(np.full((1, len(p.whitened)), p.a2))))
    if model.counters:
        d2 = _squared(g, z, model.counters, p.counter_scales, p.counters, COUNTER_CLIP)
        distance = g.add("Sqrt", g.add("Add", d2, g.const(1e-12)))
        parts.append(g.add("Mul", g.add("Exp", g.add("Neg", distance)), g.const(p.a1)))
    covariance = parts[0] if len(parts) == 1 else g.add("Add", *parts)
    v = g.add("MatMul", covariance, g.const(p.inverse_cholesky.T))
    late = g.add("LessOrEqual", g.const(model.ends[None, :]), known)
    v = g.add("Mul", v, g.add("Cast", late, to=TensorProto.FLOAT))
    mean = g.add("Add", g.add("MatMul", v, g.const(p.whitened[:, None] * p.scale)), g.const(p.mean))
    told = g.add("ReduceSum", g.add("Mul", v, v), g.const([1], np.int64))
    total = p.a2 + (p.a1 if model.counters else 0.0)
    left = g.add("Max", g.add("Sub", g.const(total), told), g.const(0.0))
    spread = g.add("Sqrt", g.add("Add", left, g.const(p.noise)))
    return mean, g.add("Mul", spread, g.const(p.scale))


def _squared(
    g: _Graph,
    z: str,
    columns: tuple[int, ...],
    scales: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float64],
    limit: float,
) -> str:
    """(N, n) squared distances, written out: the usual expansion cancels in float32."""
    some = g.clip(g.add("Gather", z, g.const(columns, np.int64), axis=1), limit)
    scaled = g.add("Mul", some, g.const(1.0 / scales))
    apart = g.add(
        "Sub", g.add("Unsqueeze", scaled, g.const([1], np.int64)), g.const(rows[None, :, :])
    )
    return g.add("ReduceSum", g.add("Mul", apart, apart), g.const([2], np.int64), keepdims=0)


def _novelty(g: _Graph, model: ThreadModel, absent: str, moved: str) -> str:
    of = model.standard
    z = g.add("Mul", moved, g.const(1.0 / of.reach))
    z = g.add("Where", absent, g.const(of.missing), g.clip(z, LARGEST_Z))
    squares = g.add("Mul", z, z)
    top = g.add("TopK", squares, g.const([of.farthest()], np.int64), axis=1, outputs=2)
    mean = g.add("ReduceMean", top, axes=[1])
    return g.add("Mul", mean, g.const(1.0 / model.novelty_limit))
