"""Run-to-run control: the next run's set point from what the last ones measured.

The process is taken to be y = b u + d, with b the model's gain, u the set point and d a slowly
changing disturbance (E. Sachs, A. Hu and A. Ingolfsson, IEEE Transactions on Semiconductor
Manufacturing 8 (1995) 26-43). d is estimated by an EWMA, and by a second one of what the first
lags behind where d drifts (S. W. Butler and J. A. Stefani, same journal 7 (1994) 193-201):

    a_t = w1 (y_t - b u_t) + (1 - w1) a_(t-1)
    D_t = w2 (y_t - b u_t - a_(t-1)) + (1 - w2) D_(t-1)
    u_(t+1) = (target - a_t - D_t) / b

With the true gain beta and xi = beta / b, a single EWMA is stable if and only if 0 < w1 xi < 2
(less where measurements come late: `gain_watch.stable_gain_ratio`), lags behind a drift delta by
delta / (w1 xi), and turns white noise sigma^2 into 2 / (2 - w1 xi) sigma^2 (A. Ingolfsson and E.
Sachs, Journal of Quality Technology 25 (1993) 271-287). The second EWMA takes the lag away.

The guard estimates xi from the runs themselves: see `control.gain_watch`.
"""

import math
from typing import Literal

import msgspec

from control.gain_watch import GainWatch, stable_gain_ratio

__all__ = [
    "Controller",
    "ControllerRecord",
    "Status",
    "Tuning",
    "follow",
    "recommended",
]

Status = Literal["learning", "active", "dead_band", "limited", "stopped"]

# Of the stable range of xi, this much is used: the rest is for what the model leaves out.
_MARGIN = 0.9
# Probability that the gain ratio is outside of it from which the controller stops.
_SURE_TO_STOP = 0.98
# Runs before the guard may stop anything: fewer do not tell a gain from a shift.
_LEAST_RUNS = 8
# A gain ratio is told where its posterior deviation is below this.
_KNOWN = 0.35
# Delays above this are treated as this; the controller is then very slow in any case.
_LONGEST_DELAY = 20


class Tuning(msgspec.Struct, frozen=True):
    """How a thread is steered.

    Attributes:
        target: of the output.
        gain: b, change of the output per unit of the set point; not 0.
        weight: w1, 0 to 1.
        drift_weight: w2; 0 for a single EWMA.
        low: lowest set point allowed.
        high: highest.
        max_step: largest change at once.
        dead_band: predicted deviations of the output up to this are left alone.
        noise: standard deviation of the output from run to run that no set point can help, in the
            output's unit; a virtual measurement counts by how it compares with this.
        learn: runs that are only watched at first.
    """

    target: float
    gain: float
    weight: float
    drift_weight: float
    low: float
    high: float
    max_step: float
    dead_band: float
    noise: float
    learn: int


class ControllerRecord(msgspec.Struct, array_like=True):
    """A controller's memory. Constant in size.

    Attributes:
        level: a.
        drift: D.
        runs: measured so far.
        status: what was done last.
        reason: why.
        changes: (time ms, set point) since when, oldest first; the first holds for all before.
        updates_ms: when the latest estimates were made, to know how late measurements are.
        watch: bytes of the gain watch.
        tuned: target, gain and weights it was made with; with others it starts again.
    """

    level: float = 0.0
    drift: float = 0.0
    runs: int = 0
    status: Status = "learning"
    reason: str = ""
    changes: list[tuple[int, float]] = msgspec.field(default_factory=list)
    updates_ms: list[int] = msgspec.field(default_factory=list)
    watch: bytes = b""
    tuned: tuple[float, ...] = ()


def follow(
    level: float, drift: float, seen: float, weight: float, drift_weight: float
) -> tuple[float, float]:
    """The next a and D, from the last ones and y - b u of a run."""
    return (
        level + weight * (seen - level),
        drift + drift_weight * (seen - level - drift),
    )


def recommended(level: float, drift: float, target: float, gain: float) -> float:
    """The set point that is expected to give the target."""
    return (target - level - drift) / gain


# Set points and updates that are remembered, for measurements that come late.
_REMEMBERED = 32


class Controller:
    """One thread.

    Args:
        tuning: how it is steered.
        nominal: set point before any change.
        record: what `record` gave, or None to start.

    Raises:
        ValueError: the record contradicts itself.
    """

    def __init__(
        self, tuning: Tuning, nominal: float, record: ControllerRecord | None = None
    ) -> None:
        self._tuning, self._nominal = tuning, nominal
        self._tuned = (tuning.target, tuning.gain, tuning.weight, tuning.drift_weight)
        if record is not None and record.tuned == self._tuned:
            self._record, self._watch = record, GainWatch(record.watch)
        else:
            changes = record.changes[-1:] if record is not None else []
            self._start(changes[0][1] if changes else nominal)

    def record(self) -> ControllerRecord:
        """Its memory."""
        self._record.watch = self._watch.record()
        return self._record

    @property
    def status(self) -> Status:
        """What it did last."""
        return self._record.status

    @property
    def reason(self) -> str:
        """Why, for people."""
        return self._record.reason

    @property
    def runs(self) -> int:
        """Measured so far."""
        return self._record.runs

    @property
    def disturbance(self) -> float:
        """Estimated offset of the process from b u, in the output's unit: a."""
        return self._record.level

    @property
    def drift(self) -> float:
        """What the second EWMA adds: D."""
        return self._record.drift

    @property
    def set_point(self) -> float:
        """In force."""
        return self._record.changes[-1][1]

    def set_point_at(self, time_ms: int) -> float:
        """In force at a time; the oldest known one before all of them."""
        held = self._record.changes[0][1]
        for since_ms, value in self._record.changes:
            if since_ms <= time_ms:
                held = value
        return held

    @property
    def gain_ratio(self) -> float | None:
        """Estimate of xi; None while it is not known well."""
        mean, deviation = self._watch.estimate()
        return mean if self.runs >= _LEAST_RUNS and deviation < _KNOWN else None

    def changed(self, set_point: float, time_ms: int) -> None:
        """Another set point is in force from now on, whoever changed it."""
        if math.isfinite(set_point) and set_point != self.set_point:
            self._record.changes.append((max(time_ms, self._record.changes[-1][0]), set_point))
            del self._record.changes[:-_REMEMBERED]

    @property
    def confidence(self) -> float:
        """Probability that the gain ratio is where the loop is stable if nothing comes late."""
        border = stable_gain_ratio(self._tuning.weight, self._tuning.drift_weight, 0)
        return 1.0 - self._watch.unstable(_MARGIN * border)

    def restart(self) -> None:
        """Watch again before acting: the module was maintained, or a person says so."""
        self._start(self.set_point)

    def _start(self, set_point: float) -> None:
        """At first the model is taken to be right: the set point gives the target."""
        level = self._tuning.target - self._tuning.gain * set_point
        self._record = ControllerRecord(level, changes=[(-1, set_point)], tuned=self._tuned)
        self._watch = GainWatch()

    def measured(
        self, value: float, processed_ms: int, now_ms: int, deviation: float = 0.0
    ) -> float:
        """A run was measured.

        Args:
            value: in the output's unit.
            processed_ms: when the run was made; the set point of that time counts.
            now_ms: when the measurement came.
            deviation: standard deviation of a virtual measurement; 0 of a real one.

        Returns:
            The set point recommended for the next run; the one in force where nothing is to change.
        """
        tuning, record = self._tuning, self._record
        used = self.set_point_at(processed_ms)
        trust = 1.0
        if deviation > 0.0:
            # The share of the variance that is the process's: Kalman's weight, to first order.
            # `hypot`, as the square of an absurd deviation is beyond all numbers.
            trust = (tuning.noise / math.hypot(tuning.noise, deviation)) ** 2
        self._watch.add(value - tuning.target, used - self._nominal, tuning.gain)
        seen = value - tuning.gain * used
        record.level, record.drift = follow(
            record.level, record.drift, seen, trust * tuning.weight, trust * tuning.drift_weight
        )
        record.runs += 1
        delay = min(_LONGEST_DELAY, sum(made > processed_ms for made in record.updates_ms))
        record.updates_ms = [*record.updates_ms, now_ms][-_REMEMBERED:]
        return self._recommend(delay)

    def _recommend(self, delay: int) -> float:
        tuning, record = self._tuning, self._record
        now = self.set_point
        if record.status == "stopped":
            return now
        self._guard(delay)
        if self.status == "stopped":
            return now
        if record.runs <= tuning.learn:
            record.status, record.reason = "learning", f"run {record.runs} of {tuning.learn}"
            return now
        wanted = recommended(record.level, record.drift, tuning.target, tuning.gain)
        if abs(tuning.gain * (wanted - now)) <= tuning.dead_band:
            record.status, record.reason = "dead_band", ""
            return now
        allowed = max(now - tuning.max_step, min(now + tuning.max_step, wanted))
        allowed = max(tuning.low, min(tuning.high, allowed))
        limited = abs(allowed - wanted) > 1e-12 * max(1.0, abs(wanted))
        record.status = "limited" if limited else "active"
        record.reason = f"wanted {wanted:.6g}" if limited else ""
        return allowed if math.isfinite(allowed) else now

    def _guard(self, delay: int) -> None:
        record, tuning = self._record, self._tuning
        if record.runs < _LEAST_RUNS:
            return
        border = _MARGIN * stable_gain_ratio(tuning.weight, tuning.drift_weight, delay)
        if self._watch.unstable(border) < _SURE_TO_STOP:
            return
        mean, deviation = self._watch.estimate()
        record.status = "stopped"
        record.reason = (
            f"the process answers with {mean:.2f} +- {deviation:.2f} times the model's gain; with"
            f" weight {tuning.weight:g} and measurements {delay} runs late it must be between 0 and"
            f" {border:.2f}: correct the model, or lower the weight, and restart the thread"
        )
