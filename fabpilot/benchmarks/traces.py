"""How fast the fab's sensors are drawn."""

import time

import msgspec
import numpy as np

from fab_sim.kinds import KINDS
from fab_sim.randomness import generator
from fab_sim.traces import draw_trace
from fabpilot.benchmarks.stream import machine

__all__ = ["TraceRate", "measure_trace_rate"]

_MINUTES = 2.0
_LOT = 12


class TraceRate(msgspec.Struct, frozen=True):
    """Sensor readings a second on one core, jitter, noise and streams of their own included.

    Attributes:
        samples_per_s: single readings, of one variable at one time.
        traces_per_s: wafers' traces.
        slowest: the kind of module with the fewest samples a second.
        slowest_samples_per_s: of that kind.
    """

    samples_per_s: float
    traces_per_s: float
    slowest: str
    slowest_samples_per_s: float
    machine: str


def measure_trace_rate(traces: int = 300) -> TraceRate:
    """Draw so many traces of every kind of module, each from a stream of its own as the fab does.

    Processor time of this thread is counted, so that a busy machine changes little.
    """
    rates: dict[str, float] = {}
    values, seconds = 0, 0.0
    for kind, spec in KINDS.items():
        if not spec.variables:
            continue
        levels = np.array([variable.level for variable in spec.variables])
        shifts = np.zeros(len(levels))
        drawn = 0
        begin = time.thread_time()
        for number in range(traces):
            random = generator("bench", kind, number)
            trace = draw_trace(
                kind, _MINUTES, levels, shifts, order=number % _LOT, faults=(), random=random
            )
            drawn += trace.values.size
        spent = time.thread_time() - begin
        rates[kind] = drawn / spent
        values += drawn
        seconds += spent
    slowest = min(rates, key=lambda kind: rates[kind])
    return TraceRate(
        samples_per_s=values / seconds,
        traces_per_s=traces * len(rates) / seconds,
        slowest=slowest,
        slowest_samples_per_s=rates[slowest],
        machine=machine(),
    )
