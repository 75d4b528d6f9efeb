"""Is virtual metrology better than the module's running mean, and do its intervals hold?"""

from collections.abc import Callable

import msgspec
import numpy as np

from contracts.events import EquipmentState, Metrology, ProcessEvent, Trace, VirtualMetrology
from contracts.topics import Stream
from control.faults import FaultWatch
from control.lineage import Lineage
from control.policy import Policy
from control.state import ControlState, ModuleRecord
from control.virtual_metrology import VirtualWatch
from fab_sim import Fab, Scenario

__all__ = ["VirtualRun", "VirtualScores", "measure_virtual"]

SITE = "kr1"
_START_MS = 1_767_225_600_000
# The running mean follows the latest ten measurements of a module, as virtual metrology's own does.
_GAIN = 0.1


class VirtualScores(msgspec.Struct, frozen=True, kw_only=True):
    """Foretold against measured, for wafers that were foretold and later measured.

    Errors are divided by the standard deviation of the parameter on modules that are well.

    Attributes:
        measured: pairs.
        coverage90: share of them inside the interval.
        rmse: of virtual metrology; `rmse_mean` of the module's running mean at that time.
        ratio: of the two.
        unlike: share of the wafers that were said to be unlike what was learned from.
        width: mean width of the interval.
    """

    measured: int
    coverage90: float | None
    rmse: float | None
    rmse_mean: float | None
    ratio: float | None
    unlike: float | None
    width: float | None


class VirtualRun(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario and seed: wafers of modules that were well, and of those in an excursion."""

    scenario: str
    seed: int
    well: VirtualScores
    excursion: VirtualScores


class _Pair(msgspec.Struct):
    told: VirtualMetrology
    mean: float
    value: float = float("nan")


def measure_virtual(
    scenario: Scenario, *, seed: int, policy: Policy, on_progress: Callable[[int], None]
) -> VirtualRun:
    """Run a fab that nobody steers, with the charts and virtual metrology beside it.

    Args:
        scenario: with a `total` of lots.
        seed: of the fab.
        policy: with the charts' limits.
        on_progress: called with the number of tested wafers.
    """
    streams = {Stream.PROCESS, Stream.EQUIPMENT, Stream.TRACES, Stream.METROLOGY}
    fab = Fab(scenario, site=SITE, seed=seed, start_ms=_START_MS, streams=frozenset(streams))
    state = ControlState(SITE)
    lineage = Lineage(state, policy.detection.remember_h)
    faults, virtual = FaultWatch(state, policy.detection), VirtualWatch(policy, state, lineage)
    means: dict[tuple[str, str, str], tuple[int, float]] = {}
    open_pairs: dict[tuple[str, str, str], _Pair] = {}
    done: list[_Pair] = []
    shown = 0
    while not fab.finished:
        for event in fab.step():
            if isinstance(event, ProcessEvent):
                state.now_ms = event.time_ms
                lineage.record_visit(event)
            elif isinstance(event, EquipmentState):
                state.modules.setdefault(event.key, ModuleRecord()).kind = event.kind
                if event.state == "standby":
                    faults.forgive(event.key)
            elif isinstance(event, Trace):
                verdict = faults.watch(event)
                for told in virtual.traced(event, verdict) if verdict else ():
                    _, mean = means.get((told.key, told.step, told.parameter), (0, np.nan))
                    name = (told.substrate_id, told.step, told.parameter)
                    open_pairs[name] = _Pair(told, mean)
            elif isinstance(event, Metrology):
                virtual.measured(event)
                _note(event, lineage, means, open_pairs, done)
        if fab.wafers_done >= shown + 100:
            shown = fab.wafers_done
            on_progress(shown)
    sick = [(item.module, item.onset_ms, item.cleared_ms or 2**62) for item in fab.truth()]

    def is_sick(pair: _Pair) -> bool:
        time_ms = pair.told.time_ms
        return any(pair.told.key == m and a <= time_ms <= b for m, a, b in sick)

    ill = [pair for pair in done if is_sick(pair)]
    well = [pair for pair in done if not is_sick(pair)]
    scale: dict[tuple[str, str], float] = {}
    for pair in well:
        chart = (pair.told.step, pair.told.parameter)
        if chart not in scale:
            errors = [p.value - p.mean for p in well if (p.told.step, p.told.parameter) == chart]
            scale[chart] = float(np.sqrt(np.mean(np.square(errors))))
    return VirtualRun(
        scenario=scenario.name,
        seed=seed,
        well=_scores(well, scale),
        excursion=_scores(ill, scale),
    )


def _note(
    event: Metrology,
    lineage: Lineage,
    means: dict[tuple[str, str, str], tuple[int, float]],
    open_pairs: dict[tuple[str, str, str], _Pair],
    done: list[_Pair],
) -> None:
    """A measurement came: close its pair, then let the running mean follow."""
    value = float(np.mean(event.values))
    pair = open_pairs.pop((event.substrate_id, event.step, event.parameter), None)
    if pair is not None and np.isfinite(pair.mean):
        pair.value = value
        done.append(pair)
    wafer = lineage.wafer(event.substrate_id)
    for visit in wafer.visits if wafer else ():
        place = lineage.place(visit)
        if place.step == event.step:
            name = (place.module, event.step, event.parameter)
            known, mean = means.get(name, (0, value))
            means[name] = (known + 1, mean + max(_GAIN, 1.0 / (known + 1)) * (value - mean))
            return


def _scores(pairs: list[_Pair], scale: dict[tuple[str, str], float]) -> VirtualScores:
    kept = [p for p in pairs if scale.get((p.told.step, p.told.parameter), 0.0) > 0.0]
    if not kept:
        return VirtualScores(
            measured=0,
            coverage90=None,
            rmse=None,
            rmse_mean=None,
            ratio=None,
            unlike=None,
            width=None,
        )
    unit = np.array([scale[p.told.step, p.told.parameter] for p in kept])
    value = np.array([p.value for p in kept])
    told = np.array([p.told.predicted for p in kept])
    low, high = np.array([p.told.low for p in kept]), np.array([p.told.high for p in kept])
    rmse = float(np.sqrt(np.mean(((told - value) / unit) ** 2)))
    mean = np.array([p.mean for p in kept])
    rmse_mean = float(np.sqrt(np.mean(((mean - value) / unit) ** 2)))
    return VirtualScores(
        measured=len(kept),
        coverage90=round(float(np.mean((low <= value) & (value <= high))), 4),
        rmse=round(rmse, 4),
        rmse_mean=round(rmse_mean, 4),
        ratio=round(rmse / rmse_mean, 4),
        unlike=round(float(np.mean([p.told.unlike for p in kept])), 4),
        width=round(float(np.mean((high - low) / unit)), 3),
    )
