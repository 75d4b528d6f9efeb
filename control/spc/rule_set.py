"""What is looked at on a chart, all together: one verdict a point.

The rules that are enabled cost false alarms together, so they are one thing with one ARL
(`control.spc.arl`).
"""

from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from control.spc.charts import Cusum, Ewma, MovingRange
from control.spc.rules import WINDOW, RunRules

__all__ = ["Monitor", "MonitorRecord", "RuleSet"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rules that are enabled together.

    Attributes:
        limit: a point further than so many sigmas from the centre is out; None: not looked at.
        run_rules: names from `control.spc.rules.RULES`.
        ewma: (weight, limit in its own standard deviations); None for no EWMA.
        ewma_exact: the EWMA's limits are exact from its first point on, see `Ewma`.
        cusum: (reference, limit) in sigmas; None for no CUSUM.
        moving_range: the range of neighbours is looked at too (I-MR).
    """

    limit: float | None = None
    run_rules: tuple[str, ...] = ()
    ewma: tuple[float, float] | None = None
    ewma_exact: bool = True
    cusum: tuple[float, float] | None = None
    moving_range: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The enabled rules, as in `ChartPoint.enabled`."""
        limit = ("limit",) if self.limit is not None else ()
        ewma = ("ewma",) if self.ewma is not None else ()
        cusum = ("cusum",) if self.cusum is not None else ()
        moving = ("moving-range",) if self.moving_range else ()
        return (*limit, *self.run_rules, *ewma, *cusum, *moving)


class MonitorRecord(msgspec.Struct, array_like=True):
    """A single chart's monitor as it is saved. Constant in size.

    Attributes:
        window: the latest points, oldest first, at most 15.
        ewma: value and count.
        cusum: upper and lower sum.
    """

    window: list[float] = msgspec.field(default_factory=list)
    ewma: tuple[float, float] = (0.0, 0.0)
    cusum: tuple[float, float] = (0.0, 0.0)


class Monitor:
    """Applies a rule set to one chart, or to many side by side.

    Args:
        rules: what is looked at.
        charts: how many.

    Raises:
        ConfigError: there is no such rule.

    >>> monitor = Monitor(RuleSet(limit=3.0, ewma=(0.2, 2.86)))
    >>> monitor.broken(3.5)
    ('limit', 'ewma')
    """

    def __init__(self, rules: RuleSet, charts: int = 1) -> None:
        self.rules = rules
        self.run_rules = RunRules(rules.run_rules, charts)
        self.ewma = (
            Ewma(*rules.ewma, charts, exact=rules.ewma_exact) if rules.ewma is not None else None
        )
        self.cusum = Cusum(*rules.cusum, charts) if rules.cusum is not None else None
        self.moving = MovingRange(charts) if rules.moving_range else None

    def add(self, deviations: Floats) -> Bools:
        """One more point (charts,) on each; (rules, charts) which of `rules.names` it breaks."""
        rows: list[Bools] = []
        if self.rules.limit is not None:
            rows.append(np.abs(deviations) > self.rules.limit)
        rows.extend(self.run_rules.add(deviations))
        for chart in (self.ewma, self.cusum, self.moving):
            if chart is not None:
                rows.append(chart.add(deviations))
        return np.array(rows, dtype=np.bool_).reshape(len(rows), len(deviations))

    def broken(self, deviation: float) -> tuple[str, ...]:
        """One more point on a single chart: names of the rules that it breaks."""
        fired = self.add(np.array([deviation]))[:, 0]
        return tuple(name for name, hit in zip(self.rules.names, fired, strict=True) if hit)

    def reset(self, where: Bools | None = None) -> None:
        """Forget all points, as after a repair; of the charts in `where` (charts,) only."""
        for chart in (self.run_rules, self.ewma, self.cusum, self.moving):
            if chart is not None:
                chart.reset(where)

    def record(self) -> MonitorRecord:
        """A single chart's memory."""
        record = MonitorRecord()
        window = self.run_rules.window[0]
        if self.rules.run_rules or self.moving is not None:
            points = window[np.isfinite(window)]
            record.window = [float(point) for point in points]
        if self.ewma is not None:
            record.ewma = (float(self.ewma.value[0]), float(self.ewma.count[0]))
        if self.cusum is not None:
            record.cusum = (float(self.cusum.upper[0]), float(self.cusum.lower[0]))
        return record

    @classmethod
    def restore(cls, rules: RuleSet, record: MonitorRecord) -> Self:
        """The monitor of a single chart that `record` saved."""
        monitor = cls(rules)
        points = record.window[-WINDOW:]
        if points:
            monitor.run_rules.window[0, -len(points) :] = points
            if monitor.moving is not None:
                monitor.moving.last[0] = points[-1]
        if monitor.ewma is not None:
            monitor.ewma.value[0], monitor.ewma.count[0] = record.ewma
        if monitor.cusum is not None:
            monitor.cusum.upper[0], monitor.cusum.lower[0] = record.cusum
        return monitor
