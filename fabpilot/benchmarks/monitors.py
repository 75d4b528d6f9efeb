"""False alarms of T2 and SPE on normal data whose distribution is known."""

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from models.traces.multivariate import (
    Moments,
    PcaMonitor,
    fit_monitor,
    jackson_mudholkar_limit,
    t2_limit,
)

__all__ = ["KINDS", "SIZES", "MonitorCase", "MonitorReport", "measure_monitors"]

SIZES: tuple[tuple[int, int], ...] = ((10, 500), (50, 500), (300, 1_500))
"""Variables, and the normal samples that a monitor of so many is fitted to."""
KINDS = ("independent", "factors", "neighbours")
_ALPHAS = (0.05, 0.01)
_NEW_SAMPLES = 10_000
_FACTORS, _NOISE, _CORRELATION = 5, 0.5, 0.8

Floats = npt.NDArray[np.float64]


class MonitorCase(msgspec.Struct, frozen=True, kw_only=True):
    """False alarms over nominal (1 is right), averaged over seeds, at 5 % and at 1 %.

    Attributes:
        variables: p.
        samples: n that each monitor was fitted to.
        data: independent, a few factors with noise, or each variable correlated with the next.
        components: that were kept, on average.
        t2: of T2 with the limits of `models.traces.multivariate`.
        spe: of SPE.
        textbook_t2: with variances of the training samples, as software usually has it.
        textbook_spe: with eigenvalues of the training samples and Jackson and Mudholkar's limit.
    """

    variables: int
    samples: int
    data: str
    components: float
    t2: tuple[float, float]
    spe: tuple[float, float]
    textbook_t2: tuple[float, float]
    textbook_spe: tuple[float, float]


class MonitorReport(msgspec.Struct, frozen=True, kw_only=True):
    """All cases, and the one farthest from nominal."""

    cases: tuple[MonitorCase, ...]
    worst: float


def measure_monitors(
    seeds: int,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    on_progress: Callable[[int], None] = lambda done: None,
) -> MonitorReport:
    """Fit monitors to Gaussian samples and count alarms among 10,000 new ones of each.

    Args:
        seeds: monitors a case.
        sizes: variables and samples.
        on_progress: called with how many cases are done.
    """
    cases = []
    for variables, samples in sizes:
        for kind in KINDS:
            found = [_one(kind, variables, samples, seed) for seed in range(seeds)]
            rates = np.mean([rates for rates, _ in found], axis=0).round(3)
            cases.append(
                MonitorCase(
                    variables=variables,
                    samples=samples,
                    data=kind,
                    components=float(np.mean([a for _, a in found])),
                    t2=(float(rates[0, 0]), float(rates[0, 1])),
                    spe=(float(rates[1, 0]), float(rates[1, 1])),
                    textbook_t2=(float(rates[2, 0]), float(rates[2, 1])),
                    textbook_spe=(float(rates[3, 0]), float(rates[3, 1])),
                )
            )
            on_progress(len(cases))
    ours = np.array([[*case.t2, *case.spe] for case in cases]).ravel()
    return MonitorReport(cases=tuple(cases), worst=float(ours[np.argmax(np.abs(ours - 1.0))]))


def _one(kind: str, variables: int, samples: int, seed: int) -> tuple[Floats, int]:
    """(4, 2) alarms over nominal: T2, SPE, and both by the textbook; and the components."""
    random = np.random.default_rng([seed, variables, KINDS.index(kind)])
    draw = _source(kind, variables, random)
    training = draw(samples)
    monitor = fit_monitor(training)
    new = draw(_NEW_SAMPLES)
    t2, spe = monitor.t2(new), monitor.spe(new)
    variances, rest = _of_training(monitor, training)
    plain = (monitor.scores(new) ** 2 / variances).sum(axis=1)
    a = len(variances)
    rates = [
        [
            (t2 > monitor.t2_limit(alpha)).mean() / alpha,
            (spe > monitor.spe_limit(alpha)).mean() / alpha,
            (plain > t2_limit(a, samples, alpha)).mean() / alpha,
            (spe > jackson_mudholkar_limit(rest, alpha)).mean() / alpha,
        ]
        for alpha in _ALPHAS
    ]
    return np.array(rates).T, a


def _of_training(monitor: PcaMonitor, training: Floats) -> tuple[Floats, Moments]:
    """Variances of scores, and moments of residuals, of the training samples themselves."""
    z = (training - monitor.mean) / monitor.scale
    eigenvalues = np.linalg.svd(z, compute_uv=False) ** 2 / (len(z) - 1)
    a = len(monitor.variances)
    rest = eigenvalues[a:]
    return eigenvalues[:a], Moments(
        float(rest.sum()), float((rest**2).sum()), float((rest**3).sum())
    )


def _source(kind: str, p: int, random: np.random.Generator) -> Callable[[int], Floats]:
    """Draws (n, p) of one normal distribution."""
    if kind == "independent":
        return lambda n: random.standard_normal((n, p))
    if kind == "factors":
        loadings = random.standard_normal((_FACTORS, p))
        return lambda n: (
            random.standard_normal((n, _FACTORS)) @ loadings
            + _NOISE * random.standard_normal((n, p))
        )
    apart = np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    root = np.linalg.cholesky(_CORRELATION**apart)
    return lambda n: random.standard_normal((n, p)) @ root.T
