"""Who is told what happens on the line."""

from typing import Protocol

from fab_sim.lots import Lot, Wafer
from fab_sim.modules import Illness, Module, ModuleRun
from fab_sim.scenario import Step

__all__ = ["Report"]


class Report(Protocol):
    """Is told what happens on the line, as it happens."""

    def state(self, module: Module, reason: str) -> None:
        """A module is in another state, or is inhibited or released."""
        ...

    def entered(self, lot: Lot) -> None:
        """A lot has entered the line."""
        ...

    def left(self, lot: Lot, *, scrapped: bool) -> None:
        """A lot has left the line, tested or scrapped."""
        ...

    def started(self, lot: Lot, wafer: Wafer, module: Module, step: Step, place: int) -> None:
        """A wafer starts a step on a module; `place` is the step's place in the route."""
        ...

    def completed(self, lot: Lot, wafer: Wafer, module: Module, step: Step, place: int) -> None:
        """A wafer has completed a step on a module."""
        ...

    def sensed(
        self, lot: Lot, wafer: Wafer, module: Module, step: Step, place: int, run: ModuleRun
    ) -> None:
        """The sensors saw it being processed."""
        ...

    def measured(self, lot: Lot, wafer: Wafer, module: Module) -> None:
        """Metrology has measured a wafer's `to_measure`."""
        ...

    def inspected(self, lot: Lot, wafer: Wafer, module: Module) -> None:
        """Inspection has looked for defects of a wafer's `to_inspect`."""
        ...

    def tested(self, lot: Lot, wafer: Wafer) -> None:
        """Electrical test has tested a wafer."""
        ...

    def began(self, module: Module, illness: Illness) -> None:
        """An excursion began."""
        ...

    def cleared(self, module: Module, illness: Illness) -> None:
        """Maintenance ended an excursion."""
        ...
