"""Virtual metrology: what metrology would read on a wafer, foretold from its trace.

For each recipe, step and parameter there is a straight line: the module's own mean, and a weight
for how far each sensor's level is from its normal on this module (z of `control.charts`). Weights
are shared by the modules, start at zero, and are pulled there by ridge regression (A. E. Hoerl,
R. W. Kennard, Technometrics 12, 1970) with forgetting, so that sensors that tell nothing cost next
to nothing. Measurements are hours late; the readings they belong to wait for them, so many at most.

Intervals are conformal: a quantile of the latest errors, whose level follows how often the interval
missed (I. Gibbs, E. Candes, Adaptive conformal inference under distribution shift, 2021), times
what the regression says about a wafer that far from what it learned.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.events import Metrology, Trace, VirtualMetrology
from contracts.ids import derived_id
from control.charts import Verdict
from control.lineage import Lineage
from control.state import ControlState, VirtualGroup, VirtualModel

__all__ = ["COVERAGE", "Surprise", "VirtualWatch"]

COVERAGE = 0.9
# A weight is believed to be about a tenth of the noise per spread of a sensor: what an excursion of
# ten spreads does is then of the size of the noise before anything was measured.
_PRIOR_PRECISION = 100.0
# Share of what was learned that stays with each measurement: 200 wafers are remembered.
_KEPT = 0.995
# A module's mean follows its latest ten measurements; one counts for three deviations at most.
_GAIN, _CLIP = 0.1, 3.0
# Errors the quantile is taken from, those needed before anything is told, the step of its level.
_ERRORS, ENOUGH, _STEP = 60, 20, 0.02
# Readings are kept as tenths of a spread in a byte.
_TENTHS, _MOST_TENTHS = 10.0, 127
MAX_GROUPS, MAX_FEATURES, MAX_PARAMETERS, MAX_WAITING, MAX_MODULES = 48, 32, 4, 200, 32
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


class _Line:
    """The regression of one parameter, made quick to ask. Its record is the truth."""

    def __init__(self, record: VirtualModel, features: int) -> None:
        self.record = record
        triangle = np.triu_indices(features)
        numbers = np.frombuffer(record.numbers, dtype="<f4").astype(np.float64)
        self.information = np.zeros((features, features))
        if len(numbers):
            self.information[triangle] = numbers[:-features]
            self.information = self.information + np.triu(self.information, 1).T
            self.target = numbers[-features:].copy()
        else:
            self.target = np.zeros(features)
        self._solve()

    def learn(self, reading: Floats, error: float) -> None:
        """Take in how far the value was from the module's mean."""
        size = len(reading)
        self.information = _KEPT * self.information + np.outer(reading, reading)
        self.target = _KEPT * self.target + reading * error
        triangle = np.triu_indices(size)
        numbers = np.concatenate([self.information[triangle], self.target]).astype("<f4")
        self.record.numbers = numbers.tobytes()
        # What is saved is what is used, so that a restart changes nothing.
        again = _Line(self.record, size)
        self.information, self.target = again.information, again.target
        self.weights, self.covariance = again.weights, again.covariance

    def _solve(self) -> None:
        prior = _PRIOR_PRECISION * np.eye(len(self.target))
        self.covariance = np.linalg.inv(self.information + prior)
        self.weights = self.covariance @ self.target


class VirtualWatch:
    """Foretells measurements of a site, and learns from those that come.

    Args:
        state: where everything is kept.
        lineage: which wafer went where.
    """

    def __init__(self, state: ControlState, lineage: Lineage) -> None:
        self._state = state
        self._lineage = lineage
        self._lines: dict[tuple[str, str], _Line] = {}
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
            if (told := self._foretell(key, group, parameter, event, values)) is not None
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
        # Kept until another parameter of the wafer has been measured too.
        waiting = group.waiting.get(event.substrate_id)
        if waiting is not None and group.modules[waiting[0]] == place.module:
            reading = np.frombuffer(waiting[1], dtype=np.int8) / _TENTHS
        else:
            reading = np.zeros(len(group.variables))
        return self._learn(
            key, event.parameter, model, place.module, visit.sequence, reading, value
        )

    def _learn(
        self,
        key: str,
        parameter: str,
        model: VirtualModel,
        module: str,
        sequence: int,
        reading: Floats,
        value: float,
    ) -> Surprise | None:
        known, mean = model.means.get(module, (0, value))
        deviation = _deviation(model)
        line = self._line(key, parameter, model, len(reading))
        correction = float(line.weights @ reading)
        apart = value - mean
        error = apart - correction
        surprise = None
        if known >= 3 and model.learned >= ENOUGH and abs(apart) > ODD * deviation:
            surprise = Surprise(module, sequence, apart / deviation)
        if known:
            # 1. How wrong was the prediction, and did the interval hold?
            score = abs(error) / _stretch(line, reading)
            if len(model.errors) >= ENOUGH:
                missed = score > _quantile(model)
                model.level += _STEP * ((1.0 - COVERAGE) - missed)
                model.level = min(max(model.level, 0.0), 0.5)
            model.errors = [*model.errors, score][-_ERRORS:]
            # 2. Noise about the mean, without what is out of the ordinary.
            most = _CLIP * deviation if model.learned >= ENOUGH else math.inf
            spread = min(abs(error), most)
            gain = max(_GAIN / 2, 1.0 / (model.learned + 1))
            model.variance += gain * (spread**2 - model.variance)
            # 3. Weights, from what the mean does not tell.
            line.learn(reading, apart)
            error = apart - float(line.weights @ reading)
            error = min(max(error, -most), most)
        else:
            error = 0.0
        model.means[module] = (
            min(known + 1, 1_000),
            mean + max(_GAIN, 1.0 / (known + 1)) * error,
        )
        model.learned += 1
        return surprise

    def _foretell(
        self, key: str, group: VirtualGroup, parameter: str, event: Trace, reading: Floats
    ) -> VirtualMetrology | None:
        model = group.models[parameter]
        if event.key not in model.means or len(model.errors) < ENOUGH:
            return None
        line = self._line(key, parameter, model, len(reading))
        _, mean = model.means[event.key]
        predicted = mean + float(line.weights @ reading)
        stretch = _stretch(line, reading)
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
            # The regression would add more doubt than there is noise.
            unlike=stretch**2 > 2.0,
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
            self._lines = {name: line for name, line in self._lines.items() if name[0] != oldest}
            self._touched.add(oldest)
        names = [variable for variable, statistic in verdict.charts if statistic == "level"]
        group = VirtualGroup(variables=names[:MAX_FEATURES], last_ms=event.time_ms)
        self._state.virtual[key] = group
        return group

    def _line(self, key: str, parameter: str, model: VirtualModel, features: int) -> _Line:
        line = self._lines.get((key, parameter))
        if line is None:
            line = self._lines[key, parameter] = _Line(model, features)
        return line


def _reading(group: VirtualGroup, verdict: Verdict) -> npt.NDArray[np.int8]:
    """Levels in tenths of a spread, (features,); 0 for what is not known."""
    width = len(verdict.charts) // 3
    z = np.nan_to_num(verdict.z[:width])
    if [name for name, _ in verdict.charts[: len(group.variables)]] != group.variables:
        place = {name: number for number, (name, _) in enumerate(verdict.charts[:width])}
        z = np.array([z[place[name]] if name in place else 0.0 for name in group.variables])
    z = np.rint(z[: len(group.variables)] * _TENTHS)
    return np.clip(z, -_MOST_TENTHS, _MOST_TENTHS).astype(np.int8)


def _stretch(line: _Line, reading: Floats) -> float:
    """How much wider than the noise the doubt about this wafer is."""
    return math.sqrt(1.0 + float(reading @ line.covariance @ reading))


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
    if _is_density(event.parameter) and mean <= 0.0:
        return None
    return _to_line(event.parameter, mean)


def _is_density(parameter: str) -> bool:
    """Densities of defects are log-normal (Stapper 1983), and their logarithm is foretold."""
    return parameter.endswith("_cm2")


def _to_line(parameter: str, value: float) -> float:
    return math.log(value) if _is_density(parameter) else value


def _from_line(parameter: str, value: float) -> float:
    return math.exp(min(value, 50.0)) if _is_density(parameter) else value
