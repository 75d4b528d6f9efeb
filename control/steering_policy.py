"""What the policy says about metrology charts and run-to-run threads."""

import math
from typing import Literal

import msgspec

from contracts.errors import ConfigError
from control.spc.rule_set import Monitor, RuleSet

__all__ = ["SITE_RULES", "MetrologyCharts", "RunToRunThread", "Specification", "steering_problems"]

SITE_RULES = RuleSet(limit=4.5, ewma=(0.2, 4.0))
"""Rules of the packaged policy. A site of 150 charts makes some 5,700 points a week; with the
Western Electric rules that would be 60 false alarms a week, with these it is one in three weeks."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the file: unknown keys are errors."""


class Specification(_Section, frozen=True, kw_only=True):
    """Limits that the product needs, for capability; they are not control limits.

    Attributes:
        parameter: as in Metrology events.
        step: of the route; '' for every step.
        lower: None if there is none.
        upper: the same.
    """

    parameter: str
    step: str = ""
    lower: float | None = None
    upper: float | None = None


class MetrologyCharts(_Section, frozen=True, kw_only=True):
    """Charts of what is measured.

    Attributes:
        phase_one_points: a module's own first points that its limits are from.
        rules: enabled on every chart.
        logarithmic: parameters whose logarithm is charted.
        specifications: for capability.
    """

    phase_one_points: int
    rules: RuleSet
    logarithmic: tuple[str, ...] = ()
    specifications: tuple[Specification, ...] = ()


class RunToRunThread(_Section, frozen=True, kw_only=True):
    """A set point that is steered run by run, on each module that does the step.

    Limits and largest step are those of `recipe_parameters`.

    Attributes:
        step: whose output is measured.
        output: the measured parameter.
        parameter: the recipe parameter.
        nominal: its value before any change.
        gain: change of the output per unit of the parameter.
        target: of the output.
        weight: of the EWMA, above 0 to 1.
        drift_weight: of the second EWMA; 0 for a single one.
        noise: standard deviation of the output from run to run, in its unit.
        dead_band: predicted deviations up to this are left alone.
        learn: runs that are only watched at first.
        source: what feeds it.
        product: whose lots alone count; '' for all. Products that share a recipe share its set
            point, so they can have threads of their own only where they have recipes of their own.
    """

    step: str
    output: str
    parameter: str
    nominal: float
    gain: float
    target: float
    weight: float
    drift_weight: float = 0.0
    noise: float
    dead_band: float
    learn: int = 5
    source: Literal["metrology", "virtual_metrology"] = "metrology"
    product: str = ""


def steering_problems(
    metrology: MetrologyCharts,
    threads: tuple[RunToRunThread, ...],
    recipe_parameters: frozenset[str],
) -> list[tuple[tuple[str, ...], str]]:
    """What is well formed and still makes no sense, as (key, reason)."""
    wrong: list[tuple[tuple[str, ...], str]] = []
    if not 5 <= metrology.phase_one_points <= 50:
        reason = f"must be 5 to 50, is {metrology.phase_one_points}"
        wrong.append((("metrology", "phase_one_points"), reason))
    wrong += [(("metrology", "rules"), reason) for reason in _rule_problems(metrology.rules)]
    for limits in metrology.specifications:
        low = -math.inf if limits.lower is None else limits.lower
        high = math.inf if limits.upper is None else limits.upper
        if not low < high:
            reason = f"lower must be below upper for {limits.parameter!r}"
            wrong.append((("metrology", "specifications"), reason))
    for thread in threads:
        wrong += [
            (("run_to_run",), f"{thread.step} {thread.output}: {reason}")
            for reason in _thread_problems(thread, recipe_parameters)
        ]
    return wrong


def _rule_problems(rules: RuleSet) -> list[str]:
    found = []
    if not rules.names:
        found.append("must enable a rule at least")
    numbers = [rules.limit, *(rules.ewma or ()), *(rules.cusum or ())]
    if not all(number is None or 0.0 < number < math.inf for number in numbers):
        found.append("limits and weights must be above 0 and finite")
    elif rules.ewma is not None and rules.ewma[0] > 1.0:
        found.append(f"the EWMA's weight must be at most 1, is {rules.ewma[0]:g}")
    try:
        Monitor(rules)
    except ConfigError as error:
        found.append(str(error))
    return found


def _thread_problems(thread: RunToRunThread, recipe_parameters: frozenset[str]) -> list[str]:
    found = []
    numbers = (thread.nominal, thread.gain, thread.target, thread.noise, thread.dead_band)
    if not all(math.isfinite(number) for number in numbers):
        found.append("nominal, gain, target, noise and dead_band must be finite numbers")
    if thread.gain == 0.0:
        found.append("gain must not be 0")
    if not 0.0 < thread.weight <= 1.0 or not 0.0 <= thread.drift_weight <= 1.0:
        found.append("weight must be above 0 to 1, drift_weight 0 to 1")
    if thread.noise < 0.0 or thread.dead_band < 0.0 or not 0 <= thread.learn <= 1000:
        found.append("noise, dead_band and learn must not be below 0, learn at most 1000")
    if thread.parameter not in recipe_parameters:
        found.append(f"give {thread.parameter!r} limits under recipe_parameters first")
    return found
