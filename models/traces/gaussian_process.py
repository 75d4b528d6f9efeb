"""Gaussian process regression over what wears (counters) and what a run's traces show (signals).

The covariance of two runs is a1 exp(-|u - u'|) + a2 exp(-|z - z'|^2 / 2), u their counters and z
their signals, each divided by a length scale of its own (Rasmussen and Williams, Gaussian Processes
for Machine Learning, 2006, equations 4.9 and 4.18, automatic relevance determination of section
5.1). The exponential covariance is that of a path with corners: what wears is replaced, and then
the rate jumps.

The rows stand in the order of time. Row j of the inverse Cholesky factor uses no row after j, so
cutting both sums off at a row gives exactly what the process would say if it knew the rows before
it and nothing else: that is how a prediction is kept from using later measurements.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

__all__ = ["GaussianProcess", "fit_gaussian_process"]

FloatArray = npt.NDArray[np.float64]

_ITERATIONS = 30
_JITTER = 1e-6
# Where the search begins, and how far (standard deviations of a normal prior, in logarithms) it is
# expected to go: broad, there to keep length scales of irrelevant inputs finite.
_START = {"counters": 0.0, "signals": 1.1, "a1": 0.0, "a2": -1.5, "noise": -2.0}
_REACH = 3.0
_WIDTH = {"counters": 1.5, "signals": 1.0, "a1": 1.5, "a2": 1.5, "noise": 1.5}


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process; n rows in the order of time.

    Attributes:
        counters: (n, C), divided by their length scales.
        signals: (n, S), divided by theirs.
        counter_scales: (C,).
        signal_scales: (S,).
        a1: variance of the part over counters, of the target's variance.
        a2: variance of the part over signals.
        noise: variance of what cannot be foretold.
        inverse_cholesky: (n, n), lower triangular.
        whitened: (n,), the standardised target times the inverse factor.
        mean: of the target.
        scale: its standard deviation.
    """

    counters: FloatArray
    signals: FloatArray
    counter_scales: FloatArray
    signal_scales: FloatArray
    a1: float
    a2: float
    noise: float
    inverse_cholesky: FloatArray
    whitened: FloatArray
    mean: float
    scale: float

    def predict(
        self, counters: FloatArray, signals: FloatArray, known: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (N,) of a measurement, in the target's unit.

        Args:
            counters: (N, C), standardised as in the fit.
            signals: (N, S), standardised as in the fit.
            known: (N, n) 1 where the row's measurement may be used, else 0: a prefix of the rows.
        """
        covariance = _covariance(
            torch.from_numpy(counters / self.counter_scales),
            torch.from_numpy(signals / self.signal_scales),
            torch.from_numpy(self.counters),
            torch.from_numpy(self.signals),
            torch.tensor(self.a1),
            torch.tensor(self.a2),
        ).numpy()
        v = covariance @ self.inverse_cholesky.T
        if known is not None:
            v = v * known
        variance = (self.a1 if counters.shape[1] else 0.0) + self.a2 - (v**2).sum(axis=1)
        spread = np.sqrt(np.maximum(variance, 0.0) + self.noise) * self.scale
        return v @ self.whitened * self.scale + self.mean, spread

    def left_out(self) -> FloatArray:
        """(n,): each row's target less what the others foretell (the same book, equation 5.12)."""
        inverse = self.inverse_cholesky.T @ self.inverse_cholesky
        found: FloatArray = self.inverse_cholesky.T @ self.whitened / np.diag(inverse) * self.scale
        return found


def fit_gaussian_process(
    counters: FloatArray, signals: FloatArray, target: FloatArray
) -> GaussianProcess:
    """Fit by the largest posterior of its parameters.

    Args:
        counters: (n, C) standardised; C may be 0.
        signals: (n, S) standardised; S may be 0.
        target: (n,) finite, rows in the order of time.
    """
    c, s = counters.shape[1], signals.shape[1]
    mean, scale = float(target.mean()), float(target.std()) or 1.0
    y = torch.from_numpy((target - mean) / scale)[:, None]
    u, z = torch.from_numpy(counters), torch.from_numpy(signals)
    names = ["counters"] * c + ["signals"] * s + ["a1", "a2", "noise"]
    start = np.array([_START[name] for name in names])
    # In many dimensions distances grow with the root of their number.
    start[c : c + s] += 0.5 * np.log(max(s, 1))
    width = np.array([_WIDTH[name] for name in names])
    eye = torch.eye(len(target), dtype=torch.float64)

    def factor(theta: torch.Tensor) -> torch.Tensor:
        scales, (a1, a2, noise) = torch.exp(theta[: c + s]), torch.exp(theta[c + s :])
        left, right = u / scales[:c], z / scales[c:]
        covariance = _covariance(left, right, left, right, a1, a2)
        lower: torch.Tensor = torch.linalg.cholesky(covariance + (noise + _JITTER) * eye)
        return lower

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        at = torch.tensor(theta, requires_grad=True)
        lower = factor(at)
        white = torch.linalg.solve_triangular(lower, y, upper=False)
        prior = ((at - torch.from_numpy(start)) / torch.from_numpy(width)) ** 2
        value = 0.5 * (white**2).sum() + torch.log(torch.diagonal(lower)).sum() + 0.5 * prior.sum()
        value.backward()
        assert at.grad is not None
        return value.item(), at.grad.numpy()

    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        # A first step may be far too long; out there rows of no distance are no longer told apart.
        bounds=list(zip(start - _REACH * width, start + _REACH * width, strict=True)),
        options={"maxiter": _ITERATIONS},
    ).x
    with torch.inference_mode():
        lower = factor(torch.from_numpy(found))
        inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
        white = inverse @ y
    scales = np.exp(found)
    return GaussianProcess(
        counters=counters / scales[:c],
        signals=signals / scales[c : c + s],
        counter_scales=scales[:c],
        signal_scales=scales[c : c + s],
        a1=float(scales[c + s]),
        a2=float(scales[c + s + 1]),
        noise=float(scales[c + s + 2]) + _JITTER,
        inverse_cholesky=inverse.numpy(),
        whitened=white[:, 0].numpy(),
        mean=mean,
        scale=scale,
    )


def _covariance(
    u: torch.Tensor,
    z: torch.Tensor,
    u2: torch.Tensor,
    z2: torch.Tensor,
    a1: torch.Tensor,
    a2: torch.Tensor,
) -> torch.Tensor:
    found = a2 * torch.exp(-0.5 * _squared(z, z2))
    if u.shape[1]:
        # The root has no slope at 0, where a row meets itself.
        found = found + a1 * torch.exp(-torch.sqrt(_squared(u, u2) + 1e-12))
    return found


def _squared(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(N, n) squared distances."""
    norms = (left**2).sum(1)[:, None] + (right**2).sum(1)[None]
    return (norms - 2 * left @ right.T).clamp_min(0)
