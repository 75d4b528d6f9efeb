"""Charts of what is measured: has what a module makes moved away from its own past?

One chart a module and measured parameter. A point is the mean of the wafers of a lot that the
module treated in one step and that were measured at one stop, in standard deviations of such a
mean. Steps of one module may have targets of their own: each has a level over all modules, and the
chart has what is left. A module's first points give its centre and spread (phase I, robust); then
the rules of the policy are looked at (phase II). Wafers that a module treated before its last
repair count no more. All of it is bounded; docs/control.md has the reasons.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

import numpy as np
from scipy.special import ndtr, stdtrit

from contracts.events import ChartPoint, Metrology, VariableShift
from control.lineage import Lineage
from control.metrology_points import Told, chart_point
from control.policy import Policy
from control.spc import Monitor
from control.spc.phase_one import degrees_of_freedom, hodges_lehmann, shamos
from control.state import ChartRecord, ControlState, PendingPoint, StepRecord

__all__ = ["MAX_CHARTS", "MetrologyShift", "MetrologyWatch"]

# More than any fab has of each; a flood of invented names stops here.
MAX_CHARTS, MAX_STEPS, MAX_PENDING, MAX_NAME = 400, 300, 200, 64
# Wafers of a step, from whatever module, that its level is found from.
_LEVEL_WAFERS = 15
# A lot's wafers come together; after so long without another one the point is complete.
_COMPLETE_MS = 15 * 60_000
# The baseline never learns slower than 1/100 a point, so that ageing within the norm is followed.
_MOST_BASELINE = 100.0
# Nor the level of a step slower than this, in wafers: it is the work of all modules.
_MOST_LEVEL = 1000.0
# After maintenance the module may have another centre: it is as if it had so many points.
_AFTER_REPAIR = 4.0
# Of the EWMA that tells whether a chart is quiet, whatever its rules.
_SMOOTHING = 0.2
# An EWMA within this is quiet: its point may teach the baseline.
_QUIET = 1.0
# Degrees of freedom above which a t is normal, for the limits.
_KNOWN_SPREAD = 500.0
# Latest measurements of a chart, to know a replay under another name.
_REMEMBERED = 24
# Beyond this a reading is a broken gauge, and its square would overflow in sums.
_ABSURD = 1e15
_SEPARATOR = "\x1f"


class MetrologyShift(NamedTuple):
    """What a chart says of a module.

    Attributes:
        module: 'equipment/module'.
        parameter: what was measured.
        step: of the latest point.
        shift: how far it is off; None if the chart is in control again.
        since_ms: when it was last in place.
        substrates: of the latest point.
        evidence: in words with numbers.
    """

    module: str
    parameter: str
    step: str
    shift: VariableShift | None
    since_ms: int
    substrates: tuple[str, ...]
    evidence: str


class MetrologyWatch:
    """All charts of a site.

    Args:
        policy: rules, phase I, specifications.
        state: with the charts; changed in place.
        lineage: which module did a wafer's step.

    Raises:
        ValueError: the saved charts contradict themselves.
    """

    def __init__(self, policy: Policy, state: ControlState, lineage: Lineage) -> None:
        self._policy = policy.metrology
        self._site = state.site
        self._state = state
        self._lineage = lineage
        self._rules = policy.metrology.rules
        self._monitors = {
            key: Monitor.restore(self._rules, record.monitor)
            for key, record in state.charts.items()
        }
        self._logarithmic = frozenset(policy.metrology.logarithmic)
        self._pending: OrderedDict[str, PendingPoint] = OrderedDict(state.pending_points)

    def save(self) -> None:
        """Put what is kept outside the state back into it."""
        self._state.pending_points = dict(self._pending)
        for key, monitor in self._monitors.items():
            self._state.charts[key].monitor = monitor.record()

    def measured(self, event: Metrology) -> str:
        """Take in a measurement; why it is not used, or ''."""
        value = self._value(event)
        if value is None:
            return "measurement without a number"
        visit = self._visit(event)
        if visit is None:
            return "measurement of a wafer that is not known"
        module, recipe_id, treated_ms = visit
        known = self._state.modules.get(module)
        if known is not None and treated_ms <= known.repaired_ms:
            return "measurement from before a repair"
        key = f"{module}{_SEPARATOR}{event.parameter}"
        chart = self._chart(key)
        if chart is None or not self._step(event, value):
            return "too many charts"
        short = crc32(f"{event.substrate_id}{_SEPARATOR}{event.step}".encode())
        if short in chart.measured:
            return "measurement seen before"
        chart.measured = [*chart.measured, short][-_REMEMBERED:]
        self._collect(key, event, value, recipe_id, treated_ms)
        return ""

    def due(self) -> list[tuple[ChartPoint, MetrologyShift | None]]:
        """Points that are complete, and what they say; to be asked after every event."""
        now_ms = self._state.now_ms
        done: list[tuple[PendingPoint, ChartPoint]] = []
        while self._pending:
            key, point = next(iter(self._pending.items()))
            crowded = len(self._pending) > MAX_PENDING
            if not crowded and point.last_ms <= now_ms < point.last_ms + _COMPLETE_MS:
                break
            del self._pending[key]
            done.append((point, self._plot(point)))
        # After all of them: what peers show at the same time is shared.
        return [(event, self._shift(point, event)) for point, event in done]

    def repaired(self, module: str) -> None:
        """A module comes back from being down: its charts start again, near their old centre."""
        for key, chart in self._of(module):
            self._monitors[key].reset()
            chart.points = 0
            chart.told = False
            chart.smooth = 0.0
            chart.count = min(chart.count, _AFTER_REPAIR)
            chart.wafers = min(chart.wafers, 2.0 * _AFTER_REPAIR)
            chart.phase_one = []
        for key in [k for k, p in self._pending.items() if p.chart.startswith(module + _SEPARATOR)]:
            del self._pending[key]

    # -- what a measurement is ----------------------------------------------------------------

    def _value(self, event: Metrology) -> float | None:
        """Mean over the sites, of the logarithm where that is charted; None if there is none."""
        values = [value for value in event.values if abs(value) < _ABSURD]
        if event.parameter in self._logarithmic:
            values = [math.log(value) for value in values if value > 0.0]
        return math.fsum(values) / len(values) if values else None

    def _visit(self, event: Metrology) -> tuple[str, str, int] | None:
        """Module, recipe and time of the step that the measurement judges."""
        wafer = self._lineage.wafer(event.substrate_id)
        if wafer is None:
            return None
        found = None
        for visit in wafer.visits:
            place = self._lineage.place(visit)
            # A step that comes again is judged by its latest turn before the measurement.
            if (
                place.step == event.step
                and visit.time_ms <= event.time_ms
                and (found is None or visit.time_ms >= found[2])
            ):
                found = place.module, place.recipe_id, visit.time_ms
        return found

    def _chart(self, key: str) -> ChartRecord | None:
        chart = self._state.charts.get(key)
        if chart is None and len(self._state.charts) < MAX_CHARTS:
            chart = self._state.charts[key] = ChartRecord()
            self._monitors[key] = Monitor(self._rules)
        return chart

    def _of(self, module: str) -> Iterator[tuple[str, ChartRecord]]:
        start = module + _SEPARATOR
        return ((key, c) for key, c in self._state.charts.items() if key.startswith(start))

    def _step(self, event: Metrology, value: float) -> bool:
        """Let a wafer tell the level of its step; False if there is no room for the step."""
        key = f"{event.step}{_SEPARATOR}{event.parameter}"
        step = self._state.chart_steps.get(key)
        if step is None:
            if len(self._state.chart_steps) >= MAX_STEPS:
                return False
            step = self._state.chart_steps[key] = StepRecord()
        if step.level is None:
            step.values.append(value)
            if len(step.values) >= _LEVEL_WAFERS:
                step.level = hodges_lehmann(np.array(step.values))
                step.values, step.wafers = [], float(_LEVEL_WAFERS)
        return True

    def _collect(
        self, key: str, event: Metrology, value: float, recipe_id: str, treated_ms: int
    ) -> None:
        """Put a wafer to the others of its lot, step and module."""
        name = _SEPARATOR.join((key, event.step, event.lot_id))
        point = self._pending.pop(name, None)
        if point is None:
            point = PendingPoint(key, event.step, event.lot_id, recipe_id)
        if len(point.substrates) < 25:
            point.substrates.append(event.substrate_id)
            point.total += value
        point.treated_ms = max(point.treated_ms, treated_ms)
        point.last_ms = max(point.last_ms, event.time_ms)
        self._pending[name] = point

    # -- charting -----------------------------------------------------------------------------

    def _plot(self, point: PendingPoint) -> ChartPoint:
        parameter = point.chart.partition(_SEPARATOR)[2]
        chart = self._state.charts[point.chart]
        mean, wafers = point.total / len(point.substrates), len(point.substrates)
        step = self._state.chart_steps[f"{point.step}{_SEPARATOR}{parameter}"]
        if chart.count <= 0.0 or step.level is None:
            self._learn_first(chart, point.step, mean, wafers, parameter)
            return self._event(point, chart, mean, (), None)
        level = step.level
        spread, freedom = self._spread(point.chart, chart)
        # One scale for the doubts: centre and level are of few wafers, the spread of few points.
        unsure = 1.0 / chart.wafers + 1.0 / step.wafers
        doubt = math.sqrt(1.0 + wafers * unsure) * _widening(freedom)
        deviation = (mean - level - chart.centre) * math.sqrt(wafers) / (spread * doubt)
        monitor = self._monitors[point.chart]
        broken = monitor.broken(float(np.clip(deviation, -1e6, 1e6)))
        broken = _with_doubt(broken, monitor, 1.0 / chart.count + wafers / step.wafers)
        chart.points += 1
        chart.last = deviation
        chart.smooth += _SMOOTHING * (deviation - chart.smooth)
        if abs(chart.smooth) < _QUIET and not broken:
            chart.since_ms = point.treated_ms
            _learn(chart, step, mean, wafers, spread)
        return self._event(point, chart, mean, broken, spread * doubt)

    def _learn_first(
        self, chart: ChartRecord, step: str, mean: float, wafers: int, parameter: str
    ) -> None:
        """Phase I."""
        wanted = self._policy.phase_one_points
        if chart.count > 0.0:
            return  # in phase II, at a step that is new: its level comes first
        chart.phase_one = [*chart.phase_one, (step, mean, wafers)][-2 * wanted :]
        rest, weights = [], []
        for name, value, count in chart.phase_one:
            level = self._state.chart_steps[f"{name}{_SEPARATOR}{parameter}"].level
            if level is not None:
                rest.append(value - level)
                weights.append(count)
        if len(rest) < wanted:
            return
        values, roots = np.array(rest), np.sqrt(np.array(weights, dtype=np.float64))
        chart.centre = hodges_lehmann(values)
        sigma = shamos((values - chart.centre) * roots)
        chart.variance = sigma**2 if math.isfinite(sigma) else 0.0
        chart.count, chart.wafers = float(len(rest)), float(sum(weights))
        chart.floor = 1e-3 * max(abs(chart.centre + level) for _, level, _ in chart.phase_one)
        chart.phase_one = []

    def _spread(self, key: str, chart: ChartRecord) -> tuple[float, float]:
        """Standard deviation of one wafer and its degrees of freedom: of all comparable modules.

        The module's own counts where it is larger by more than twice its standard error, sqrt(2/n)
        of a normal variance: a few points do not tell it well enough.
        """
        total = variance = 0.0
        for _, peer in self._peers(key):
            freedom = degrees_of_freedom(int(peer.count))
            total += freedom
            variance += freedom * peer.variance
        pooled = variance / total if total > 0.0 else 0.0
        own = chart.variance * max(0.0, 1.0 - 2.0 * math.sqrt(2.0 / chart.count))
        return math.sqrt(max(pooled, own, chart.floor**2, 1e-300)), max(total, 1.0)

    def _peers(self, key: str) -> Iterator[tuple[str, ChartRecord]]:
        """Charts of the same parameter on modules of the same kind, with their limits known."""
        module, _, parameter = key.partition(_SEPARATOR)
        kind = self._kind(module)
        for other, chart in self._state.charts.items():
            name, _, measured = other.partition(_SEPARATOR)
            if measured == parameter and chart.count > 0.0 and self._kind(name) == kind:
                yield other, chart

    def _kind(self, module: str) -> str:
        """What the module does; its equipment while nobody said."""
        known = self._state.modules.get(module)
        return known.kind if known is not None and known.kind else module.partition("/")[0]

    def _shift(self, point: PendingPoint, event: ChartPoint) -> MetrologyShift | None:
        """Evidence about the module: new, or withdrawn; None if nothing changed."""
        if event.phase == 1:
            return None
        chart, module = self._state.charts[point.chart], event.key
        found = MetrologyShift(
            module, event.parameter, point.step, None, chart.since_ms, event.substrates, ""
        )
        if not event.rules:
            if not chart.told or abs(chart.smooth) >= _QUIET:
                return None
            chart.told = False
            return found._replace(evidence=f"{event.parameter} of {module} is in control again")
        # A rule of single points is held against the peers' last ones, others against their EWMAs.
        single = abs(chart.last) > abs(chart.smooth)
        mine = chart.last if single else chart.smooth
        peers = [peer for key, peer in self._peers(point.chart) if key != point.chart]
        others = sorted(peer.last if single else peer.smooth for peer in peers)
        shared = others[len(others) // 2] if others else 0.0
        # What all modules of a kind do (another product, a gauge) is nobody's fault.
        if chart.told or shared * math.copysign(1.0, mine) > 0.5 * abs(mine):
            return None
        chart.told = True
        shift = VariableShift(
            variable=event.parameter,
            recipe_id="",
            mean=event.value,
            normal=event.center,
            spread=event.sigma,
            z=mine,
        )
        evidence = (
            f"{event.parameter} of {module} at {event.value:.4g}, normally {event.center:.4g}"
            f" ({mine:+.1f} sigma; {', '.join(event.rules)}; a false alarm in"
            f" {event.arl0:.0f} points)"
        )
        return found._replace(shift=shift, evidence=evidence)

    def _event(
        self,
        point: PendingPoint,
        chart: ChartRecord,
        mean: float,
        broken: tuple[str, ...],
        spread: float | None,
    ) -> ChartPoint:
        """The point as it is told. `spread` of a single wafer, with its doubt; None in phase I."""
        parameter = point.chart.partition(_SEPARATOR)[2]
        level = self._state.chart_steps[f"{point.step}{_SEPARATOR}{parameter}"].level or 0.0
        module = point.chart.partition(_SEPARATOR)[0]
        known = None if spread is None else (spread, *self._spread(point.chart, chart))
        told = Told(module, parameter, level, mean, broken, known)
        return chart_point(self._site, self._policy, point, chart, told)


def _with_doubt(broken: tuple[str, ...], monitor: Monitor, unsure: float) -> tuple[str, ...]:
    """Without the EWMA's alarm where centre and level alone could be that far off.

    Args:
        broken: rules.
        monitor: of the chart.
        unsure: variance of the estimated centre, in squared sigmas of a point.
    """
    if "ewma" not in broken or monitor.ewma is None:
        return broken
    # Jones, Champ and Rigdon (Technometrics 43, 2001): an estimated centre widens the chart.
    sigma = math.sqrt(float(monitor.ewma.sigma()[0]) ** 2 + unsure)
    if abs(float(monitor.ewma.value[0])) > monitor.ewma.limit * sigma:
        return broken
    return tuple(name for name in broken if name != "ewma")


def _learn(chart: ChartRecord, step: StepRecord, mean: float, wafers: int, spread: float) -> None:
    """Let a quiet point teach the baselines; one far out counts as one three sigmas out."""
    chart.count = min(chart.count + 1.0, _MOST_BASELINE)
    chart.wafers = min(chart.wafers + wafers, 2.0 * _MOST_BASELINE)
    step.wafers = min(step.wafers + wafers, _MOST_LEVEL)
    most = 3.0 * spread / math.sqrt(wafers)
    apart = max(-most, min(most, mean - (step.level or 0.0) - chart.centre))
    chart.centre += wafers / chart.wafers * apart
    step.level = (step.level or 0.0) + wafers / step.wafers * apart
    chart.variance += (apart**2 * wafers - chart.variance) / chart.count


def _widening(freedom: float) -> float:
    """How much wider limits are at 3 sigmas with a spread of so many degrees of freedom."""
    if freedom > _KNOWN_SPREAD:
        return 1.0
    return float(stdtrit(freedom, ndtr(3.0))) / 3.0
