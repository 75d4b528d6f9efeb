"""Was an excursion named, rightly, and how long before metrology could have told?"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from contracts.events import Event, Metrology, ProcessEvent
from fab_sim import TrueExcursion
from fabpilot.fab_policies.advisor import Naming

__all__ = ["Judged", "NamingWatch"]

# What is named after the end of an excursion counts for some hours: its last wafers come then.
_GRACE_MS = 6 * 3_600_000


class Judged(NamedTuple):
    """How an excursion was named; see `fabpilot.fab_judge.RunExcursion`."""

    right: bool
    time_ms: int | None
    called: str
    wafers_ahead: int | None


class NamingWatch:
    """Follows a run's wafers, to say when metrology first measured one of a sick module."""

    def __init__(self) -> None:
        self._entered: list[int] = []
        self._treated: dict[tuple[str, str], tuple[str, int]] = {}
        self._measured: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def saw(self, events: Sequence[Event]) -> None:
        """Take note of one step's events."""
        for event in events:
            if isinstance(event, ProcessEvent):
                if event.phase == "started" and event.sequence == 0:
                    self._entered.append(event.time_ms)
                elif event.phase == "completed":
                    self._treated[event.substrate_id, event.step] = event.key, event.time_ms
            elif isinstance(event, Metrology):
                known = self._treated.get((event.substrate_id, event.step))
                if known is not None:
                    module, treated_ms = known
                    self._measured[module].append((event.time_ms, treated_ms))

    def judge(
        self, item: TrueExcursion, others: Sequence[TrueExcursion], namings: Sequence[Naming]
    ) -> Judged:
        """How one excursion was named.

        Args:
            item: the excursion.
            others: all of the site's; two on one module at a time are both right.
            namings: in order of time.
        """
        end_ms = None if item.cleared_ms is None else item.cleared_ms + _GRACE_MS
        mine = [
            naming
            for naming in namings
            if naming.module == item.module
            and naming.time_ms >= item.onset_ms
            and (end_ms is None or naming.time_ms <= end_ms)
        ]
        if not mine:
            return Judged(False, None, "", None)
        also = {
            other.mode
            for other in others
            if other.module == item.module
            and (end_ms is None or other.onset_ms <= end_ms)
            and (other.cleared_ms is None or other.cleared_ms + _GRACE_MS >= item.onset_ms)
        }
        called = next((n for n in mine if n.mode == item.mode), None)
        if called is None or any(n.mode not in also for n in mine if n.time_ms < called.time_ms):
            return Judged(False, mine[0].time_ms, mine[0].mode, None)
        return Judged(True, called.time_ms, called.mode, self._ahead(item, called.time_ms))

    def _ahead(self, item: TrueExcursion, named_ms: int) -> int | None:
        if item.first_affected_ms is None:
            return None
        measured = [
            time_ms
            for time_ms, treated_ms in self._measured[item.module]
            if treated_ms >= item.first_affected_ms
            and (item.cleared_ms is None or treated_ms <= item.cleared_ms)
        ]
        if not measured:
            return None
        return bisect_left(self._entered, min(measured)) - bisect_left(self._entered, named_ms)
