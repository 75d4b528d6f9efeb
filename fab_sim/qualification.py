"""What a module's qualification found: the centre and the spread of everything measured after it.

A fab measures monitor wafers before it lets a module work, and sets the charts' limits from them.
"""

import math
from typing import NamedTuple

import numpy as np

from fab_sim.kinds import KINDS, Measured
from fab_sim.metrology import site_positions
from fab_sim.modules import Module

__all__ = ["Qualified", "qualify"]

# What `measure` adds from the middle to the edge, in spreads.
_BOWL = 0.8


class Qualified(NamedTuple):
    """How the mean over a wafer's sites is distributed while nothing is wrong.

    Attributes:
        parameter: as in Metrology events.
        centre: of the mean, in the parameter's unit; of the mean logarithm if `log`.
        sigma: its standard deviation, gauge noise included.
        log: the logarithm of each value is normal, not the value.
    """

    parameter: str
    centre: float
    sigma: float
    log: bool

    def deviation(self, values: tuple[float, ...]) -> float:
        """How far a wafer is off, in sigmas."""
        numbers = [math.log(max(value, 1e-12)) for value in values] if self.log else values
        return (sum(numbers) / len(numbers) - self.centre) / self.sigma


def qualify(module: Module, sites: int, wafer_diameter_mm: float) -> tuple[Qualified, ...]:
    """What is measured after a module, as it is when it is well."""
    kind = KINDS[module.kind]
    found = []
    for what, offset in ((kind.measured, module.metrology_offset), (kind.defects, 0.0)):
        if what is not None:
            found.append(_qualified(what, offset, sites, wafer_diameter_mm))
    return tuple(found)


def _qualified(what: Measured, offset: float, sites: int, wafer_diameter_mm: float) -> Qualified:
    positions = np.array(site_positions(sites, wafer_diameter_mm))
    r = np.hypot(positions[:, 0], positions[:, 1]) / (0.5 * wafer_diameter_mm)
    bowl = _BOWL * what.spread * float((r**2 - 0.5).mean())
    centre = (math.log(what.target) if what.log else what.target) + what.spread * offset + bowl
    sigma = math.sqrt(what.spread**2 + what.gauge**2 / sites)
    return Qualified(what.parameter, centre, sigma, what.log)
