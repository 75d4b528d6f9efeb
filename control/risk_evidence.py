"""What a trace says about its wafer: how odd it was, and the module at that time."""

import numpy as np

from contracts.events import Trace
from control.charts import Verdict
from control.foresight_state import Episode, Mark
from control.lineage import Lineage
from control.risk_rates import Rates
from control.state import ControlState, Visit, WaferRecord
from control.traces import chart_name

__all__ = ["Evidence", "visit_of"]

# A single wafer is odd from five spreads on (chance makes one in a million readings that odd) and
# far from eight.
ODD, FAR = 5.0, 8.0
# Traces after which a module has been out of its limits for long, and quiet ones that end it.
LONG, QUIET_AGAIN = 10, 10
MAX_EPISODES = 150


class Evidence:
    """Marks of wafers and episodes of modules.

    Args:
        state: with the episodes.
        lineage: which wafer went where.
        rates: which number the signs.
    """

    def __init__(self, state: ControlState, lineage: Lineage, rates: Rates) -> None:
        self._state = state
        self._lineage = lineage
        self._rates = rates

    def episode(self, event: Trace, verdict: Verdict) -> Episode | None:
        """The stretch out of limits that this trace belongs to."""
        going_on = next(
            (
                e
                for e in reversed(self._state.risk.episodes)
                if e.module == event.key and e.until_ms < 0
            ),
            None,
        )
        if going_on is None:
            if not verdict.shifts:
                return None
            going_on = Episode(event.key, verdict.since_ms)
            self._state.risk.episodes.append(going_on)
            del self._state.risk.episodes[:-MAX_EPISODES]
        going_on.traces += 1
        going_on.quiet = going_on.quiet + 1 if verdict.quiet else 0
        if going_on.quiet >= QUIET_AGAIN:
            going_on.until_ms = event.time_ms
            return None
        return going_on

    def mark(self, event: Trace, verdict: Verdict, episode: Episode | None) -> Mark | None:
        """How odd this wafer's own trace was, and the module at that time."""
        z = verdict.z.copy()
        width = len(z) // 3
        # A spread that falls is a stuck or averaged sensor, which is no fault of the process.
        z[width : 2 * width] = np.maximum(z[width : 2 * width], 0.0)
        size = np.abs(z)
        top = int(np.argmax(np.where(size >= ODD, size, 0.0))) if len(size) else 0
        own = float(size[top]) if len(size) else 0.0
        out = bool(verdict.shifts)
        strength = 2 if own >= FAR else 1 if own >= ODD else 0
        if not out and not strength:
            return None
        if strength:
            variable, statistic = verdict.charts[top]
            name, up = chart_name(variable, statistic), z[top] > 0
        else:
            name, up = verdict.shifts[0].variable, verdict.shifts[0].z > 0
        level = strength - 1
        if out:
            level = strength + (5 if episode is not None and episode.traces > LONG else 2)
        known = self._state.modules.get(event.key)
        kind = known.kind if known is not None else ""
        sign = self._rates.sign(f"{kind} {name}{'+' if up else '-'}")
        return Mark(event.sequence, level, sign)

    def same_run(self, event: Trace, wafer: WaferRecord) -> list[tuple[str, WaferRecord]]:
        """The wafer of a trace; in a batch tool also those that were treated with it.

        They have no trace of their own, and are on the module still or left it at the same moment.
        """
        own = visit_of(wafer, event.sequence)
        run = [(event.substrate_id, wafer)]
        if own is None:
            return run
        for name, mate in self._lineage.untested():
            if mate is wafer or mate.lot_id != wafer.lot_id:
                continue
            visit = visit_of(mate, event.sequence)
            if visit is None or visit.traced or visit.place != own.place:
                continue
            # At the same moment another wafer may have begun, where they go one after another.
            if (visit.time_ms == own.time_ms) if visit.completed else (visit.time_ms < own.time_ms):
                run.append((name, mate))
        return run


def visit_of(wafer: WaferRecord, sequence: int) -> Visit | None:
    """A wafer's visit at a place of the route; of a step measured before it on demand, the step."""
    return next((v for v in reversed(wafer.visits) if v.sequence == sequence), None)
