"""Trace charts of a whole site: which group a trace belongs to, and how many there may be."""

from collections.abc import Collection

from contracts.events import Trace
from control.chart_table import ChartTable
from control.charts import MAX_CELLS, ChartGroup, Verdict
from control.policy import Detection
from control.state import ControlState
from control.traces import STATISTICS, summarise

__all__ = ["FaultWatch"]

_SEPARATOR = "\x1f"


class FaultWatch:
    """All chart groups, within a fixed number of cells.

    Args:
        state: where the groups are saved.
        detection: limits and warm-up.

    Raises:
        ValueError: the saved groups contradict themselves.
    """

    def __init__(self, state: ControlState, detection: Detection) -> None:
        self._state = state
        self._detection = detection
        self._groups = {
            key: ChartGroup(key.partition(_SEPARATOR)[0], detection, ChartTable.restore(record))
            for key, record in state.groups.items()
        }
        self._touched: set[str] = set()

    def save(self) -> set[str]:
        """Put what is kept outside the state back into it; keys of the groups that changed."""
        touched, self._touched = self._touched, set()
        for key in touched - self._groups.keys():
            self._state.groups.pop(key, None)
        for key, group in self._groups.items():
            if key in touched:
                self._state.groups[key] = group.table.record()
        return touched

    def watch(self, event: Trace) -> Verdict | None:
        """Chart a trace; None while its module is warming up or there is no room for it."""
        key = f"{event.recipe_id}{_SEPARATOR}{event.step}"
        group = self._groups.get(key)
        if group is None or event.key not in group.table.modules:
            self._make_room(len(event.variables) * len(STATISTICS), key)
        if group is None:
            group = self._groups[key] = ChartGroup(event.recipe_id, self._detection)
            # It may have been here before: groups are saved in the order in which they came.
            self._state.groups.pop(key, None)
        self._touched.add(key)
        return group.update(
            event.key, event.variables, summarise(event.values.numpy()), event.time_ms
        )

    def levels(self, module: str) -> dict[str, float]:
        """How far the level of each variable of a module is from its normal of late, in spreads.

        EWMA of the clipped readings, of the recipe in which it is furthest.
        """
        found: dict[str, float] = {}
        for group in self._groups.values():
            for variable, level in group.levels(module).items():
                if abs(level) > abs(found.get(variable, 0.0)) or variable not in found:
                    found[variable] = level
        return found

    def forgive(self, module: str) -> None:
        """A module was repaired: its charts start again from their normal."""
        for key, group in self._groups.items():
            if group.forgive(module):
                self._touched.add(key)

    def settle(self, module: str) -> None:
        """A module comes back from maintenance: its normal may have moved a little."""
        for key, group in self._groups.items():
            if group.settle(module):
                self._touched.add(key)

    def compare(self, event: Trace) -> Verdict | None:
        """Judge a module that is warming up by the others; None where nothing is odd."""
        group = self._groups.get(f"{event.recipe_id}{_SEPARATOR}{event.step}")
        if group is None:
            return None
        elsewhere = [
            look
            for other in self._groups.values()
            if other is not group and other.table.variables == group.table.variables
            if (look := other.look(event.key)) is not None
        ]
        return group.compare(event.key, event.time_ms, elsewhere)

    def hold(self, event: Trace) -> None:
        """Something is wrong with a module that is warming up: it must not learn that as normal."""
        group = self._groups.get(f"{event.recipe_id}{_SEPARATOR}{event.step}")
        if group is not None:
            group.hold(event.key)

    def relearn(self, module: str, recipe_id: str) -> None:
        """A module's recipe was changed: what is normal for it must be learnt anew."""
        for key, group in self._groups.items():
            if key.partition(_SEPARATOR)[0] == recipe_id and group.relearn(module):
                self._touched.add(key)

    def recentre(self, event: Trace, variables: Collection[str]) -> None:
        """Take what a module's recipe and step show of late for its normal, in these variables."""
        key = f"{event.recipe_id}{_SEPARATOR}{event.step}"
        group = self._groups.get(key)
        if group is not None and group.recentre(event.key, variables):
            self._touched.add(key)

    def _make_room(self, cells: int, keep: str) -> None:
        """Drop the groups that were not used for longest, until `cells` more fit."""
        used = sum(group.table.cells for group in self._groups.values())
        while used + cells > MAX_CELLS and any(key != keep for key in self._groups):
            oldest = min(
                (key for key in self._groups if key != keep),
                key=lambda key: (self._groups[key].table.last_ms, key),
            )
            used -= self._groups.pop(oldest).table.cells
            self._touched.add(oldest)
            if oldest not in self._state.groups:
                self._touched.discard(oldest)  # never saved, so nobody has to be told
