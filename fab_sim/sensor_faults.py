"""Sensors fail too: stuck, spiking, silent or coarse ones, while the process itself is well.

A fault has a beginning and an end in wafers through its module. Faults that come by chance depend
on names alone (site, seed, module, sensor), so that a fab which catches up after a crash knows them
without having drawn anything.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from fab_sim.kinds import KINDS
from fab_sim.randomness import generator, logic_random

__all__ = [
    "FAULT_KINDS",
    "MAX_WAFERS",
    "WAFERS_PER_FAULT",
    "FaultKind",
    "SensorFault",
    "active",
    "apply_fault",
    "chance_faults",
]

FaultKind = Literal["stuck", "spike", "dropout", "quantised"]
FAULT_KINDS: tuple[FaultKind, ...] = ("stuck", "spike", "dropout", "quantised")

# A module has some twenty sensors; one of them begins to fail about once in so many wafers, which
# is a few weeks of a busy module, and somebody has seen to it within a shift or two.
WAFERS_PER_FAULT, _MEAN_WAFERS = 4000.0, 12.0
# Chance faults are drawn block by block, so that any wafer's are found without the ones before.
_BLOCK = 1000

# How the kinds show, in spreads of the sensor and shares of the samples.
_SPIKE_SHARE, _SPIKE_SPREADS = 0.03, (12.0, 40.0)
_GAPS, _GAP_SHARE = (1, 4), (0.03, 0.15)
_QUANTUM_SPREADS = 4.0

Floats32 = npt.NDArray[np.float32]
MAX_WAFERS = 25_000_000
"""More than any module ever treats."""

WaferCount = Annotated[int, msgspec.Meta(ge=0, le=MAX_WAFERS)]


class SensorFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sensor that does not say what is.

    Attributes:
        module: 'equipment/module'.
        variable: of the module's kind.
        kind: 'stuck' repeats one reading; 'spike' jumps for single samples; 'dropout' says nothing
            for a while (NaN); 'quantised' has lost its resolution.
        onset: wafers through the module before the first one it shows on.
        until: wafers through the module when it is repaired; that wafer is read well again.
    """

    module: str
    variable: str
    kind: FaultKind
    onset: WaferCount
    until: WaferCount


def chance_faults(
    key: str, module: str, kind: str, wafer: int, wafers_per_fault: float = WAFERS_PER_FAULT
) -> tuple[SensorFault, ...]:
    """Faults by chance that a module's sensors have while it treats a wafer.

    Args:
        key: site and seed.
        module: 'equipment/module'.
        kind: of the module.
        wafer: how many wafers it has treated before, in all its life.
        wafers_per_fault: wafers through a module from one fault of its sensors to the next, on
            average; infinite for sensors that never fail.
    """
    block = wafer // _BLOCK
    drawn = _drawn(key, module, kind, block, wafers_per_fault)
    # One that began in the block before may last into this one.
    before = _drawn(key, module, kind, block - 1, wafers_per_fault) if block else ()
    return active((*before, *drawn), module, wafer) if before or drawn else ()


@lru_cache(maxsize=1024)
def _drawn(
    key: str, module: str, kind: str, block: int, wafers_per_fault: float
) -> tuple[SensorFault, ...]:
    chance = logic_random(key, "sensor-faults", module, block)
    variables = KINDS[kind].variables
    if not variables or not math.isfinite(wafers_per_fault):
        return ()
    found = []
    at = block * _BLOCK + chance.expovariate(1.0 / wafers_per_fault)
    while at < (block + 1) * _BLOCK:
        onset = int(at)
        lasts = 1 + min(int(chance.expovariate(1.0 / _MEAN_WAFERS)), _BLOCK - 1)
        found.append(
            SensorFault(
                module=module,
                variable=chance.choice(variables).name,
                kind=chance.choice(FAULT_KINDS),
                onset=onset,
                until=onset + lasts,
            )
        )
        at += chance.expovariate(1.0 / wafers_per_fault)
    return tuple(found)


def active(faults: Iterable[SensorFault], module: str, wafer: int) -> tuple[SensorFault, ...]:
    """Those of `faults` that a module shows on a wafer; `wafer` counts from its first."""
    return tuple(
        fault for fault in faults if fault.module == module and fault.onset <= wafer < fault.until
    )


def apply_fault(
    fault: SensorFault,
    readings: Floats32,
    level: float,
    spread: float,
    random: np.random.Generator,
) -> None:
    """Spoil one sensor's readings, in place.

    Args:
        fault: what is wrong with it.
        readings: (samples,) float32 as a good sensor would give them.
        level: of the main phase, in the variable's unit.
        spread: wafer to wafer, in the variable's unit.
        random: the trace's own stream.
    """
    _APPLY[fault.kind](fault, readings, level, spread, random)


def _stuck(
    fault: SensorFault,
    readings: Floats32,
    level: float,
    spread: float,
    random: np.random.Generator,
) -> None:
    # The last reading before it stuck: one value on all its wafers, so not from the wafer's stream.
    own = generator("stuck", fault.module, fault.variable, fault.onset)
    readings[:] = level + spread * float(own.normal())


def _spike(
    fault: SensorFault,
    readings: Floats32,
    level: float,
    spread: float,
    random: np.random.Generator,
) -> None:
    samples = len(readings)
    count = max(1, int(random.poisson(_SPIKE_SHARE * samples)))
    places = random.integers(0, samples, size=count)
    heights = random.uniform(*_SPIKE_SPREADS, size=count)
    signs = 1.0 - 2.0 * random.integers(0, 2, size=count)
    readings[places] += (spread * heights * signs).astype(np.float32)


def _dropout(
    fault: SensorFault,
    readings: Floats32,
    level: float,
    spread: float,
    random: np.random.Generator,
) -> None:
    samples = len(readings)
    for _ in range(int(random.integers(*_GAPS, endpoint=True))):
        length = max(1, int(samples * float(random.uniform(*_GAP_SHARE))))
        start = int(random.integers(0, samples))
        readings[start : start + length] = np.nan


def _quantised(
    fault: SensorFault,
    readings: Floats32,
    level: float,
    spread: float,
    random: np.random.Generator,
) -> None:
    quantum = np.float32(_QUANTUM_SPREADS * spread)
    readings[:] = np.rint(readings / quantum) * quantum


_APPLY = {"stuck": _stuck, "spike": _spike, "dropout": _dropout, "quantised": _quantised}
