"""Does run-to-run control do what its theory says? The loop is closed around a made-up process."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from control.gain_watch import stable_gain_ratio
from control.run_to_run import Controller, Tuning, follow, recommended
from fabpilot.benchmarks.stream import machine

__all__ = [
    "BORDERS",
    "DRIFTS",
    "GUARDED",
    "NOISES",
    "Border",
    "Drift",
    "Guarded",
    "Noise",
    "RunToRunBench",
    "close_loop",
    "measure_run_to_run",
]

_TARGET, _GAIN, _NOMINAL = 100.0, 2.0, 50.0


class Loop(NamedTuple):
    """A loop: weights, gain ratio, and runs made before a measurement is used."""

    weight: float
    drift_weight: float
    ratio: float
    delay: int = 0


# weight, second weight, delay
BORDERS = ((0.3, 0.0, 0), (0.7, 0.0, 0), (0.3, 0.3, 0), (0.3, 0.0, 2), (0.3, 0.2, 3))
DRIFTS = tuple(Loop(w, v, xi) for w, v in ((0.3, 0.0), (0.3, 0.3)) for xi in (0.5, 1.0, 1.6))
NOISES = tuple(Loop(w, 0.0, xi) for w in (0.2, 0.5, 0.8) for xi in (0.5, 1.0, 1.6))
GUARDED = ((0.4, -0.5), (0.4, 0.5), (0.4, 1.0), (0.8, 1.0), (0.8, 1.5), (0.8, 2.75), (0.4, 6.0))


class Border(msgspec.Struct, frozen=True):
    """Where the loop becomes unstable.

    Attributes:
        weight: w1.
        drift_weight: w2.
        delay: runs a measurement comes late.
        computed: gain ratio of the border, as the formulas say.
        simulated: the same, halved in until the closed loop dies out or not.
        negative_is_stable: whether it died out with a slightly wrong sign; it must not.
    """

    weight: float
    drift_weight: float
    delay: int
    computed: float
    simulated: float
    negative_is_stable: bool


class Drift(msgspec.Struct, frozen=True):
    """Offset from the target of a process that drifts by one unit a run."""

    weight: float
    drift_weight: float
    gain_ratio: float
    computed: float
    simulated: float


class Noise(msgspec.Struct, frozen=True):
    """Variance of the output where nothing but white noise of variance 1 disturbs it."""

    weight: float
    gain_ratio: float
    computed: float
    simulated: float


class Guarded(msgspec.Struct, frozen=True):
    """What the guard did in loops with noise and a wandering disturbance.

    Attributes:
        weight: w1.
        gain_ratio: the true one.
        stable: whether the loop is, with the margin.
        loops: simulated, 300 runs each.
        stopped: of them.
        runs_to_stop: median over those; None where none stopped.
        estimate: of the gain ratio at the end, median over the loops that knew it; None if none.
    """

    weight: float
    gain_ratio: float
    stable: bool
    loops: int
    stopped: int
    runs_to_stop: float | None
    estimate: float | None


class RunToRunBench(msgspec.Struct, frozen=True):
    """Formulas and simulations side by side."""

    borders: tuple[Border, ...]
    drifts: tuple[Drift, ...]
    noises: tuple[Noise, ...]
    guarded: tuple[Guarded, ...]
    machine: str


def measure_run_to_run(seed: int, loops: int, progress: Callable[[], None]) -> RunToRunBench:
    """Run all of it.

    Args:
        seed: of the noise.
        loops: that the guard is tried on, of each kind.
        progress: told after each of the pieces.
    """
    borders, drifts, noises, guarded = [], [], [], []
    for weight, drift_weight, delay in BORDERS:
        borders.append(_border(weight, drift_weight, delay))
        progress()
    for loop in DRIFTS:
        drifts.append(_drift(loop))
        progress()
    for loop in NOISES:
        noises.append(_noise(loop, seed))
        progress()
    for weight, ratio in GUARDED:
        guarded.append(_guarded(weight, ratio, seed, loops))
        progress()
    return RunToRunBench(tuple(borders), tuple(drifts), tuple(noises), tuple(guarded), machine())


def close_loop(loop: Loop, disturbances: list[float]) -> list[float]:
    """Deviations of the output from the target, run by run, without limits or guard.

    Args:
        loop: weights, gain ratio, delay.
        disturbances: of each run.
    """
    level, drift = _TARGET - _GAIN * _NOMINAL, 0.0
    made: list[tuple[float, float]] = []
    apart = []
    for run, disturbance in enumerate(disturbances):
        set_point = recommended(level, drift, _TARGET, _GAIN)
        change = loop.ratio * _GAIN * (set_point - _NOMINAL)
        output = _TARGET + change + disturbance
        made.append((output, set_point))
        apart.append(output - _TARGET)
        if run >= loop.delay:
            measured, used = made[run - loop.delay]
            level, drift = follow(
                level, drift, measured - _GAIN * used, loop.weight, loop.drift_weight
            )
    return apart


def _dies_out(loop: Loop) -> bool:
    """Whether a step disturbance is gone in the end."""
    apart = close_loop(loop, [1.0] * 4000)
    return max(abs(value) for value in apart[-50:]) < 1.0


def _border(weight: float, drift_weight: float, delay: int) -> Border:
    computed = stable_gain_ratio(weight, drift_weight, delay)
    low, high = 0.5 * computed, 1.5 * computed
    for _ in range(10):
        middle = 0.5 * (low + high)
        if _dies_out(Loop(weight, drift_weight, middle, delay)):
            low = middle
        else:
            high = middle
    wrong = _dies_out(Loop(weight, drift_weight, -0.05, delay))
    return Border(weight, drift_weight, delay, computed, low, wrong)


def _drift(loop: Loop) -> Drift:
    apart = close_loop(loop, [float(run) for run in range(3000)])
    computed = 0.0 if loop.drift_weight > 0.0 else 1.0 / (loop.weight * loop.ratio)
    return Drift(loop.weight, loop.drift_weight, loop.ratio, computed, round(apart[-1], 6))


def _noise(loop: Loop, seed: int) -> Noise:
    noise = np.random.default_rng([seed, 1]).normal(size=200_000).tolist()
    apart = np.array(close_loop(loop, noise))
    computed = 2.0 / (2.0 - loop.weight * loop.ratio)
    return Noise(loop.weight, loop.ratio, round(computed, 4), round(float(apart.var()), 4))


def _guarded(weight: float, ratio: float, seed: int, loops: int) -> Guarded:
    stops, estimates = [], []
    for number in range(loops):
        stop, estimate = _one_guarded(weight, ratio, seed * 1000 + number)
        if stop is not None:
            stops.append(stop)
        if estimate is not None:
            estimates.append(estimate)
    return Guarded(
        weight=weight,
        gain_ratio=ratio,
        stable=0.0 < ratio < stable_gain_ratio(weight, 0.0, 0),
        loops=loops,
        stopped=len(stops),
        runs_to_stop=float(np.median(stops)) if stops else None,
        estimate=round(float(np.median(estimates)), 2) if estimates else None,
    )


def _one_guarded(weight: float, ratio: float, seed: int) -> tuple[int | None, float | None]:
    random = np.random.default_rng([seed, 2])
    tuning = Tuning(
        target=_TARGET,
        gain=_GAIN,
        weight=weight,
        drift_weight=0.0,
        low=_NOMINAL - 20.0,
        high=_NOMINAL + 20.0,
        max_step=5.0,
        dead_band=0.0,
        noise=1.0,
        learn=3,
    )
    controller = Controller(tuning, _NOMINAL)
    wandering = 0.0
    for run in range(300):
        wandering += 0.3 * random.normal()
        change = ratio * _GAIN * (controller.set_point - _NOMINAL)
        output = _TARGET + change + wandering + random.normal()
        controller.changed(controller.measured(output, 2 * run, 2 * run), 2 * run + 1)
        if controller.status == "stopped":
            return run, controller.gain_ratio
    return None, controller.gain_ratio
