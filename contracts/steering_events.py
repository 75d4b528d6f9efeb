"""What is said besides alerts and actions: risk, charts, virtual metrology, judgements, effects."""

import math
from typing import ClassVar, Literal

import msgspec

from contracts.event import Event
from contracts.topics import Stream

__all__ = [
    "ActionEffect",
    "AutomationSwitch",
    "ChartKind",
    "ChartPoint",
    "Contribution",
    "Risk",
    "RunToRun",
    "TraceJudgement",
    "VirtualMetrology",
]

ChartKind = Literal["xbar", "individuals", "moving_range", "ewma", "cusum", "t2", "spe", "score"]


class Risk(Event, frozen=True, kw_only=True):
    """What a wafer is expected to show at electrical test, from everything known so far.

    Attributes:
        step: the last step of the route that is in it.
        sequence: its place in the route.
        patterns: wafer-map patterns that can be foreseen.
        probabilities: one per pattern, 0 to 1.
        any_pattern: probability that it shows one at all.
        expected_loss: share of its good dies expected to be lost, 0 to 1.
        suspects: 'equipment/module' of what raised it, the worst first.
    """

    ce_type: ClassVar[str] = "fabpilot.risk.v1"
    stream: ClassVar[Stream] = Stream.RISKS

    lot_id: str
    substrate_id: str
    slot: int
    step: str
    sequence: int
    patterns: tuple[str, ...]
    probabilities: tuple[float, ...]
    any_pattern: float
    expected_loss: float
    suspects: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The lot."""
        return self.lot_id


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
    """How much one variable adds to a multivariate statistic.

    Attributes:
        variable: its name with unit; with ':spread' or ':slope' where not its level.
        value: its part of the statistic, in the statistic's own units.
    """

    variable: str
    value: float


class ChartPoint(Event, frozen=True, kw_only=True):
    """One point of a control chart. `time_ms` is when the wafers were treated.

    Attributes:
        chart_id: the same for all points of a chart.
        chart: what kind it is. A 'cusum' has the larger of its two sums, the lower one negative;
            a 'score' is what a registered model said of a trace, over the model's limit.
        parameter: what is charted, with its unit as suffix; '' for multivariate charts; of a score
            the model's name and version, such as 'trace-fault v3'.
        substrates: the wafers in the point.
        value: in the parameter's unit (EWMA too); CUSUM in sigmas; T2 and SPE have none.
        center: where the process should be.
        lower: control limits; None where there is none.
        upper: see `lower`.
        sigma: standard deviation of `value` in control.
        rules: broken at this point, such as 'limit', 'western-electric-2', 'nelson-3'.
        enabled: rules that are looked at.
        arl0: points between two false alarms with the enabled rules.
        arl1: points to an alarm after a shift of one sigma; of a score once about half of the
            points are beyond the limit.
        phase: 1 while limits are being estimated, 2 afterwards.
        points: charted in this phase.
        cp: capability against the specification, with its 95 % interval; None without one.
        contributions: of a multivariate chart that is out, largest first.
    """

    ce_type: ClassVar[str] = "fabpilot.chart_point.v1"
    stream: ClassVar[Stream] = Stream.CHARTS

    chart_id: str
    chart: ChartKind
    equipment_id: str
    module_id: str
    step: str
    recipe_id: str
    parameter: str
    lot_id: str
    substrates: tuple[str, ...]
    value: float
    center: float
    lower: float | None
    upper: float | None
    sigma: float
    rules: tuple[str, ...] = ()
    enabled: tuple[str, ...] = ()
    arl0: float
    arl1: float
    phase: Literal[1, 2]
    points: int
    cp: float | None = None
    cpk: float | None = None
    cpk_low: float | None = None
    cpk_high: float | None = None
    contributions: tuple[Contribution, ...] = ()

    @property
    def key(self) -> str:
        """equipment/module."""
        return f"{self.equipment_id}/{self.module_id}"


class VirtualMetrology(Event, frozen=True, kw_only=True):
    """A measurement foretold from a trace. The real one, if it comes, is a `Metrology`.

    Attributes:
        parameter: what would be measured, with its unit as suffix.
        predicted: mean over the wafer, in the parameter's unit.
        low: with `high` the interval that holds the measured mean in `coverage` of cases.
        coverage: nominal, 0 to 1.
        unlike: the trace is unlike all that was learned from; do not rely on it.
        learned: measured wafers it was learned from.
        input_id: event id of the trace, where a registered model foretold it.
        model_name: of that model; '' where the controller foretold it from what it learns itself.
        model_version: see `model_name`; with `model_sha256`, the digest of its file.
        provider: the ONNX Runtime provider that ran it.
    """

    ce_type: ClassVar[str] = "fabpilot.virtual_metrology.v1"
    stream: ClassVar[Stream] = Stream.CHARTS

    lot_id: str
    substrate_id: str
    slot: int
    equipment_id: str
    module_id: str
    recipe_id: str
    step: str
    parameter: str
    predicted: float
    low: float
    high: float
    coverage: float
    unlike: bool
    learned: int
    input_id: str = ""
    model_name: str = ""
    model_version: str = ""
    model_sha256: str = ""
    provider: str = ""

    @property
    def key(self) -> str:
        """equipment/module."""
        return f"{self.equipment_id}/{self.module_id}"


class TraceJudgement(Event, frozen=True, kw_only=True):
    """What a registered model of faults or of risk said about one trace.

    Attributes:
        task: what was asked: 'fault' or 'risk'.
        input_id: event id of the trace.
        score: of a fault over the model's limit, so 1 is what one normal run in a hundred reaches;
            of risk the probability, 0 to 1, that the wafer fails. None where it was not judged.
        reason: why it was not judged, for people; '' where it was.
        contributions: what added most to the score, largest first, in the model's own units.
        troubles: sensors that could not be judged as usual, such as 'stuck: rf_power_w'.
        model_name: with `model_version` and `model_sha256`, the model that said it.
        provider: the ONNX Runtime provider that ran it.

    Raises:
        ValueError: a score or contribution that is no number, or a score below 0; what reads such
            an event from a log refuses it.
    """

    ce_type: ClassVar[str] = "fabpilot.trace_judgement.v1"
    stream: ClassVar[Stream] = Stream.JUDGEMENTS

    task: Literal["fault", "risk"]
    input_id: str
    lot_id: str
    substrate_id: str
    slot: int
    equipment_id: str
    module_id: str
    recipe_id: str
    step: str
    score: float | None
    reason: str = ""
    contributions: tuple[Contribution, ...] = ()
    troubles: tuple[str, ...] = ()
    model_name: str
    model_version: str
    model_sha256: str
    provider: str

    def __post_init__(self) -> None:
        """Refuse what no chart can take in."""
        if self.score is not None and not 0.0 <= self.score < math.inf:
            raise ValueError(f"score must be a number from 0 on, is {self.score}")
        if not all(math.isfinite(one.value) for one in self.contributions):
            raise ValueError("contributions must be finite numbers")

    @property
    def key(self) -> str:
        """equipment/module."""
        return f"{self.equipment_id}/{self.module_id}"


class RunToRun(Event, frozen=True, kw_only=True):
    """Where one run-to-run thread stands after a measurement.

    Attributes:
        thread: product, step and module that are steered together, joined by ' | '.
        output: the measured parameter that is held at `target`, with its unit.
        parameter: the recipe parameter that does it, with its unit.
        measured: the value used, of virtual metrology if `virtual`.
        disturbance: estimated offset of the process from its model, in the output's unit.
        drift: its estimated change a run; 0 for a single EWMA.
        set_point: in force; `recommended` for the next run.
        gain: of the model: change of the output per unit of the parameter.
        gain_ratio: estimate of the true gain over the model's; None while unknown.
        weight: of the EWMA.
        runs: seen so far.
        status: what the controller did; 'stopped' needs a person.
        reason: why, for people; '' where it is obvious.
    """

    ce_type: ClassVar[str] = "fabpilot.run_to_run.v1"
    stream: ClassVar[Stream] = Stream.CHARTS

    thread: str
    product: str
    equipment_id: str
    module_id: str
    recipe_id: str
    step: str
    output: str
    parameter: str
    target: float
    measured: float
    virtual: bool
    disturbance: float
    drift: float
    set_point: float
    recommended: float
    gain: float
    gain_ratio: float | None
    weight: float
    runs: int
    status: Literal["learning", "active", "dead_band", "limited", "stopped"]
    reason: str = ""

    @property
    def key(self) -> str:
        """equipment/module."""
        return f"{self.equipment_id}/{self.module_id}"


class ActionEffect(Event, frozen=True, kw_only=True):
    """Whether an applied action did what it was to do, and what followed from that.

    Attributes:
        verdict: 'came', 'absent', or 'unclear' after as long as it was worth waiting.
        before: what was to change, before the action; `after` since.
        measure: what `before` and `after` are, with the unit.
        wafers: that the verdict rests on.
        consequence: 'undone' gave the opposite action, 'escalated' asks a person.
        evidence: in words with numbers.
    """

    ce_type: ClassVar[str] = "fabpilot.action_effect.v1"
    stream: ClassVar[Stream] = Stream.ACTIONS

    action_id: str
    alert_id: str
    verdict: Literal["came", "absent", "unclear"]
    measure: str
    before: float
    after: float
    wafers: int
    consequence: Literal["none", "undone", "escalated"] = "none"
    evidence: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The action."""
        return self.action_id


class AutomationSwitch(Event, frozen=True, kw_only=True):
    """The one switch over all automatic actions of a site. Proposals to people go on.

    Attributes:
        automatic: whether policies may approve actions.
        by: who switched.
        reason: why.
    """

    ce_type: ClassVar[str] = "fabpilot.automation_switch.v1"
    stream: ClassVar[Stream] = Stream.ACTIONS

    automatic: bool
    by: str
    reason: str

    @property
    def key(self) -> str:
        """One a site."""
        return "automation"
