"""Virtual metrology: what metrology would read on a wafer, foretold from its trace.

For each recipe, step and parameter there is a straight line: the module's own running mean, and a
weight for how far each sensor's level is from its normal on this module (z of `control.charts`), in
deviations of the measured value. Weights are shared by all steps of a kind of module and found by
ridge regression (A. E. Hoerl, R. W. Kennard, Technometrics 12, 1970) with forgetting, so that
sensors that tell nothing cost next to nothing; the failure modes of the policy count as
three measured wafers each. Measurements are hours late; the readings they belong to wait for them,
so many at most.

Intervals are conformal: a quantile of the latest errors, whose level follows how often the interval
missed (I. Gibbs, E. Candes, Adaptive conformal inference under distribution shift, 2021), times
what the regression says about a wafer that far from what it learned.
"""

import math
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.events import Metrology, Trace, VirtualMetrology
from contracts.ids import derived_id
from control.charts import Verdict
from control.foresight_state import VirtualGroup, VirtualLine, VirtualModel
from control.lineage import Lineage
from control.policy import Policy
from control.ridge import RidgeLine
from control.state import ControlState

__all__ = ["COVERAGE", "Surprise", "VirtualWatch"]

COVERAGE = 0.9
# A module's mean follows its latest ten measurements; one counts for three deviations at most.
_GAIN, _CLIP = 0.1, 3.0
# Errors the quantile is taken from, those needed before anything is told, the step of its level.
_ERRORS, ENOUGH, _STEP = 60, 20, 0.02
# Readings are kept as tenths of a spread in a byte.
_TENTHS, _MOST_TENTHS = 10.0, 127
MAX_GROUPS, MAX_FEATURES, MAX_PARAMETERS, MAX_WAITING = 48, 32, 4, 200
MAX_MODULES, MAX_LINES = 32, 64
# A prediction is told where it differs from the module's mean by so much of a deviation.
_WORTH_TELLING = 0.5
# A measurement is odd from so many deviations.
ODD = 4.0
_SEPARATOR = "\x1f"

Floats = npt.NDArray[np.float64]


class Surprise(NamedTuple):
    """A measurement that is far from the module's own mean.

    Attributes:
        module: that treated the wafer.
        sequence: of the step in the route.
        deviations: how far, with its sign.
    """

    module: str
    sequence: int
    deviations: float


class VirtualWatch:
    """Foretells measurements of a site, and learns from those that come.

    Args:
        policy: with the failure modes.
        state: where everything is kept.
        lineage: which wafer went where.
    """

    def __init__(self, policy: Policy, state: ControlState, lineage: Lineage) -> None:
        self._policy = policy
        self._state = state
        self._lineage = lineage
        self._lines: dict[str, RidgeLine] = {}
        self._touched: set[str] = set()

    def take_changes(self) -> set[str]:
        """Keys of the groups that changed since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def traced(self, event: Trace, verdict: Verdict) -> list[VirtualMetrology]:
        """A trace was judged: what metrology would read on the wafer.

        Returns:
            A prediction for each parameter about which enough is known.
        """
        key = f"{event.recipe_id}{_SEPARATOR}{event.step}"
        group = self._group(key, event, verdict)
        if group is None:
            return []
        reading = _reading(group, verdict)
        if event.key not in group.modules:
            if len(group.modules) >= MAX_MODULES:
                return []
            group.modules.append(event.key)
        group.waiting.pop(event.substrate_id, None)
        group.waiting[event.substrate_id] = (group.modules.index(event.key), reading.tobytes())
        while len(group.waiting) > MAX_WAITING:
            del group.waiting[next(iter(group.waiting))]
        group.last_ms = max(group.last_ms, event.time_ms)
        self._touched.add(key)
        values = reading / _TENTHS
        return [
            told
            for parameter in group.models
            if (told := self._foretell(group, parameter, event, values)) is not None
        ]

    def worth_telling(self, told: VirtualMetrology) -> bool:
        """Whether a prediction is news: not what the module usually does, or first of its lot."""
        key = f"{told.recipe_id}{_SEPARATOR}{told.step}"
        group = self._state.virtual[key]
        model = group.models[told.parameter]
        mean = model.means[told.key][1]
        apart = abs(_to_line(told.parameter, told.predicted) - mean)
        new = model.told.get(told.key) != told.lot_id
        if not (told.unlike or new or apart >= _WORTH_TELLING * _deviation(model)):
            return False
        model.told[told.key] = told.lot_id
        return True

    def measured(self, event: Metrology) -> Surprise | None:
        """A measurement came: learn from it.

        Returns:
            How far it is from what the module does, where that is odd.
        """
        value = _mean(event)
        wafer = self._lineage.wafer(event.substrate_id)
        if value is None or wafer is None:
            return None
        visit = next((v for v in wafer.visits if self._lineage.place(v).step == event.step), None)
        if visit is None:
            return None
        place = self._lineage.place(visit)
        key = f"{place.recipe_id}{_SEPARATOR}{place.step}"
        group = self._state.virtual.get(key)
        if group is None or len(event.parameter) > 64:
            return None
        model = group.models.get(event.parameter)
        if model is None:
            if len(group.models) >= MAX_PARAMETERS:
                return None
            model = group.models[event.parameter] = VirtualModel()
        if place.module not in model.means and len(model.means) >= MAX_MODULES:
            return None
        self._touched.add(key)
        # It goes on waiting: the wafer has other parameters.
        waiting = group.waiting.get(event.substrate_id)
        if waiting is not None and group.modules[waiting[0]] == place.module:
            reading = np.frombuffer(waiting[1], dtype=np.int8) / _TENTHS
        else:
            reading = np.zeros(len(group.variables))
        line = self._line(group, event.parameter, place.module)
        return _learn(model, line, place.module, visit.sequence, reading, value)

    def _foretell(
        self, group: VirtualGroup, parameter: str, event: Trace, reading: Floats
    ) -> VirtualMetrology | None:
        model = group.models[parameter]
        if event.key not in model.means or len(model.errors) < ENOUGH:
            return None
        line = self._line(group, parameter, event.key)
        _, mean = model.means[event.key]
        predicted = mean + _deviation(model) * line.value(reading)
        stretch = line.stretch(reading)
        half = _quantile(model) * stretch
        return VirtualMetrology(
            event_id=derived_id("virtual-metrology", event.event_id, parameter),
            site=event.site,
            time_ms=event.time_ms,
            lot_id=event.lot_id,
            substrate_id=event.substrate_id,
            slot=event.slot,
            equipment_id=event.equipment_id,
            module_id=event.module_id,
            recipe_id=event.recipe_id,
            step=event.step,
            parameter=parameter,
            predicted=_from_line(parameter, predicted),
            low=_from_line(parameter, predicted - half),
            high=_from_line(parameter, predicted + half),
            coverage=COVERAGE,
            unlike=line.is_unlike(reading),
            learned=model.learned,
        )

    def _group(self, key: str, event: Trace, verdict: Verdict) -> VirtualGroup | None:
        group = self._state.virtual.get(key)
        if group is not None:
            return group
        if len(self._state.virtual) >= MAX_GROUPS:
            oldest = min(
                self._state.virtual, key=lambda name: (self._state.virtual[name].last_ms, name)
            )
            del self._state.virtual[oldest]
            self._touched.add(oldest)
        names = [variable for variable, statistic in verdict.charts if statistic == "level"]
        group = VirtualGroup(variables=names[:MAX_FEATURES], last_ms=event.time_ms)
        self._state.virtual[key] = group
        return group

    def _line(self, group: VirtualGroup, parameter: str, module: str) -> RidgeLine:
        """Weights of a kind of module; of other sensors, those of their own."""
        known = self._state.modules.get(module)
        kind = known.kind if known is not None else ""
        key = f"{kind} {parameter}"
        record = self._state.virtual_lines.get(key)
        if record is not None and record.variables != group.variables:
            names = "\n".join(group.variables).encode()
            key = f"{key} {blake2b(names, digest_size=8).hexdigest()}"
        line = self._lines.get(key)
        if line is not None:
            return line
        lines = self._state.virtual_lines
        if key not in lines:
            if len(lines) >= MAX_LINES:
                least = min(lines, key=lambda name: (lines[name].learned, name))
                del lines[least]
                self._lines.pop(least, None)
            lines[key] = VirtualLine(list(group.variables))
        line = RidgeLine(lines[key], self._examples(kind, parameter, group.variables))
        self._lines[key] = line
        return line

    def _examples(
        self, kind: str, parameter: str, variables: list[str]
    ) -> list[tuple[Floats, float]]:
        """Readings at full growth of the failure modes of a kind, and the shift they make."""
        out = []
        most = _MOST_TENTHS / _TENTHS
        for mode in self._policy.failure_modes.values():
            if kind in mode.kinds:
                sign = np.array([mode.signature.get(name, 0.0) for name in variables])
                shift = mode.defects if is_density(parameter) else mode.measured
                out.append((np.clip(sign, -most, most), shift))
        return out


def _learn(
    model: VirtualModel,
    line: RidgeLine,
    module: str,
    sequence: int,
    reading: Floats,
    value: float,
) -> Surprise | None:
    """Take in a measured value; how far it is from the module's mean where that is odd."""
    known, mean = model.means.get(module, (0, value))
    model.means[module] = (min(known + 1, 1_000), mean)
    model.learned += 1
    if not known:
        return None
    apart = value - mean
    settled = len(model.errors) >= ENOUGH
    deviation = _deviation(model)
    surprise = None
    if settled and known >= 3 and abs(apart) > ODD * deviation:
        surprise = Surprise(module, sequence, apart / deviation)
    # 1. How wrong was the prediction, and did the interval hold?
    error = apart - (deviation * line.value(reading) if settled else 0.0)
    score = abs(error) / line.stretch(reading)
    if settled:
        missed = 1.0 if score > _quantile(model) else 0.0
        model.level += _STEP * ((1.0 - COVERAGE) - missed)
        model.level = min(max(model.level, 0.0), 0.5)
    model.errors = [*model.errors, score][-_ERRORS:]
    # 2. The noise, without what is out of the ordinary.
    most = _CLIP * deviation if settled else math.inf
    spread = min(abs(error), most)
    model.variance += max(1.0 / _ERRORS, 1.0 / len(model.errors)) * (spread**2 - model.variance)
    # 3. The weights, from what the mean does not tell; then the mean, from what neither tells.
    if settled:
        line.learn(reading, apart / deviation)
        error = apart - deviation * line.value(reading)
    step = max(_GAIN, 1.0 / (known + 1)) * min(max(error, -most), most)
    model.means[module] = (min(known + 1, 1_000), mean + step)
    return surprise


def _reading(group: VirtualGroup, verdict: Verdict) -> npt.NDArray[np.int8]:
    """Levels in tenths of a spread, (features,); 0 for what is not known."""
    width = len(verdict.charts) // 3
    z = np.where(np.isfinite(verdict.z[:width]), verdict.z[:width], 0.0)
    # Mostly the same sensors in the same order; only then are the first F those of the group.
    if not all(
        name == chart[0] for name, chart in zip(group.variables, verdict.charts, strict=False)
    ):
        place = {name: number for number, (name, _) in enumerate(verdict.charts[:width])}
        z = np.array([z[place[name]] if name in place else 0.0 for name in group.variables])
    z = np.rint(z[: len(group.variables)] * _TENTHS)
    return np.clip(z, -_MOST_TENTHS, _MOST_TENTHS).astype(np.int8)


def _quantile(model: VirtualModel) -> float:
    """Half an interval, for a wafer like those learned from."""
    ordered = sorted(model.errors)
    rank = math.ceil((1.0 - model.level) * (len(ordered) + 1))
    return ordered[min(rank, len(ordered)) - 1]


def _deviation(model: VirtualModel) -> float:
    return max(math.sqrt(model.variance), 1e-9)


def _mean(event: Metrology) -> float | None:
    """Mean over the sites, on the scale of the regression; None if there is none."""
    values = [value for value in event.values if math.isfinite(value) and abs(value) < 1e12]
    if not values:
        return None
    mean = sum(values) / len(values)
    if is_density(event.parameter) and mean <= 0.0:
        return None
    return _to_line(event.parameter, mean)


def is_density(parameter: str) -> bool:
    """Densities of defects are log-normal (Stapper 1983), and their logarithm is foretold."""
    return parameter.endswith("_cm2")


def _to_line(parameter: str, value: float) -> float:
    return math.log(value) if is_density(parameter) else value


def _from_line(parameter: str, value: float) -> float:
    return math.exp(min(value, 50.0)) if is_density(parameter) else value
