"""EWMA charts of trace summaries: has a module moved away from its own quiet past?

For each recipe and step there is one group: a row for every module, a column for every variable
and statistic. A module is compared with its own past, so a constant matching offset between
modules is normal, and a movement that the other modules share (a new recipe, another product) is
nobody's fault. docs/control.md derives the limits and the false-alarm rate.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.events import VariableShift
from control.chart_limits import (
    MIN_PHASE_ONE,
    MIN_POOLED,
    WEIGHT,
    beyond,
    quiet_within,
    shared_by,
    widening,
)
from control.chart_table import ChartTable
from control.peers import HELD, LATEST, Look, Peer, compare
from control.policy import Detection
from control.traces import STATISTICS, chart_name

__all__ = ["MAX_CELLS", "ChartGroup", "Verdict"]

# A single wafer counts for at most so many sigmas: at least three must agree before an alarm.
CLIP = 4.0
# The baseline never learns slower than 1/100 a wafer, so that ageing within the norm is followed.
MAX_BASELINE = 100
# A shift below 0.1 % of the level is not worth a person, however still the sensor usually is.
RELATIVE_FLOOR = 1e-3
# Maintenance leaves a small shift, 0.3 spreads in many modules: the centre from before is worth no
# more than a few wafers, but still a baseline. The spread is what it was.
AFTER_MAINTENANCE = MIN_PHASE_ONE
# Rows times columns over all groups; 48 bytes each, so that the state stays below 2 MB.
MAX_CELLS = 16_000

Floats = npt.NDArray[np.float64]


class Verdict(NamedTuple):
    """What the charts say after one trace.

    Attributes:
        shifts: variables out of their limits, largest first; empty if none is.
        since_ms: when the earliest of them was last in place.
        quiet: every chart of this module and recipe is well within its limits.
        z: (K,) this wafer alone: how far it is from the module's normal, beyond what the other
            modules share, in wafer-to-wafer spreads; NaN where that is not known.
        charts: the K charts, (variable, statistic).
        away: (V,) the recent level of each variable, EWMA, in spreads from the module's normal; NaN
            where that is not known.
        settling: traces of this recipe and step since the module's maintenance, this one counted;
            0 if there was none, or it is long ago.
    """

    shifts: tuple[VariableShift, ...]
    since_ms: int
    quiet: bool
    z: Floats
    charts: tuple[tuple[str, str], ...]
    away: Floats
    settling: int = 0


class ChartGroup:
    """The charts of one recipe and step.

    Args:
        recipe_id: for the shifts it reports.
        detection: limits and warm-up.
        table: of a group that was saved; a new one by default.

    Attributes:
        table: the numbers of its charts.
    """

    def __init__(
        self, recipe_id: str, detection: Detection, table: ChartTable | None = None
    ) -> None:
        self._recipe_id = recipe_id
        self._detection = detection
        self.table = ChartTable() if table is None else table

    def update(
        self, module: str, variables: tuple[str, ...], summary: Floats, time_ms: int
    ) -> Verdict | None:
        """Add one trace's summary.

        Args:
            module: 'equipment/module'.
            variables: V names.
            summary: (3 * V,) from `control.traces.summarise`.
            time_ms: of the trace.

        Returns:
            None as long as the module is warming up, or where the group has no room for it.
        """
        reading = self.table.align(variables, summary)
        if not self.table.variables:
            return None  # no names that can be charted: there is nothing to be kept of it
        row = self.table.row(module)
        if row is None:
            return None
        self.table.last_ms = max(self.table.last_ms, time_ms)
        # float32 here and in the saved state, so that a restart in the warm-up changes nothing.
        if row in self.table.warm_up:
            self.table.warm_up[row].append(reading.astype(np.float32).astype(np.float64))
            if len(self.table.warm_up[row]) >= self._detection.trace_warm_up:
                self._finish_warm_up(row, time_ms)
            return None
        return self._judge(row, reading, time_ms)

    def levels(self, module: str) -> dict[str, float]:
        """EWMA of the level of each variable whose normal is known, in spreads."""
        row, width = self.table.find(module), len(self.table.variables)
        if row < 0 or row in self.table.warm_up:
            return {}
        count, ewma = self.table.numbers[0, row, :width], self.table.numbers[3, row, :width]
        return {
            variable: float(level)
            for variable, n, level in zip(self.table.variables, count, ewma, strict=True)
            if n >= MIN_PHASE_ONE
        }

    def forgive(self, module: str) -> bool:
        """Start the EWMA of a module again: it was repaired. What is normal for it stays.

        Returns:
            Whether the module is here.
        """
        row = self.table.find(module)
        if row < 0:
            return False
        _, mean, _, ewma, level, _ = self.table.numbers[:, row]
        ewma[:] = 0.0
        level[:] = mean
        return True

    def settle(self, module: str) -> bool:
        """A module comes back from maintenance: its normal may have moved a little.

        Returns:
            Whether the module is here.
        """
        if not self.forgive(module):
            return False
        row = self.table.find(module)
        if row in self.table.warm_up:
            self.table.warm_up[row] = []
        else:
            self.table.settling[row] = 0
        return True

    def recentre(self, module: str, variables: Collection[str]) -> bool:
        """Take what is recent for normal, in those charts of `variables` that are not quiet.

        Returns:
            Whether there was such a chart.
        """
        row = self.table.find(module)
        if row < 0 or row in self.table.warm_up:
            return False
        count, mean, _, ewma, level, _ = self.table.numbers[:, row]
        chosen = np.array([name in variables for name, _ in self.table.charts()])
        moved = chosen & (np.abs(ewma) >= quiet_within(self._centre_wafers(row)))
        moved &= count >= MIN_PHASE_ONE
        mean[moved] = level[moved]
        ewma[moved] = 0.0
        return bool(moved.any())

    def hold(self, module: str) -> None:
        """Something is wrong with a module that is warming up: it has not learnt its normal."""
        readings = self.table.warm_up.get(self.table.find(module), [])
        del readings[:-HELD]

    def relearn(self, module: str) -> bool:
        """Learn a module's normal anew: somebody changed its recipe on purpose.

        Returns:
            Whether the module is here.
        """
        row = self.table.find(module)
        if row < 0:
            return False
        self.table.numbers[:, row] = 0.0
        self.table.warm_up[row] = []
        self.table.settling.pop(row, None)
        return True

    def _finish_warm_up(self, row: int, time_ms: int) -> None:
        """Phase I: centre by the median, spread by the readings within three robust sigmas."""
        readings = np.array(self.table.warm_up.pop(row))
        for column in range(readings.shape[1]):
            x = readings[:, column]
            x = x[np.isfinite(x)]
            if x.size < MIN_PHASE_ONE:
                continue
            centre = float(np.median(x))
            # 1.4826 makes the median absolute deviation a standard deviation (normal law).
            reach = 3.0 * 1.4826 * float(np.median(np.abs(x - centre)))
            kept = x[np.abs(x - centre) <= reach]
            var = float(np.var(kept, ddof=1)) if kept.size > 1 else 0.0
            self.table.numbers[:, row, column] = (x.size, centre, var, 0.0, centre, time_ms)

    def _judge(self, row: int, x: Floats, time_ms: int) -> Verdict:
        count, mean, var, ewma, level, since = self.table.numbers[:, row]
        counts = self.table.numbers[0]
        known = counts >= MIN_PHASE_ONE
        weights = np.where(known, counts, 0.0)
        total = weights.sum(axis=0)
        pooled = (weights * self.table.numbers[2]).sum(axis=0) / np.maximum(total, 1.0)
        # A module's own spread counts where it is larger than the others' by more than twice its
        # standard error, sqrt(2/n) of a normal variance: a few wafers do not tell it well enough.
        own = var * np.maximum(0.0, 1.0 - 2.0 * np.sqrt(2.0 / np.maximum(count, 1.0)))
        sigma = np.sqrt(np.maximum(np.maximum(pooled, own), self._floor(mean) ** 2))
        if total.min() < MIN_POOLED:
            # One scale for the doubts: of a spread from few wafers, all is that much less sure.
            sigma *= widening(self._detection.trace_limit_sigma, total)
        if row in self.table.settling:
            self.table.settling[row] += 1
        centre = self._centre_wafers(row)
        there = np.isfinite(x)
        ok = there & known[row]
        apart = np.where(ok, x - mean, 0.0)
        far = apart / sigma
        z = np.clip(far, -CLIP, CLIP)
        ewma[ok] += WEIGHT * (z - ewma)[ok]
        level[ok] += WEIGHT * (x - level)[ok]
        near = quiet_within(centre)
        since[ok & (np.abs(ewma) <= near / 2)] = time_ms
        limits = self._detection.trace_limit_sigma, self._detection.trace_min_shift_sigma
        limit = beyond(centre, *limits)
        shared = self._shared(row, known)
        alone = ewma - shared
        out = ok & (np.abs(ewma) > limit) & (alone * np.sign(ewma) > limit)
        # A spread that falls is a stuck or averaged sensor, which is no fault of the process.
        width = len(self.table.variables)
        out[width : 2 * width] &= ewma[width : 2 * width] > 0
        shifts = self._shifts(np.flatnonzero(out), row, sigma)
        since_ms = int(since[out].min()) if shifts else time_ms
        quiet = bool(np.all((np.abs(ewma) < near)[known[row]])) if not shifts else False
        self._learn(row, x, there, apart, sigma, ok & (np.abs(ewma) < near))
        away = np.where(known[row], (level - mean) / sigma, np.nan)[:width]
        alone_z = np.where(ok, far - shared, np.nan)
        settling = self.table.settling.get(row, 0)
        if settling >= MAX_BASELINE:
            del self.table.settling[row]
        return Verdict(shifts, since_ms, quiet, alone_z, self.table.charts(), away, settling)

    def _centre_wafers(self, row: int) -> Floats:
        """Wafers, (K,), that the centres are worth: fewer than the spreads after maintenance."""
        most = AFTER_MAINTENANCE + self.table.settling.get(row, MAX_BASELINE)
        return np.asarray(np.clip(self.table.numbers[0, row], 1.0, most))

    def look(self, module: str) -> Look | None:
        """What a module that is warming up and the others show; None for any other module."""
        row = self.table.find(module)
        own = self.table.warm_up.get(row)
        if not own:
            return None
        width, others = len(self.table.variables), []
        for other in range(len(self.table.modules)):
            if other != row and other in self.table.warm_up:
                readings = np.array(self.table.warm_up[other]).reshape(-1, len(own[-1]))
                others.append(Peer.of_readings(readings[:, :width]))
            elif other != row:
                count, centre, var = self.table.numbers[:3, other, :width]
                others.append(Peer(centre, var, np.where(count < MIN_PHASE_ONE, 0.0, count)))
        return Look(np.array(own), others, RELATIVE_FLOOR * np.abs(own[-1][:width]) + 1e-12)

    def compare(self, module: str, time_ms: int, elsewhere: Sequence[Look] = ()) -> Verdict | None:
        """Judge a module that is warming up by the others; None where nothing is odd.

        Args:
            module: 'equipment/module'.
            time_ms: now.
            elsewhere: the same module in other recipes, with the variables of this one.
        """
        look = self.look(module)
        if look is None:
            return None
        found = compare((look,))
        if found is None and elsewhere:
            found = compare((look, *elsewhere), LATEST)
        if found is None:
            return None
        normal, sigma, apart, out = found
        x, width = look.readings[-1], len(self.table.variables)
        shifts = [
            VariableShift(
                variable=self.table.variables[column],
                recipe_id=self._recipe_id,
                mean=float(normal[column] + apart[column] * sigma[column]),
                normal=float(normal[column]),
                spread=float(sigma[column]),
                z=float(apart[column]),
            )
            for column in out
        ]
        shifts.sort(key=lambda shift: (-abs(shift.z), shift.variable))
        z = np.full(len(STATISTICS) * width, np.nan)
        z[:width] = (x[:width] - normal) / sigma
        return Verdict(tuple(shifts), time_ms, False, z, self.table.charts(), apart)

    def _floor(self, mean: Floats) -> Floats:
        """Smallest sigma that is believed, (K,): a part of the variable's level."""
        width = len(self.table.variables)
        level = RELATIVE_FLOOR * np.abs(mean[:width]) + 1e-12
        return np.concatenate((level,) * len(STATISTICS))

    def _shared(self, row: int, known: npt.NDArray[np.bool_]) -> Floats:
        """How far the other modules have moved, (K,): their median, 0 where there are none."""
        others = [
            other
            for other in range(len(self.table.modules))
            if other != row and other not in self.table.warm_up
        ]
        return shared_by(np.where(known[others], self.table.numbers[3, others], 0.0))

    def _shifts(
        self, columns: npt.NDArray[np.intp], row: int, sigma: Floats
    ) -> tuple[VariableShift, ...]:
        width = len(self.table.variables)
        _, mean, _, _, level, _ = self.table.numbers[:, row]
        shifts = [
            VariableShift(
                variable=chart_name(
                    self.table.variables[column % width], STATISTICS[column // width]
                ),
                recipe_id=self._recipe_id,
                mean=float(level[column]),
                normal=float(mean[column]),
                spread=float(sigma[column]),
                z=float((level[column] - mean[column]) / sigma[column]),
            )
            for column in columns
        ]
        shifts.sort(key=lambda shift: (-abs(shift.z), shift.variable))
        return tuple(shifts)

    def _learn(
        self,
        row: int,
        x: Floats,
        there: npt.NDArray[np.bool_],
        apart: Floats,
        sigma: Floats,
        quiet: npt.NDArray[np.bool_],
    ) -> None:
        """Let a quiet wafer teach the baseline; one far out counts as one three sigmas out."""
        count, mean, var, _, level, _ = self.table.numbers[:, row]
        count[quiet] = np.minimum(count[quiet] + 1.0, MAX_BASELINE)
        step = np.clip(apart, -3.0 * sigma, 3.0 * sigma)
        mean[quiet] += step[quiet] / self._centre_wafers(row)[quiet]
        var[quiet] += (step[quiet] ** 2 - var[quiet]) / count[quiet]
        # A variable that was silent in the warm-up learns its level from its first readings.
        fresh = there & (count < MIN_PHASE_ONE)
        if fresh.any():
            count[fresh] += 1.0
            before = x[fresh] - mean[fresh]
            mean[fresh] += before / count[fresh]
            var[fresh] += (before * (x[fresh] - mean[fresh]) - var[fresh]) / count[fresh]
            level[fresh] = mean[fresh]
