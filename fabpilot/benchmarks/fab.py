"""How fast the synthetic fab is, beside what its parts could do alone."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from contracts.events import Trace
from contracts.topics import Stream
from fab_sim import Fab, Scenario
from fab_sim.maps import probe_wafer
from fab_sim.randomness import generator

__all__ = ["FabSpeed", "measure_fab"]

_START_MS = 1_767_225_600_000
_BARE_MAPS, _BARE_NUMBERS = 2_000, 4_000_000
_MIB = 1024.0 * 1024.0


class FabSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """Speed of a fab on one core.

    Attributes:
        wafers_per_s: with maps alone; `bare_maps_per_s` is the drawing of a map without a fab
            around it, `ratio` of the two.
        trace_samples_per_s: values of traces, with traces alone; `bare_normals_per_s` is how many
            normal numbers numpy draws, `trace_ratio` of the two.
        mib_early: resident memory after a tenth of the wafers, `mib_late` at the end, and
            `memory_growth` of the two.
        steps: of the route.
    """

    scenario: str
    wafers: int
    steps: int
    wafers_per_s: float
    bare_maps_per_s: float
    ratio: float
    trace_samples: int
    trace_samples_per_s: float
    bare_normals_per_s: float
    trace_ratio: float
    mib_early: float
    mib_late: float
    memory_growth: float
    machine: str


def measure_fab(
    scenario: Scenario,
    *,
    wafers: int,
    traced_wafers: int,
    machine: str,
    on_progress: Callable[[int], None],
) -> FabSpeed:
    """Run a fab with maps alone, then one with traces alone.

    Args:
        scenario: made endless.
        wafers: to test with maps alone.
        traced_wafers: to test with traces alone.
        machine: what to call it.
        on_progress: called with the wafers tested.
    """
    endless = msgspec.structs.replace(
        scenario, lots=msgspec.structs.replace(scenario.lots, total=None)
    )
    fab = Fab(endless, site="kr1", start_ms=_START_MS, streams=frozenset({Stream.WAFER_MAPS}))
    began = time.perf_counter()
    early = 0.0
    shown = 0
    while fab.wafers_done < wafers:
        fab.step()
        if fab.wafers_done >= shown + 500:
            shown = fab.wafers_done
            on_progress(shown)
            if not early and shown >= wafers / 10:
                early = _resident_mib()
    wafers_per_s = fab.wafers_done / (time.perf_counter() - began)
    late = _resident_mib()
    samples, seconds = _traced(endless, traced_wafers)
    bare_maps, bare_normals = _bare_maps(endless), _bare_normals()
    return FabSpeed(
        scenario=scenario.name,
        wafers=wafers,
        steps=len(scenario.route),
        wafers_per_s=wafers_per_s,
        bare_maps_per_s=bare_maps,
        ratio=wafers_per_s / bare_maps,
        trace_samples=samples,
        trace_samples_per_s=samples / seconds,
        bare_normals_per_s=bare_normals,
        trace_ratio=samples / seconds / bare_normals,
        mib_early=early or late,
        mib_late=late,
        memory_growth=late / (early or late),
        machine=machine,
    )


def _traced(scenario: Scenario, wafers: int) -> tuple[int, float]:
    fab = Fab(scenario, site="kr1", start_ms=_START_MS, streams=frozenset({Stream.TRACES}))
    began = time.perf_counter()
    samples = 0
    while fab.wafers_done < wafers:
        for event in fab.step():
            if isinstance(event, Trace):
                samples += event.values.shape[0] * event.values.shape[1]
    return samples, time.perf_counter() - began


def _bare_maps(scenario: Scenario) -> float:
    began = time.perf_counter()
    for number in range(_BARE_MAPS):
        probe_wafer(
            scenario.products[number % len(scenario.products)],
            (),
            detuned=0.0,
            variety=scenario.variety,
            random=generator("bare", number),
        )
    return _BARE_MAPS / (time.perf_counter() - began)


def _bare_normals() -> float:
    random = np.random.Generator(np.random.PCG64(1))
    began = time.perf_counter()
    random.standard_normal(_BARE_NUMBERS)
    return _BARE_NUMBERS / (time.perf_counter() - began)


def _resident_mib() -> float:
    """Resident memory now; where a system does not tell, the most there has been."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
