"""Equipment: load ports, modules, and whether a carrier that docks is worked on at once."""

from collections import deque

import simpy

from fab_sim.kinds import INSPECTION, KINDS, METROLOGY, TEST
from fab_sim.modules import Module
from fab_sim.scenario import Equipment, Scenario

__all__ = ["JUDGES", "Tool"]

JUDGES = (METROLOGY, INSPECTION, TEST)
"""Kinds that take a lot as a whole and change nothing about it."""


class Tool:
    """Equipment: carriers dock at its load ports and are worked on one after another."""

    def __init__(self, spec: Equipment, scenario: Scenario, key: str) -> None:
        self.spec = spec
        self.modules = [Module(spec, name, key, scenario.reliability) for name in spec.modules]
        self.free_ports = spec.load_ports
        self.docked: deque[simpy.Event] = deque()
        # A cluster tool works on one carrier at a time with all its modules; where a module takes
        # a whole lot, each works on its own.
        self.one_by_one = not KINDS[spec.kind].batch and spec.kind not in JUDGES
        self.at_work = 0

    @property
    def ready(self) -> bool:
        """Whether a carrier can dock and will be worked on some time."""
        return self.free_ports > 0 and any(module.usable for module in self.modules)

    @property
    def idle(self) -> bool:
        """Whether a carrier that docks now is worked on at once."""
        if self.one_by_one:
            return self.at_work == 0
        return any(module.usable and not module.busy for module in self.modules)
