"""What the controller may do by itself and what it counts as worthwhile: one YAML file.

`default_policy.yaml` beside this file is complete and commented; a site's own file replaces it.
"""

import math
from pathlib import Path
from typing import Any, Literal

import msgspec

from contracts.events import ActionKind, Severity
from control.failure_modes import FailureMode, load_failure_modes
from control.policy_file import Section, read_struct
from control.steering_policy import MetrologyCharts, RunToRunThread, steering_problems

__all__ = [
    "Approval",
    "ApprovalRule",
    "Detection",
    "Economics",
    "Limits",
    "Policy",
    "RecipeParameter",
    "default_policy_path",
    "load_policy",
]

Approval = Literal["person", "semi_automatic", "automatic"]


# What the policy says for the failure modes that are shipped beside it.
PACKAGED = "packaged"


class Detection(Section, frozen=True):
    """How sure the detectors are before they speak.

    Attributes:
        wafers_per_false_alert: tested wafers of a site between two false pattern alerts (ARL0).
        trace_limit_sigma: half-width of the EWMA chart in its own standard deviations.
        trace_min_shift_sigma: smallest shift of a trace that matters, in wafer-to-wafer sigmas.
        trace_warm_up: wafers a module must have run before its traces are judged.
        min_bad_wafers: fewer bad wafers than this are never an alert.
        max_corrected_p: Holm-corrected p-value a suspect must be below to be named.
        clean_wafers: the suspect's latest wafers that must be judged before an alert can close.
        remember_h: hours a tested wafer is remembered.
    """

    wafers_per_false_alert: float
    trace_limit_sigma: float
    trace_min_shift_sigma: float
    trace_warm_up: int
    min_bad_wafers: int
    max_corrected_p: float
    clean_wafers: int
    remember_h: float


class ApprovalRule(Section, frozen=True):
    """Who approves in some cases. The first rule that fits counts; where none does, a person.

    Attributes:
        who: 'semi_automatic' is approved by the policy after `veto_min` unless a person says no.
        severities: of the alert; empty for all.
        sites: empty for all.
    """

    who: Approval
    severities: tuple[Severity, ...] = ()
    sites: tuple[str, ...] = ()


class Limits(Section, frozen=True):
    """Guard rails that hold for every action, whoever approves it.

    Attributes:
        max_open_actions: proposed or approved and not yet applied, rejected or failed.
        max_actions_per_hour: new proposals in any 60 minutes of fab time.
        min_confidence: of the action, 0 to 1.
        min_available_modules: modules that must stay in use for every step of an inhibited one.
        min_traces: of the suspect that a fault must rest on before anything is done about it.
        max_evidence_age_h: hours since anything was heard of the suspect that bears on the alert.
        max_missing_sensors: share of the suspect's sensors that may say nothing.
        veto_min: minutes of fab time in which a person can say no to what is semi-automatic.
    """

    max_open_actions: int
    max_actions_per_hour: int
    min_confidence: float
    min_available_modules: int
    min_traces: int = 3
    max_evidence_age_h: float = 12.0
    max_missing_sensors: float = 0.3
    veto_min: float = 30.0


class RecipeParameter(Section, frozen=True):
    """A recipe parameter the controller may propose to change.

    Attributes:
        variable: the trace variable that follows it.
        gain: change of the variable per unit of the parameter.
        min: lowest value allowed, in the parameter's unit.
        max: highest value allowed.
        max_step: largest change in one action.
    """

    variable: str
    gain: float
    min: float
    max: float
    max_step: float


# The kinds of action that the advisor proposes; the policy has a word on each.
PROPOSED_KINDS: tuple[ActionKind, ...] = (
    "hold_lot",
    "inhibit_module",
    "adjust_recipe",
    "schedule_pm",
    "request_metrology",
    "release_module",
)


class Economics(Section, frozen=True):
    """What things are worth, in good dies.

    Attributes:
        dies_per_wafer: good dies of a good wafer.
        wafers_per_lot: 25 in a full carrier.
        kill_ratio: pattern to the share of dies it kills; 'default' for all others.
        fault_yield_risk: share of a module's wafers that a trace fault is feared to spoil.
        success: probability that an action of a kind removes the cause.
        cost_good_dies: what an action costs.
        delay_h: hours from its approval until it works, for a kind that takes any.
        horizon_h: hours for which a cause would go on if nothing were done.
        needless_good_dies: what a needless action costs besides: people stop listening.
        response_h: hours until somebody has responded; wafers of that time are at risk.
        severity_wafers: good-wafer equivalents at risk from which a severity applies.
    """

    dies_per_wafer: float
    wafers_per_lot: float
    kill_ratio: dict[str, float]
    fault_yield_risk: float
    success: dict[ActionKind, float]
    cost_good_dies: dict[ActionKind, float]
    delay_h: dict[ActionKind, float]
    horizon_h: float
    needless_good_dies: float
    response_h: float
    severity_wafers: dict[Literal["critical", "high", "medium"], float]


class Policy(Section, frozen=True):
    """The whole file.

    Attributes:
        failure_modes: by name. The file names another file, relative to itself, or 'packaged'.
    """

    name: str
    detection: Detection
    limits: Limits
    approvals: dict[ActionKind, Approval | list[ApprovalRule]]
    recipe_parameters: dict[str, RecipeParameter]
    economics: Economics
    failure_modes: dict[str, FailureMode]
    metrology: MetrologyCharts
    run_to_run: tuple[RunToRunThread, ...]

    def approval(self, kind: ActionKind, severity: Severity, site: str) -> Approval:
        """Who approves an action of a kind at a site, for an alert of a severity."""
        said = self.approvals.get(kind, "person")
        if isinstance(said, str):
            return said
        for rule in said:
            if severity in (rule.severities or (severity,)) and site in (rule.sites or (site,)):
                return rule.who
        return "person"


def default_policy_path() -> Path:
    """The policy shipped with the package."""
    return Path(__file__).with_name("default_policy.yaml")


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file; None reads the one shipped with the package.

    Raises:
        ConfigError: no such file, not YAML, an unknown or missing key, a wrong type, or limits
            that contradict each other; with file, line and key.
    """
    source = path or default_policy_path()

    def complete(data: dict[str, Any]) -> None:
        named = data.get("failure_modes", PACKAGED)
        if isinstance(named, str):
            file = None if named == PACKAGED else source.parent / named
            data["failure_modes"] = msgspec.to_builtins(load_failure_modes(file))["modes"]

    return read_struct(source, Policy, _contradictions, what="policy", complete=complete)


def _contradictions(policy: Policy) -> list[tuple[tuple[str, ...], str]]:
    """What is well formed and still makes no sense, as (key, reason)."""
    wrong: list[tuple[tuple[str, ...], str]] = []
    detection, limits, economics = policy.detection, policy.limits, policy.economics

    def demand(key: str, value: float, low: float, high: float = math.inf) -> None:
        if not low <= value <= high or math.isnan(value) or math.isinf(value):
            wanted = f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
            wrong.append((tuple(key.split("/")), f"must be {wanted}, is {value:g}"))

    demand("detection/wafers_per_false_alert", detection.wafers_per_false_alert, 1.0)
    demand("detection/trace_limit_sigma", detection.trace_limit_sigma, 1.0)
    demand("detection/trace_min_shift_sigma", detection.trace_min_shift_sigma, 0.0)
    demand("detection/trace_warm_up", detection.trace_warm_up, 5, 50)
    demand("detection/min_bad_wafers", detection.min_bad_wafers, 3)
    demand("detection/max_corrected_p", detection.max_corrected_p, 0.0, 1.0)
    demand("detection/clean_wafers", detection.clean_wafers, 3, 100)
    demand("detection/remember_h", detection.remember_h, 1.0)
    demand("limits/max_open_actions", limits.max_open_actions, 0)
    demand("limits/max_actions_per_hour", limits.max_actions_per_hour, 0)
    demand("limits/min_confidence", limits.min_confidence, 0.0, 1.0)
    demand("limits/min_available_modules", limits.min_available_modules, 1)
    demand("limits/min_traces", limits.min_traces, 1)
    demand("limits/max_evidence_age_h", limits.max_evidence_age_h, 0.0)
    demand("limits/max_missing_sensors", limits.max_missing_sensors, 0.0, 1.0)
    demand("limits/veto_min", limits.veto_min, 0.0)
    demand("economics/horizon_h", economics.horizon_h, 0.0)
    demand("economics/needless_good_dies", economics.needless_good_dies, 0.0)
    for kind, hours in economics.delay_h.items():
        demand(f"economics/delay_h/{kind}", hours, 0.0)
    demand("economics/dies_per_wafer", economics.dies_per_wafer, 1.0)
    demand("economics/wafers_per_lot", economics.wafers_per_lot, 1.0)
    demand("economics/fault_yield_risk", economics.fault_yield_risk, 0.0, 1.0)
    demand("economics/response_h", economics.response_h, 0.0)
    for pattern, ratio in economics.kill_ratio.items():
        demand(f"economics/kill_ratio/{pattern}", ratio, 0.0, 1.0)
    if "default" not in economics.kill_ratio:
        wrong.append((("economics", "kill_ratio"), "needs a ratio for 'default'"))
    for kind in PROPOSED_KINDS:
        for section, has in (
            (("approvals",), kind in policy.approvals),
            (("economics", "success"), kind in economics.success),
            (("economics", "cost_good_dies"), kind in economics.cost_good_dies),
        ):
            if not has:
                wrong.append((section, f"needs an entry for {kind!r}"))
        demand(f"economics/success/{kind}", economics.success.get(kind, 0.0), 0.0, 1.0)
        demand(f"economics/cost_good_dies/{kind}", economics.cost_good_dies.get(kind, 0.0), 0.0)
    grades = [economics.severity_wafers.get(grade) for grade in ("critical", "high", "medium")]
    if None in grades or grades != sorted((g for g in grades if g is not None), reverse=True):
        wrong.append(
            (("economics", "severity_wafers"), "needs critical >= high >= medium, all three")
        )
    for name, parameter in policy.recipe_parameters.items():
        key = ("recipe_parameters", name)
        numbers = (parameter.min, parameter.max, parameter.max_step, parameter.gain)
        if not all(math.isfinite(number) for number in numbers):
            wrong.append((key, "min, max, max_step and gain must be finite numbers"))
        elif parameter.min > parameter.max:
            wrong.append(
                ((*key, "min"), f"min {parameter.min:g} is above max {parameter.max:g}: swap them")
            )
        elif parameter.max_step <= 0:
            wrong.append(((*key, "max_step"), f"must be above 0, is {parameter.max_step:g}"))
        elif parameter.gain == 0:
            wrong.append(((*key, "gain"), "must not be 0"))
    known = frozenset(policy.recipe_parameters)
    return wrong + steering_problems(policy.metrology, policy.run_to_run, known)
