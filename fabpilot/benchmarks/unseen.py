"""Scenarios nobody wrote: drawn from a seed, over all modes, sizes, paces and combinations."""

import math
import random

import msgspec

from fab_sim import Scenario
from fab_sim.kinds import KINDS
from fab_sim.modes import MODES
from fab_sim.scenario import Excursion, Lots, Reliability, Sampling, SensorFault
from fab_sim.sensor_faults import FAULT_KINDS

__all__ = ["unseen_scenario"]


def unseen_scenario(seed: int, lots: int = 168) -> Scenario:
    """A scenario of the default fab with what chance makes go wrong.

    One to four excursions of any mode on any module that has it, now and then two on one module;
    magnitude 0.5 to 2, share 0.3 to 0.9, growth over 8 to 800 wafers or at once; sensors that lie;
    other reliability, sampling and pace; one or two sites.

    Args:
        seed: decides everything.
        lots: of each site.

    >>> unseen_scenario(4) == unseen_scenario(4)
    True
    """
    draw = random.Random(f"unseen-{seed}")
    scenario = Scenario(name=f"unseen-{seed}", description="Drawn by chance.")
    every_h = draw.choice((0.9, 1.0, 1.0, 1.2))
    sites = ("kr1", "us1") if draw.random() < 0.25 else ("kr1",)
    hours = lots * every_h
    modules = [(tool, module) for tool in scenario.equipment for module in tool.modules]
    excursions, last = [], None
    for number in range(draw.choice((1, 1, 2, 2, 3, 4))):
        mode = draw.choice(sorted(MODES))
        fitting = [place for place in modules if place[0].kind in MODES[mode].kinds]
        if last is not None and draw.random() < 0.25:
            mode = draw.choice(sorted(n for n, m in MODES.items() if last[0].kind in m.kinds))
            fitting = [last]
        last = draw.choice(fitting)
        excursions.append(
            Excursion(
                id=f"x{number}",
                mode=mode,
                equipment=last[0].id,
                module=last[1],
                site=draw.choice(sites),
                onset_h=round(draw.uniform(0.1, 0.65) * hours, 1),
                growth="step" if draw.random() < 0.25 else "ramp",
                growth_wafers=round(math.exp(draw.uniform(math.log(8), math.log(800)))),
                magnitude=round(draw.uniform(0.5, 2.0), 2),
                share=round(draw.uniform(0.3, 0.9), 2),
            )
        )
    faults = []
    for number in range(draw.choice((0, 0, 1, 2, 4))):
        tool, module = draw.choice([place for place in modules if KINDS[place[0].kind].variables])
        faults.append(
            SensorFault(
                id=f"s{number}",
                equipment=tool.id,
                module=module,
                variable=draw.choice(KINDS[tool.kind].variables).name,
                kind=draw.choice(FAULT_KINDS),
                onset_h=round(draw.uniform(0.05, 0.7) * hours, 1),
            )
        )
    return msgspec.structs.replace(
        scenario,
        sites=sites,
        lots=Lots(every_h=every_h, total=lots),
        sampling=Sampling(every_lots=draw.choice((1, 2, 2, 4))),
        reliability=Reliability(
            pm_wafers=draw.choice((2000, 4000)), breakdown_wafers=draw.choice((1200, 2500, 4000))
        ),
        excursions=tuple(excursions),
        sensor_faults=tuple(faults),
    )
