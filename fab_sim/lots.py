"""Lots and their wafers on the way through the line, and the luck they will have there."""

from dataclasses import dataclass, field

import simpy

from fab_sim.maps import Hit
from fab_sim.randomness import generator
from fab_sim.scenario import Product

__all__ = ["Lot", "Luck", "ToMeasure", "Wafer"]


@dataclass(slots=True, frozen=True)
class ToMeasure:
    """A step of a wafer that metrology or inspection has still to judge.

    Attributes:
        step: its name.
        kind: of the module.
        place: in the route.
        shift: of the wafer's mean, in the measured value's own deviations.
    """

    step: str
    kind: str
    place: int
    shift: float


class Luck:
    """All that chance decides about a lot, drawn before it starts.

    What is done to the line later changes nobody's luck: two runs that differ in one action differ
    in what that action does and in nothing else, so policies can be compared wafer by wafer.

    Attributes:
        orders: per place in the route, the order in which wafers are taken; next one last.
        pace: per place and wafer, of the time a module takes, 1.0 to 1.3 of the recipe's.
        suffer: per place and wafer, 0 to 1; suffers what has at least this share.
        strength: per place and wafer, 0.85 to 1.1, of what hits it.
        transport: per place, 0 to 1 of the range of transport times.
        choice: per place, 0 to 1: which of the tools that are free takes the lot.
    """

    __slots__ = ("choice", "orders", "pace", "strength", "suffer", "transport")

    def __init__(self, key: str, number: int, places: int, wafers: int) -> None:
        random = generator(key, "luck", number)
        shape = (places, wafers)
        self.orders: list[list[int]] = random.random(shape).argsort(axis=1).tolist()
        self.pace: list[list[float]] = random.uniform(1.0, 1.3, shape).tolist()
        self.suffer: list[list[float]] = random.random(shape).tolist()
        self.strength: list[list[float]] = random.uniform(0.85, 1.1, shape).tolist()
        self.transport: list[float] = random.random(places).tolist()
        self.choice: list[float] = random.random(places).tolist()


@dataclass(slots=True)
class Wafer:
    """A substrate and what happened to it so far.

    Attributes:
        number: its place in the lot, from 0.
        detuned: sum of how far its recipes were from right.
        to_measure: what metrology has to judge.
        to_inspect: what inspection has to judge.
    """

    substrate_id: str
    number: int
    hits: list[Hit] = field(default_factory=list)
    detuned: float = 0.0
    to_measure: list[ToMeasure] = field(default_factory=list)
    to_inspect: list[ToMeasure] = field(default_factory=list)

    @property
    def slot(self) -> int:
        """In the carrier, from 1."""
        return self.number + 1


@dataclass(slots=True)
class Lot:
    """Wafers that travel together.

    Attributes:
        number: counts lots from 1.
        started_ms: when it entered the line.
        place: of the present step in the route.
        waiting: wafers that the present step has still to process, next one last.
        held: why it is stopped, or ''.
        released: succeeds when a hold is lifted; None while there is no hold.
        wants_metrology: an action asked for all its wafers to be measured before the next step.
    """

    number: int
    lot_id: str
    carrier_id: str
    product: Product
    luck: Luck
    started_ms: int
    wafers: list[Wafer]
    place: int = 0
    waiting: list[Wafer] = field(default_factory=list)
    held: str = ""
    released: simpy.Event | None = None
    wants_metrology: bool = False
