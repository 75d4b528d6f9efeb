"""The upper bound: it knows the truth and does the best thing at the best moment.

For each excursion there are two cures, maintenance and, for some modes, a recipe that makes up
for it. The oracle takes the cheaper one (`fab_sim.economy`) in the last moment before wafers
suffer, and none at all where the wafers still to come are worth less than the cure.
"""

from collections.abc import Collection, Sequence

from contracts.events import Action, Event
from contracts.topics import Stream
from fab_sim import Fab
from fab_sim.economy import COSTS
from fab_sim.modules import Illness, Module
from fabpilot.fab_policies.policy import approve

__all__ = ["OraclePolicy"]

# Share of a wafer's dies that a field of strength 1 kills, about: from a scratch to near-full.
_KILLS = 0.2
# Hours that a module is away for maintenance, on average.
_PM_HOURS = 4.0


class OraclePolicy:
    """Sees what nobody can see.

    Args:
        fab: the fab, with its hidden state.
        site: its name.
    """

    streams: Collection[Stream] = frozenset()

    def __init__(self, fab: Fab, site: str) -> None:
        self._fab = fab
        self._site = site
        self._number = 0

    def observe(self, events: Sequence[Event], now_ms: int) -> list[Action]:
        """Cure what is about to do harm."""
        actions = []
        for module, illness in self._fab.sick():
            if module.down or module.down_due or module.inhibited:
                continue
            if self._about_to_harm(illness) and self._harm_to_come(module, illness) > self._cost():
                self._number += 1
                actions.append(
                    approve(
                        "oracle",
                        "schedule_pm",
                        self._site,
                        self._number,
                        now_ms,
                        equipment_id=module.equipment_id,
                        module_id=module.module_id,
                    )
                )
        return actions

    def _about_to_harm(self, illness: Illness) -> bool:
        """Whether the next wafer may suffer."""
        if illness.excursion.growth == "step":
            return True
        return 2.0 * (illness.wafers + 1) / illness.excursion.growth_wafers > 1.0

    def _cost(self) -> float:
        """Of a cure, in wafers' worth of dies. A recipe change costs more in every case."""
        return COSTS.module_hour * _PM_HOURS

    def _harm_to_come(self, module: Module, illness: Illness) -> float:
        """Of doing nothing, in wafers' worth of dies, until the last lot has passed."""
        modules = sum(other.kind == module.kind for other in self._fab.modules.values())
        suffering = self._fab.visits_to_come(module.kind) / modules * illness.excursion.share
        return suffering * min(1.0, _KILLS * illness.excursion.magnitude)
