"""Lots and their wafers on the way through the line."""

from dataclasses import dataclass, field

from fab_sim.maps import Hit
from fab_sim.scenario import Product

__all__ = ["Lot", "Wafer"]


@dataclass(slots=True)
class Wafer:
    """A substrate and what happened to it so far.

    Attributes:
        detuned: sum of how far its recipes were from right.
        to_measure: step, kind, place in the route and shift of what metrology has to judge.
    """

    substrate_id: str
    slot: int
    hits: list[Hit] = field(default_factory=list)
    detuned: float = 0.0
    to_measure: list[tuple[str, str, int, float]] = field(default_factory=list)


@dataclass(slots=True)
class Lot:
    """Wafers that travel together.

    Attributes:
        number: counts lots from 1.
        waiting: wafers that the present step has still to process, next one last.
        held: why it is stopped, or ''.
    """

    number: int
    lot_id: str
    carrier_id: str
    product: Product
    wafers: list[Wafer]
    waiting: list[Wafer] = field(default_factory=list)
    held: str = ""
