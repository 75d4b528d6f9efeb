"""The ONNX graph of a virtual metrology model, written node by node: no tracing, no pickle."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from contracts.trace_metrology import INPUT_NAMES, OUTPUT_NAMES
from models.traces.graph import Graph
from models.traces.thread_model import COUNTER_CLIP, LARGEST_Z, SIGNAL_CLIP, ThreadModel

__all__ = ["metrology_graph"]


def metrology_graph(threads: Sequence[ThreadModel]) -> onnx.ModelProto:
    """The graph of these threads, in the order of their indices; its signature is in the contract.

    Each thread's model runs on every row, and the row's own is taken: the rows of a request are few
    and threads are, too.
    """
    g = Graph()
    features, thread, known = INPUT_NAMES
    chosen: list[str] = []
    for index, model in enumerate(threads):
        outs = _thread(g, model, features, known)
        if not chosen:
            chosen = outs
            continue
        apart = g.add("Abs", g.add("Sub", thread, g.constant(float(index))))
        mine = g.add("Less", apart, g.constant(0.5))
        chosen = [g.add("Where", mine, new, old) for new, old in zip(outs, chosen, strict=True)]
    axis = g.constant([1], np.int64)
    for name, out in zip(OUTPUT_NAMES, chosen, strict=True):
        g.add("Squeeze", out, axis, output=name)
    width = max(len(model.standard.mean) for model in threads)
    return g.model({features: width, thread: 1, known: 1}, {name: None for name in OUTPUT_NAMES})


def _thread(g: Graph, model: ThreadModel, features: str, known: str) -> list[str]:
    """Prediction, half-width and novelty of one thread's model, each (N, 1)."""
    of = model.standard
    columns = g.constant(np.arange(len(of.mean)), np.int64)
    x = g.add("Gather", features, columns, axis=1)
    absent = g.add("IsNaN", x)
    filled = g.add("Where", absent, g.constant(of.median), x)
    moved = g.add("Sub", filled, g.constant(of.mean))
    z = g.add("Mul", moved, g.constant(1.0 / of.scale))
    s = g.clip(z, SIGNAL_CLIP)
    coefficients = g.constant(model.coefficients[:, None])
    ridge = g.add("Add", g.add("MatMul", s, coefficients), g.constant(model.intercept))
    process, spread = _process(g, model, z, s, known)
    weight = g.constant(model.weight)
    predicted = g.add(
        "Add",
        g.add("Mul", process, weight),
        g.add("Mul", ridge, g.constant(1.0 - model.weight)),
    )
    if model.weight > 0:
        half = g.add("Mul", spread, g.constant(model.quantile))
    else:
        # Zero times the ridge: as many rows as there are, all of one width.
        flat = g.constant(model.flat_spread * model.quantile)
        half = g.add("Add", g.add("Mul", ridge, g.constant(0.0)), flat)
    return [predicted, half, _novelty(g, model, absent, moved)]


def _process(g: Graph, model: ThreadModel, z: str, s: str, known: str) -> tuple[str, str]:
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
                        g.constant(-0.5),
                    ),
                ),
                g.constant(p.a2),
            )
        )
    else:
        # No signals: all rows are alike in them, and the covariance of that part is its variance.
        zero = g.add("Mul", g.sum_rows(s, keepdims=True), g.constant(0.0))
        parts.append(g.add("Add", zero, g.constant(np.full((1, len(p.whitened)), p.a2))))
    if model.counters:
        d2 = _squared(g, z, model.counters, p.counter_scales, p.counters, COUNTER_CLIP)
        distance = g.add("Sqrt", g.add("Add", d2, g.constant(1e-12)))
        parts.append(g.add("Mul", g.add("Exp", g.add("Neg", distance)), g.constant(p.a1)))
    covariance = parts[0] if len(parts) == 1 else g.add("Add", *parts)
    v = g.add("MatMul", covariance, g.constant(p.inverse_cholesky.T))
    late = g.add("LessOrEqual", g.constant(model.ends[None, :]), known)
    v = g.add("Mul", v, g.add("Cast", late, to=TensorProto.FLOAT))
    mean = g.add(
        "Add", g.add("MatMul", v, g.constant(p.whitened[:, None] * p.scale)), g.constant(p.mean)
    )
    told = g.sum_rows(g.add("Mul", v, v), keepdims=True)
    total = p.a2 + (p.a1 if model.counters else 0.0)
    left = g.add("Max", g.add("Sub", g.constant(total), told), g.constant(0.0))
    spread = g.add("Sqrt", g.add("Add", left, g.constant(p.noise)))
    return mean, g.add("Mul", spread, g.constant(p.scale))


def _squared(
    g: Graph,
    z: str,
    columns: tuple[int, ...],
    scales: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float64],
    limit: float,
) -> str:
    """(N, n) squared distances, written out: the usual expansion cancels in float32."""
    some = g.clip(g.add("Gather", z, g.constant(columns, np.int64), axis=1), limit)
    scaled = g.add("Mul", some, g.constant(1.0 / scales))
    apart = g.add(
        "Sub", g.add("Unsqueeze", scaled, g.constant([1], np.int64)), g.constant(rows[None, :, :])
    )
    return g.add("ReduceSum", g.add("Mul", apart, apart), g.constant([2], np.int64), keepdims=0)


def _novelty(g: Graph, model: ThreadModel, absent: str, moved: str) -> str:
    of = model.standard
    z = g.add("Mul", moved, g.constant(1.0 / of.reach))
    z = g.add("Where", absent, g.constant(of.missing), g.clip(z, LARGEST_Z))
    squares = g.add("Mul", z, z)
    top = g.top(squares, of.farthest(), largest=True)
    mean = g.add("ReduceMean", top, axes=[1])
    return g.add("Mul", mean, g.constant(1.0 / model.novelty_limit))
