"""Detectors of faults over deviations from the tool's own reference, and their ONNX graph.

Over P deviations z of a run (standard deviations, `tool_matching`), clipped to +-5 so that no one
sensor decides alone:

- `score`, what alarms are made from: (T2 + SPE/s^2) over its limit, s^2 the variance of a residual.
  That is the distance under a Gaussian with some strong directions and equal noise in all others
  (M. E. Tipping and C. M. Bishop, J. R. Statist. Soc. B 61, 1999): each direction weighs the same;
- `t2` and `spe`, its parts; `largest`, the greatest |z|: univariate limits per variable and step;
- `nearest`, the learned one: distance to the three most alike of the training runs;
- `contributions`, what each variable adds to the score (complete decomposition, C. F.
  Alcala and S. J. Qin, Automatica 45 (2009)), of deviations that are not clipped: of two sensors
  far outside, the farther one is the better clue.

A deviation that is not known (NaN) adds nothing, and the sums are scaled up for those that are.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto
from scipy.stats import chi2, norm

from contracts.trace_fault import INPUT
from models.traces.graph import Graph
from models.traces.multivariate import PcaMonitor, fit_monitor

__all__ = ["INPUT", "OUTPUTS", "Detector", "fit_detector", "graph_of"]

OUTPUTS = ("score", "t2", "spe", "largest", "nearest", "contributions")

_CLIP = 5.0
# Far outside is far outside: squares of more would drown float32.
_FARTHEST = 1_000.0
_NEIGHBOURS = 3
_BLOCKS = 5
_ALPHA = 0.01

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Detector:
    """A fitted detector of P deviations.

    Attributes:
        monitor: principal components of training deviations.
        residual: s^2, variance of a residual.
        limit: of T2 + SPE/s^2, exceeded by one normal run in a hundred.
        root: (P, P) symmetric; the squares of z root sum up to the score.
        training: (N, P) clipped deviations of training runs.
        owner: (P, V) 1 where a feature is one of a variable.
        univariate_limit: of |z|, exceeded by any of the P deviations in one run in a hundred.
    """

    monitor: PcaMonitor
    residual: float
    limit: float
    root: Floats
    training: Floats
    owner: Floats
    univariate_limit: float

    def apply(self, deviations: Floats) -> dict[str, Floats]:
        """What the graph gives, in float64.

        Args:
            deviations: (N, P), NaN where unknown.

        Returns:
            By name of `OUTPUTS`: (N,), and contributions (N, V).
        """
        there = ~np.isnan(deviations)
        p = deviations.shape[1]
        share = p / np.maximum(there.sum(axis=1), 1)
        whole = np.clip(np.where(there, deviations, 0.0), -_FARTHEST, _FARTHEST)
        z = np.clip(whole, -_CLIP, _CLIP)
        t = z @ self.monitor.directions
        t2 = (t**2 / self.monitor.variances).sum(axis=1) * share
        rest = np.where(there, z - t @ self.monitor.directions.T, 0.0)
        spe = (rest**2).sum(axis=1) * share
        gap = (z**2).sum(axis=1)[:, np.newaxis] - 2.0 * z @ self.training.T
        squares = np.sort(gap + (self.training**2).sum(axis=1), axis=1)[:, :_NEIGHBOURS]
        return {
            "score": (t2 + spe / self.residual) / self.limit,
            "t2": t2,
            "spe": spe,
            "largest": np.abs(whole).max(axis=1),
            "nearest": np.sqrt(np.maximum(squares, 0.0).mean(axis=1) * share),
            "contributions": (whole @ self.root) ** 2 @ self.owner,
        }


def fit_detector(deviations: Floats, owner: Floats) -> Detector:
    """Fit to the deviations of normal runs, in time.

    Args:
        deviations: (N, P) of at least 10 runs, NaN where unknown.
        owner: (P, V) 1 where a feature is one of a variable.
    """
    z = np.clip(np.nan_to_num(deviations), -_CLIP, _CLIP)
    monitor = fit_monitor(z, standardise=False)
    residual, limit = _residual(monitor), _limit(z)
    across = np.eye(z.shape[1]) - monitor.directions @ monitor.directions.T
    along = monitor.directions / np.sqrt(monitor.variances) @ monitor.directions.T
    p = z.shape[1]
    return Detector(
        monitor=monitor,
        residual=residual,
        limit=limit,
        # Both are symmetric and their products vanish: the square of the sum is the sum of squares.
        root=(across / np.sqrt(residual) + along) / np.sqrt(limit),
        training=z,
        owner=owner,
        univariate_limit=float(norm.isf(_ALPHA / (2 * p))),
    )


def _residual(monitor: PcaMonitor) -> float:
    p, a = monitor.directions.shape
    return float(monitor.residual.theta1 / (p - a))


def _limit(z: Floats) -> float:
    """Limit of T2 + SPE/s^2: g chi2(h) with the mean and variance of runs held out."""
    scores = []
    for block in np.array_split(np.arange(len(z)), _BLOCKS):
        rest = np.delete(z, block, axis=0)
        # Fewer runs than a monitor needs: those of training are all there is.
        fitted = fit_monitor(rest if len(rest) >= 2 * _BLOCKS else z, standardise=False)
        scores.append(fitted.t2(z[block]) + fitted.spe(z[block]) / _residual(fitted))
    score = np.concatenate(scores)
    mean, variance = float(score.mean()), max(float(score.var(ddof=1)), 1e-12)
    return float(variance / (2 * mean) * chi2.isf(_ALPHA, 2 * mean**2 / variance))


def graph_of(detector: Detector) -> onnx.ModelProto:
    """The detector as an ONNX graph: `INPUT` (N, P) to `OUTPUTS`."""
    p, v = detector.owner.shape
    directions, variances = detector.monitor.directions, detector.monitor.variances
    g = Graph()
    zero, one = g.constant(0.0), g.constant(1.0)
    missing = g.add("IsNaN", INPUT)
    there = g.add("Cast", g.add("Not", missing), to=TensorProto.FLOAT)
    share = g.add("Div", g.constant(float(p)), g.add("Max", g.sum_rows(there), one))
    whole = g.clip(g.add("Where", missing, zero, INPUT), _FARTHEST)
    z = g.clip(whole, _CLIP)
    t = g.add("MatMul", z, g.constant(directions))
    weighted = g.add("Div", g.add("Mul", t, t), g.constant(variances))
    t2 = g.add("Mul", g.sum_rows(weighted), share, output="t2")
    back = g.add("MatMul", t, g.constant(directions.T))
    rest = g.add("Mul", g.add("Sub", z, back), there)
    spe = g.add("Mul", g.sum_rows(g.add("Mul", rest, rest)), share, output="spe")
    both = g.add("Add", t2, g.add("Div", spe, g.constant(detector.residual)))
    g.add("Div", both, g.constant(detector.limit), output="score")
    g.add("ReduceMax", g.add("Abs", whole), output="largest", axes=[1], keepdims=0)
    # |z - x|^2 = |z|^2 - 2 z.x + |x|^2, written out: N by P by training runs would not fit.
    length = g.sum_rows(g.add("Mul", z, z), keepdims=True)
    cross = g.add("MatMul", z, g.constant(-2.0 * detector.training.T))
    own = g.constant((detector.training**2).sum(axis=1))
    squares = g.add("Add", g.add("Add", cross, length), own)
    closest = g.add("Max", g.top(squares, _NEIGHBOURS, largest=False), zero)
    mean = g.add("ReduceMean", closest, axes=[1], keepdims=0)
    g.add("Sqrt", g.add("Mul", mean, share), output="nearest")
    turned = g.add("MatMul", whole, g.constant(detector.root))
    each = g.add("Mul", turned, turned)
    g.add("MatMul", each, g.constant(detector.owner), output="contributions")
    widths = {name: v if name == "contributions" else None for name in OUTPUTS}
    return g.model({INPUT: p}, widths)
