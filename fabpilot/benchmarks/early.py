"""Does a cause show before it hurts? A reference detector on every failure mode that grows.

The detector is the textbook's and knows nothing of failure modes: Hotelling's T2, or its moving
average, on the mean of every variable in every step of the recipe, trained on a module's own quiet
wafers. The question is whether it sees a mode before the first wafer whose failure rate the mode
has doubled. If not, the fab's physics is wrong: a sensor that moves only after the wafers are hurt
does not sense the cause.
"""

import copy
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import f as fisher_f

from contracts.wafer_map import FAIL, OFF
from fab_sim.kinds import KINDS
from fab_sim.maps import Hit, probe_wafer
from fab_sim.modes import MODES
from fab_sim.modules import Module
from fab_sim.randomness import generator, logic_random
from fab_sim.scenario import NEVER_DOWN, Equipment, Excursion, Product
from fab_sim.traces import draw_trace, phase_slices
from fabpilot.benchmarks.stream import machine

__all__ = ["EarlyBench", "Lead", "Watch", "bench_kinds", "measure_early", "step_means"]

# Wafers of a lot that one of two modules treats; the next lot finds it cold again.
_LOT = 12
# Minutes of a recipe: a wafer at a time, and a furnace's batch.
_MINUTES, _BATCH_MINUTES = 2.0, 120.0
# The centre follows a module's ageing that slowly.
_AGEING_WAFERS = 100
# Maps without a cause, to know the failure rate that is to double.
_PROBED = 400
_VARIETY = 0.3
_PRODUCT = Product(id="BENCH", rows=38, columns=38, random_share=0.05)
_RECIPE = "BENCH-1"

Floats = npt.NDArray[np.float64]


class Lead(msgspec.Struct, frozen=True):
    """How early one mode is seen on one kind of module.

    Wafers are wafers through the module; of a furnace, batches.

    Attributes:
        mode: the failure mode.
        kind: of the module it was on.
        runs: how often it was tried, a module with its own offsets each time.
        doubled: in how many of them a wafer's failure rate doubled; a scratch across a few dies
            may not do it.
        seen_early: in how many of those the mode was seen before that wafer.
        ahead_least: wafers from the first seen to the first doubled one, at the worst; None where
            none was doubled.
        ahead_median: the same, of the middle run.
        pattern_ahead_least: from the first seen to the first on which the pattern truly is, at the
            worst, over all runs.
        seen_at: wafers from onset to the first seen one, median over all runs.
    """

    mode: str
    kind: str
    runs: int
    doubled: int
    seen_early: int
    ahead_least: int | None
    ahead_median: float | None
    pattern_ahead_least: int | None
    seen_at: float


class EarlyBench(msgspec.Struct, frozen=True):
    """How early causes are seen.

    Attributes:
        modes: one a mode and kind of module.
        seen_early_share: of the runs in which a wafer's rate doubled.
        ahead_least: over those runs.
        pattern_ahead_least: over all runs with a pattern.
        false_alarms: of the same detectors on quiet wafers they were not trained on.
        quiet_wafers: how many those were.
        wafers_per_false_alarm: quiet_wafers / false_alarms, or quiet_wafers where there was none.
        designed_for: what the limit was computed for.
        weight: of the newest wafer in the detector's moving average; 1 judges single wafers.
        trained_wafers: of a module before it is judged.
        growth_wafers: from onset to full growth.
        magnitude: of the modes.
        doubled_rate: the share of failed dies that counts as doubled.
    """

    modes: list[Lead]
    seen_early_share: float
    ahead_least: int
    pattern_ahead_least: int
    false_alarms: int
    quiet_wafers: int
    wafers_per_false_alarm: float
    designed_for: float
    weight: float
    trained_wafers: int
    growth_wafers: int
    magnitude: float
    doubled_rate: float
    seeds: list[int]
    machine: str


class Watch:
    """Multivariate chart of a module's wafers against its own quiet past.

    Args:
        quiet: (n, a) features of quiet wafers, n well above a.
        orders: (n,) place of each wafer in its lot, from 0; each place has a centre of its own, for
            a lot's first wafers find the module cold.
        wafers_per_false_alarm: mean run length to a false alarm that the limit is for.
        weight: of the newest wafer in the moving average that is judged. 1 is Hotelling's T2 of
            single wafers; less is the MEWMA (C. A. Lowry et al., Technometrics 34, 1992), which
            sees smaller shifts that last.

    The limit is (1 + v) a f / (f - a + 1) F(a, f - a + 1), for a new observation, a covariance
    estimated with f degrees of freedom and a centre estimated with variance v. With one place in
    the lot and no ageing f is n - 1, v is 1/n, and it is the limit of N. D. Tracy, J. C. Young and
    R. L. Mason, J. Quality Technology 24, 1992. It is meant for weight 1; a moving average that
    crosses it stays there for a while, so that its false alarms are fewer.
    """

    def __init__(
        self,
        quiet: Floats,
        orders: npt.NDArray[np.int64],
        wafers_per_false_alarm: float,
        weight: float,
    ) -> None:
        places = int(orders.max()) + 1
        a, freedom = quiet.shape[1], len(quiet) - places
        self._centres = np.array([quiet[orders == place].mean(axis=0) for place in range(places)])
        rest = quiet - self._centres[orders]
        self._spread = np.sqrt((rest**2).sum(axis=0) / freedom)
        rest /= self._spread
        self._inverse = np.linalg.inv(rest.T @ rest / freedom)
        left = freedom - a + 1
        quantile = float(fisher_f.ppf(1.0 - 1.0 / wafers_per_false_alarm, a, left))
        centre = places / len(quiet) + 1.0 / (2.0 * _AGEING_WAFERS - 1.0)
        self.limit = (1.0 + centre) * a * freedom / left * quantile
        self._weight = weight
        self._aged = np.zeros(a)
        self._restart()

    def _restart(self) -> None:
        self._average = np.zeros(len(self._aged))
        self._wafers = 0

    def alarms(self, features: Floats, order: int) -> bool:
        """Chart the next wafer, (a,) features; whether it is outside. Missing ones are normal."""
        rest = (features - self._centres[order]) / self._spread - self._aged
        rest = np.where(np.isfinite(rest), rest, 0.0)
        self._wafers += 1
        keep = 1.0 - self._weight
        self._average = keep * self._average + self._weight * rest
        variance = self._weight / (2.0 - self._weight) * (1.0 - keep ** (2 * self._wafers))
        distance = float(self._average @ self._inverse @ self._average) / variance
        if distance > self.limit:
            self._restart()
            return True
        # Ageing within the norm is no cause: the centre follows it, as the controller's does.
        self._aged += rest / _AGEING_WAFERS
        return False


def step_means(kind: str, values: npt.NDArray[np.float32]) -> Floats:
    """The mean of every variable in every step of the recipe, (steps * variables,) float64.

    Samples that are missing are left out; NaN where all of a step are.
    """
    means = []
    for rows in phase_slices(kind, len(values)).values():
        part = values[rows].astype(np.float64)
        there = np.isfinite(part)
        count = there.sum(axis=0)
        total = np.where(there, part, 0.0).sum(axis=0)
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.concatenate(means)


class _Wafer(NamedTuple):
    features: Floats
    order: int
    hits: Sequence[Hit]


class _Bench:
    """One module, wafer after wafer."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind = kind
        self._key = f"bench:{seed}"
        tool = Equipment(id="BENCH-01", kind=kind, modules=("A",))
        self.module = Module(tool, "A", self._key, NEVER_DOWN)
        self._minutes = _BATCH_MINUTES if KINDS[kind].batch else _MINUTES
        self._chance = logic_random(self._key, kind, "chance")
        self._treated = 0

    def treat(self) -> _Wafer:
        """The next wafer."""
        number = self._treated
        self._treated += 1
        # A furnace has one run a lot, and is hot all the time.
        order = 0 if KINDS[self.kind].batch else number % _LOT
        run = self.module.process(
            _RECIPE,
            order=order,
            # Of a batch the wafer at the boat's end counts: it suffers if any does.
            slot=1 if KINDS[self.kind].batch else number % _LOT + 1,
            suffer=self._chance.random(),
            strength=self._chance.uniform(0.85, 1.1),
            now_ms=number,
        )
        drawn = draw_trace(
            self.kind,
            self._minutes,
            run.levels,
            run.shifts,
            order=order,
            faults=(),
            random=generator(self._key, self.kind, "trace", number),
        )
        return _Wafer(step_means(self.kind, drawn.values), order, run.hits)

    def tested(self, hits: Sequence[Hit], *name: str | int) -> tuple[float, bool]:
        """Share of failed dies of a wafer with these hits; whether a cause shows as a pattern."""
        return _tested(hits, self._key, self.kind, *name)


class _Seen(NamedTuple):
    """Wafers from onset to the first alarm, doubled rate and true pattern; 0 for never."""

    seen: int
    doubled: int
    pattern: int


def bench_kinds() -> list[str]:
    """The kinds of module on which a mode can grow."""
    return sorted({kind for mode in MODES.values() for kind in mode.kinds})


def measure_early(
    seeds: Sequence[int],
    *,
    growth_wafers: int,
    magnitude: float = 1.0,
    trained: int,
    quiet: int,
    wafers_per_false_alarm: float,
    weight: float = 0.2,
    progress: Callable[[], None] = lambda: None,
) -> EarlyBench:
    """Let every mode grow on a module of every kind it happens on.

    Args:
        seeds: a module of each kind is made of each.
        growth_wafers: from onset to full growth.
        magnitude: of the modes, 1 as docs/fab.md describes them.
        trained: quiet wafers that a detector is trained on.
        quiet: further ones, on which its false alarms are counted.
        wafers_per_false_alarm: what its limit is computed for.
        weight: of the newest wafer; see `Watch`.
        progress: called after every module.
    """
    rate = statistics.fmean(_tested((), "bench-quiet", n)[0] for n in range(_PROBED))
    found: dict[tuple[str, str], list[_Seen]] = {}
    false_alarms = 0
    kinds = bench_kinds()
    for kind in kinds:
        for seed in seeds:
            bench = _Bench(kind, seed)
            past = [bench.treat() for _ in range(trained)]
            watch = Watch(
                np.array([wafer.features for wafer in past]),
                np.array([wafer.order for wafer in past]),
                wafers_per_false_alarm,
                weight,
            )
            for _ in range(quiet):
                wafer = bench.treat()
                false_alarms += watch.alarms(wafer.features, wafer.order)
            for name in sorted(name for name, mode in MODES.items() if kind in mode.kinds):
                sick = copy.deepcopy((bench, watch))
                seen = _grow(*sick, name, growth_wafers, magnitude, 2.0 * rate)
                found.setdefault((name, kind), []).append(seen)
            progress()
    modes = [_lead(mode, kind, runs) for (mode, kind), runs in sorted(found.items())]
    judged = quiet * len(kinds) * len(seeds)
    return EarlyBench(
        modes=modes,
        seen_early_share=sum(lead.seen_early for lead in modes)
        / max(1, sum(lead.doubled for lead in modes)),
        ahead_least=min(lead.ahead_least for lead in modes if lead.ahead_least is not None),
        pattern_ahead_least=min(
            lead.pattern_ahead_least for lead in modes if lead.pattern_ahead_least is not None
        ),
        false_alarms=false_alarms,
        quiet_wafers=judged,
        wafers_per_false_alarm=judged / max(1, false_alarms),
        designed_for=wafers_per_false_alarm,
        weight=weight,
        trained_wafers=trained,
        growth_wafers=growth_wafers,
        magnitude=magnitude,
        doubled_rate=2.0 * rate,
        seeds=list(seeds),
        machine=machine(),
    )


def _grow(
    bench: _Bench,
    watch: Watch,
    mode: str,
    growth: int,
    magnitude: float,
    doubled: float,
) -> _Seen:
    """Treat wafers while a mode grows, until it was seen and a wafer suffered from it."""
    excursion = Excursion(
        id=mode.replace("_", "-"),
        mode=mode,
        equipment="BENCH-01",
        module="A",
        onset_wafers=0,
        growth_wafers=growth,
        magnitude=magnitude,
    )
    bench.module.fall_ill(excursion, "bench", 0)
    seen = hurt = shown = 0
    for number in range(1, 4 * growth + 1):
        wafer = bench.treat()
        if not seen and watch.alarms(wafer.features, wafer.order):
            seen = number
        if wafer.hits and not (hurt and shown):
            share, pattern = bench.tested(wafer.hits, mode, number)
            hurt = hurt or (number if share >= doubled else 0)
            shown = shown or (number if pattern else 0)
        if seen and hurt and shown:
            break
    return _Seen(seen, hurt, shown)


def _lead(mode: str, kind: str, runs: Sequence[_Seen]) -> Lead:
    ahead = _ahead([(run.seen, run.doubled) for run in runs])
    pattern = _ahead([(run.seen, run.pattern) for run in runs])
    return Lead(
        mode=mode,
        kind=kind,
        runs=len(runs),
        doubled=len(ahead),
        seen_early=sum(lead > 0 for lead in ahead),
        ahead_least=min(ahead, default=None),
        ahead_median=float(statistics.median(ahead)) if ahead else None,
        pattern_ahead_least=min(pattern, default=None),
        seen_at=float(statistics.median(run.seen for run in runs)),
    )


def _ahead(runs: Sequence[tuple[int, int]]) -> list[int]:
    """Wafers from the first seen to the first bad one; never seen counts from onset, negative."""
    return [bad - seen if seen else -bad for seen, bad in runs if bad]


def _tested(hits: Sequence[Hit], *name: str | int) -> tuple[float, bool]:
    """Share of the dies that failed, and whether a cause shows as a pattern."""
    probed = probe_wafer(
        _PRODUCT,
        hits,
        detuned=0.0,
        variety=_VARIETY,
        random=generator("probe", *name),
    )
    failed = np.count_nonzero(probed.grid == FAIL)
    return float(failed / np.count_nonzero(probed.grid != OFF)), any(probed.guilty)
