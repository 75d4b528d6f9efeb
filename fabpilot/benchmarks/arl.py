"""Do the control charts keep what their theory promises? Simulated, computed and published."""

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from control.spc.arl import average_run_length, simulated_run_length
from control.spc.multivariate import Multivariate
from control.spc.rule_set import Monitor, RuleSet
from control.spc.rules import NELSON, WESTERN_ELECTRIC
from control.steering_policy import SITE_RULES
from fabpilot.benchmarks.stream import machine

__all__ = ["CHARTS", "ArlBench", "RunLength", "SpeedOfCharts", "WaferAlarms", "measure_arl"]

Floats = npt.NDArray[np.float64]

SHIFTS = (0.0, 1.0, 2.0)


class Chart(NamedTuple):
    """A chart, and its published run lengths at the shifts; None where nobody published any."""

    rules: RuleSet
    table: tuple[float, float, float] | None


CHARTS: dict[str, Chart] = {
    "Shewhart 3 sigma": Chart(RuleSet(limit=3.0), (370.4, 43.9, 6.30)),
    "EWMA 0.1, L 2.814": Chart(RuleSet(ewma=(0.1, 2.814), ewma_exact=False), (500.0, 10.3, 4.36)),
    "EWMA 0.2, L 2.86": Chart(RuleSet(ewma=(0.2, 2.86), ewma_exact=False), (371.0, 9.8, 3.59)),
    "CUSUM k 0.5, h 4": Chart(RuleSet(cusum=(0.5, 4.0)), (168.0, 8.38, 3.34)),
    "CUSUM k 0.5, h 5": Chart(RuleSet(cusum=(0.5, 5.0)), (465.0, 10.4, 4.01)),
    "Western Electric 1-4": Chart(RuleSet(run_rules=WESTERN_ELECTRIC), (91.0, 9.2, 3.1)),
    "Nelson 1-8": Chart(RuleSet(run_rules=NELSON), (73.0, 9.6, 3.1)),
    "EWMA 0.1, L 2.814, exact limits": Chart(RuleSet(ewma=(0.1, 2.814)), None),
    "I-MR, 3 sigma": Chart(RuleSet(limit=3.0, moving_range=True), None),
    "metrology, as shipped": Chart(SITE_RULES, None),
}
"""What is measured."""


class RunLength(msgspec.Struct, frozen=True):
    """One chart at one shift.

    Attributes:
        chart: which.
        shift_sigma: of the mean.
        simulated: points to an alarm, by feeding the charts.
        computed: the same, shown beside a chart.
        how: it was computed.
        table: published; None where nobody did.
        simulated_over_table: ratio; None as `table`.
        simulated_over_computed: ratio.
    """

    chart: str
    shift_sigma: float
    simulated: float
    computed: float
    how: str
    table: float | None
    simulated_over_table: float | None
    simulated_over_computed: float


class WaferAlarms(msgspec.Struct, frozen=True):
    """False alarms of T2 and SPE on wafers in control.

    Attributes:
        variables: of a wafer.
        learned: wafers that the limits are from.
        judged: further wafers, over all repetitions.
        components: kept, of the last repetition.
        t2_over_nominal: false alarms over those promised.
        spe_over_nominal: the same of SPE.
    """

    variables: int
    learned: int
    judged: int
    components: int
    t2_over_nominal: float
    spe_over_nominal: float


class SpeedOfCharts(msgspec.Struct, frozen=True):
    """Points a second of processor time, of one chart fed one point at a time."""

    rules: tuple[str, ...]
    points_per_s: float


class ArlBench(msgspec.Struct, frozen=True):
    """What the charts do.

    Attributes:
        run_lengths: chart by chart and shift by shift.
        worst_ratio_to_table: of simulated to published, the one furthest from 1.
        alpha: promised false alarms a wafer, of T2 and of SPE.
        multivariate: by number of variables.
        speed: of the charts.
        machine: where.
    """

    run_lengths: tuple[RunLength, ...]
    worst_ratio_to_table: float
    alpha: float
    multivariate: tuple[WaferAlarms, ...]
    speed: tuple[SpeedOfCharts, ...]
    machine: str


def measure_arl(
    alarms: int, seed: int, alpha: float, repetitions: int, progress: Callable[[], None]
) -> ArlBench:
    """Run all of it.

    Args:
        alarms: that each simulated run length is the mean of.
        seed: of the points.
        alpha: of the multivariate charts.
        repetitions: of those, each on data of its own.
        progress: told after each of `PIECES` pieces.
    """
    lengths = []
    for name, chart in CHARTS.items():
        for place, shift in enumerate(SHIFTS):
            lengths.append(_run_length(name, chart, place, shift, alarms, seed))
            progress()
    ratios = [r.simulated_over_table for r in lengths if r.simulated_over_table is not None]
    found = []
    for variables, learned in MULTIVARIATE:
        found.append(_wafer_alarms(variables, learned, alpha, seed, repetitions))
        progress()
    return ArlBench(
        run_lengths=tuple(lengths),
        worst_ratio_to_table=max(ratios, key=lambda ratio: abs(ratio - 1.0)),
        alpha=alpha,
        multivariate=tuple(found),
        speed=tuple(_speed(CHARTS[name].rules) for name in ("Nelson 1-8", "metrology, as shipped")),
        machine=machine(),
    )


MULTIVARIATE = ((10, 4000), (50, 3000), (300, 2000))
"""Variables, and wafers that are learned from."""

PIECES = len(CHARTS) * len(SHIFTS) + len(MULTIVARIATE)
"""How often `progress` is called."""


def _run_length(
    name: str, chart: Chart, place: int, shift: float, alarms: int, seed: int
) -> RunLength:
    computed = average_run_length(chart.rules, shift)
    # A chart that speaks once in ten thousand points is not followed for as many alarms.
    wanted = min(alarms, max(2000, int(2e7 / computed.points)))
    simulated = simulated_run_length(
        chart.rules, shift, alarms=wanted, charts=200, seed=seed + 1000, most_points=10**9
    )
    table = None if chart.table is None else chart.table[place]
    return RunLength(
        chart=name,
        shift_sigma=shift,
        simulated=round(simulated, 3),
        computed=round(computed.points, 3),
        how=computed.how,
        table=table,
        simulated_over_table=None if table is None else round(simulated / table, 4),
        simulated_over_computed=round(simulated / computed.points, 4),
    )


def _wafer_alarms(
    variables: int, learned: int, alpha: float, seed: int, repetitions: int
) -> WaferAlarms:
    """Correlated normal wafers: a tenth as many causes as variables, and noise of their own."""
    judged = t2 = spe = components = 0
    for repetition in range(repetitions):
        random = np.random.default_rng([seed, variables, repetition])
        causes = max(2, variables // 10)
        loadings = random.normal(size=(causes, variables)) / np.sqrt(causes)
        noise = np.sqrt(random.uniform(0.2, 0.8, size=variables))

        def draw(
            count: int,
            random: np.random.Generator = random,
            loadings: Floats = loadings,
            noise: Floats = noise,
        ) -> Floats:
            amounts = random.normal(size=(count, len(loadings)))
            own = random.normal(size=(count, loadings.shape[1]))
            return np.asarray(amounts @ loadings + noise * own)

        chart = Multivariate(draw(learned), alpha)
        found = chart.add(draw(20_000))
        judged += 20_000
        t2 += int((found.t2 > chart.t2_limit).sum())
        spe += int((found.spe > chart.spe_limit).sum())
        components = chart.components
    return WaferAlarms(
        variables,
        learned,
        judged,
        components,
        round(t2 / judged / alpha, 3),
        round(spe / judged / alpha, 3),
    )


def _speed(rules: RuleSet) -> SpeedOfCharts:
    monitor, points = Monitor(rules), np.random.default_rng(0).normal(size=3000).tolist()
    began = time.process_time()
    for point in points:
        monitor.broken(point)
    return SpeedOfCharts(rules.names, round(len(points) / (time.process_time() - began)))
