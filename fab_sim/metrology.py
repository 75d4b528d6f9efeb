"""What metrology reads on a wafer: the process's own shape, the module's shift, gauge noise."""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fab_sim.kinds import Measured

__all__ = ["measure", "site_positions"]

Floats = npt.NDArray[np.float64]
# Sites stay this share of the radius away from the edge, beyond the usual 3 mm exclusion.
_REACH = 0.93


@lru_cache(maxsize=64)
def site_positions(sites: int, wafer_diameter_mm: float) -> tuple[tuple[float, float], ...]:
    """Site positions from the wafer's centre, mm: a spiral from the centre outwards.

    >>> site_positions(1, 300.0)
    ((0.0, 0.0),)
    """
    radius = 0.5 * wafer_diameter_mm * _REACH
    golden = np.pi * (3.0 - np.sqrt(5.0))
    return tuple(
        (
            round(float(radius * np.sqrt(k / max(1, sites - 1)) * np.cos(golden * k)), 3),
            round(float(radius * np.sqrt(k / max(1, sites - 1)) * np.sin(golden * k)), 3),
        )
        for k in range(sites)
    )


def measure(
    what: Measured,
    positions: tuple[tuple[float, float], ...],
    wafer_diameter_mm: float,
    shift: float,
    random: np.random.Generator,
) -> tuple[float, ...]:
    """Values at the sites, in the parameter's unit.

    Where the parameter is log-normal everything below adds up in its natural logarithm, so the
    logarithm is as normal as the value is elsewhere.

    Args:
        what: the parameter, its target and spreads.
        positions: of the sites, mm.
        wafer_diameter_mm: of the wafer.
        shift: of the wafer's mean, in wafer-to-wafer deviations.
        random: the measurement's own stream.
    """
    xy = np.array(positions)
    r = np.hypot(xy[:, 0], xy[:, 1]) / (0.5 * wafer_diameter_mm)
    target = math.log(what.target) if what.log else what.target
    mean = target + what.spread * (shift + random.normal())
    bowl = 0.8 * what.spread * (r**2 - 0.5)
    gauge = what.gauge * random.normal(size=len(positions))
    values = mean + bowl + gauge
    if what.log:
        # Six digits: what libraries of mathematics may disagree about is beyond them.
        return tuple(float(f"{math.exp(float(value)):.6g}") for value in values)
    return tuple(round(float(value), 4) for value in values)
