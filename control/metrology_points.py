"""How a point of a metrology chart is told: in units people read, with limits and capability."""

import math
from typing import NamedTuple

import numpy as np

from contracts.events import ChartPoint
from contracts.ids import derived_id
from control.spc import average_run_length
from control.spc.capability import Capability, capability
from control.spc.phase_one import hodges_lehmann
from control.state import ChartRecord, PendingPoint
from control.steering_policy import MetrologyCharts

__all__ = ["Told", "chart_point"]


class Told(NamedTuple):
    """What the chart found of a point.

    Attributes:
        module: 'equipment/module'.
        parameter: measured; values are logarithms where it is charted so.
        level: of the step, over all modules.
        mean: of the point's wafers.
        broken: rules.
        spread: of a single wafer: as the limits have it, its doubt included; as it is; and its
            degrees of freedom. None in phase I.
    """

    module: str
    parameter: str
    level: float
    mean: float
    broken: tuple[str, ...]
    spread: tuple[float, float, float] | None


def chart_point(
    site: str, policy: MetrologyCharts, point: PendingPoint, chart: ChartRecord, told: Told
) -> ChartPoint:
    """The event.

    Args:
        site: of the module.
        policy: rules, specifications, and what is charted as a logarithm.
        point: its wafers and times.
        chart: after the point.
        told: what the chart found.
    """
    rules, mean = policy.rules, told.mean
    equipment_id, _, module_id = told.module.partition("/")
    lower = upper = ability = None
    if told.spread is None:
        first = [value for _, value, _ in chart.phase_one] or [mean]
        center, sigma = hodges_lehmann(np.array(first)), 0.0
    else:
        center, sigma = told.level + chart.centre, told.spread[0] / math.sqrt(len(point.substrates))
        if (reach := rules.limit) is not None:
            lower, upper = center - reach * sigma, center + reach * sigma
        ability = _capability(policy, point.step, told.parameter, center, told.spread[1:])
    if told.parameter in policy.logarithmic:
        mean, center = _exp(mean), _exp(center)
        lower, upper = (None if x is None else _exp(x) for x in (lower, upper))
        sigma *= center  # to first order
    return ChartPoint(
        event_id=derived_id(
            "chart-point",
            site,
            point.chart,
            point.step,
            point.lot_id,
            point.treated_ms,
            point.last_ms,
        ),
        site=site,
        time_ms=max(0, point.treated_ms),
        chart_id=derived_id("chart", site, point.chart),
        chart="xbar",
        equipment_id=equipment_id,
        module_id=module_id,
        step=point.step,
        recipe_id=point.recipe_id,
        parameter=told.parameter,
        lot_id=point.lot_id,
        substrates=tuple(point.substrates),
        value=mean,
        center=center,
        lower=lower,
        upper=upper,
        sigma=sigma,
        rules=told.broken,
        enabled=rules.names,
        arl0=average_run_length(rules).points,
        arl1=average_run_length(rules, 1.0).points,
        phase=1 if told.spread is None else 2,
        points=len(chart.phase_one) if told.spread is None else chart.points,
        cp=None if ability is None else ability.cp,
        cpk=None if ability is None else ability.cpk,
        cpk_low=None if ability is None else ability.cpk_low,
        cpk_high=None if ability is None else ability.cpk_high,
    )


def _capability(
    policy: MetrologyCharts, step: str, parameter: str, center: float, known: tuple[float, float]
) -> Capability | None:
    """Against the first specification that fits; `known` is the spread and its freedom."""
    for limits in policy.specifications:
        if limits.parameter == parameter and limits.step in ("", step):
            lower, upper = limits.lower, limits.upper
            if parameter in policy.logarithmic:
                lower = None if lower is None or lower <= 0.0 else math.log(lower)
                upper = None if upper is None or upper <= 0.0 else math.log(upper)
            return capability(center, *known, lower, upper)
    return None


def _exp(value: float) -> float:
    return math.exp(min(value, 300.0))
