"""The textbook baseline: Shewhart charts on metrology, and a stop of the module on every alarm.

One X-bar chart a module and measured parameter, centred as the module was qualified, with the
Western Electric rules. A point is the mean of a lot's wafers that the module had, measured at one
stop. After an alarm the module goes to maintenance; wafers that it processed before that count no
more.
"""

import math
from collections import OrderedDict
from collections.abc import Collection, Sequence

from contracts.events import Action, EquipmentState, Event, Metrology, ProcessEvent
from contracts.topics import Stream
from control.spc import WESTERN_ELECTRIC, Monitor, RuleSet
from fab_sim import Fab
from fabpilot.fab_policies.policy import approve

__all__ = ["SpcPolicy"]

# Lots whose way is remembered: more than are ever on a line.
_REMEMBERED_LOTS = 1000
_RULES = RuleSet(run_rules=WESTERN_ELECTRIC)


class SpcPolicy:
    """Charts of one fab.

    Args:
        fab: whose modules' qualifications set the limits. Nothing else of it is looked at.
        site: its name.

    Attributes:
        points: charted so far.
        alarms: raised so far, each a stop.
    """

    streams: Collection[Stream] = frozenset({Stream.PROCESS, Stream.METROLOGY, Stream.EQUIPMENT})

    def __init__(self, fab: Fab, site: str) -> None:
        self._site = site
        self._limits = fab.qualifications()
        self._charts: dict[tuple[str, str], Monitor] = {}
        # lot -> (substrate, step) -> module and time.
        self._ways: OrderedDict[str, dict[tuple[str, str], tuple[str, int]]] = OrderedDict()
        self._valid_from: dict[str, int] = {}
        self._stopped: dict[str, int] = {}
        self.points = 0
        self.alarms = 0

    def observe(self, events: Sequence[Event], now_ms: int) -> list[Action]:
        """Chart what was measured; stop what is out of control."""
        measured: dict[tuple[str, str], list[float]] = {}
        for event in events:
            if isinstance(event, ProcessEvent):
                if event.phase == "completed":
                    self._remember(event)
            elif isinstance(event, EquipmentState):
                self._module(event)
            elif isinstance(event, Action):
                if event.status == "failed":
                    # It is down already, for another reason; the chart goes on afterwards.
                    self._stopped.pop(f"{event.equipment_id}/{event.module_id}", None)
            elif isinstance(event, Metrology):
                self._measured(event, measured)
        return [
            self._stop(module, now_ms)
            for (module, parameter), deviations in measured.items()
            if self._out_of_control(module, parameter, deviations)
        ]

    def _remember(self, event: ProcessEvent) -> None:
        way = self._ways.setdefault(event.lot_id, {})
        way[event.substrate_id, event.step] = (event.key, event.time_ms)
        if len(self._ways) > _REMEMBERED_LOTS:
            self._ways.popitem(last=False)

    def _module(self, event: EquipmentState) -> None:
        if event.state == "scheduled_down":
            # Whatever it did before the maintenance says nothing about it any more.
            self._valid_from[event.key] = event.time_ms
        elif event.state != "unscheduled_down":
            stopped_ms = self._stopped.get(event.key)
            if stopped_ms is not None and self._valid_from.get(event.key, -1) >= stopped_ms:
                del self._stopped[event.key]

    def _measured(self, event: Metrology, measured: dict[tuple[str, str], list[float]]) -> None:
        """Put a wafer's deviation to those of the same module, parameter and stop."""
        way = self._ways.get(event.lot_id, {}).get((event.substrate_id, event.step))
        if way is None:
            return
        module, processed_ms = way
        limits = self._limits.get((module, event.parameter))
        if limits is not None and processed_ms >= self._valid_from.get(module, 0):
            deviation = limits.deviation(event.values)
            measured.setdefault((module, event.parameter), []).append(deviation)

    def _out_of_control(self, module: str, parameter: str, deviations: list[float]) -> bool:
        """Add a point, the mean of a lot's wafers."""
        if module in self._stopped:
            return False
        chart = self._charts.setdefault((module, parameter), Monitor(_RULES))
        self.points += 1
        # The mean of n wafers, in its own standard deviations.
        return bool(chart.broken(sum(deviations) / math.sqrt(len(deviations))))

    def _stop(self, module: str, now_ms: int) -> Action:
        self.alarms += 1
        self._stopped[module] = now_ms
        for (name, _), chart in self._charts.items():
            if name == module:
                chart.reset()
        equipment_id, module_id = module.split("/")
        return approve(
            "spc",
            "schedule_pm",
            self._site,
            self.alarms,
            now_ms,
            equipment_id=equipment_id,
            module_id=module_id,
        )
