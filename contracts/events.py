"""Every event that crosses a log, one frozen struct each.

Names follow SEMI (docs and GLOSSARY): substrate for wafer, module for chamber, process job, recipe.
`time_ms` is the fab's clock, milliseconds since the epoch in UTC; when the log took a record is in
the record, not here. Derived events have derived ids (`contracts.ids`), so a replay names them the
same again.
"""

from typing import ClassVar, Literal

import msgspec

from contracts.arrays import Array
from contracts.event import Event
from contracts.ids import derived_id
from contracts.steering_events import (
    ActionEffect,
    AutomationSwitch,
    ChartKind,
    ChartPoint,
    Contribution,
    Risk,
    RunToRun,
    TraceJudgement,
    VirtualMetrology,
)
from contracts.topics import Stream

__all__ = [
    "EVENT_TYPES",
    "LOT_ACTIONS",
    "NOVELTY_LIMIT",
    "Action",
    "ActionEffect",
    "ActionKind",
    "ActionStatus",
    "Alert",
    "AlertDecision",
    "AlertKind",
    "AutomationSwitch",
    "Cause",
    "ChartKind",
    "ChartPoint",
    "Commonality",
    "Contribution",
    "DeadLetter",
    "EquipmentState",
    "Event",
    "Label",
    "Metrology",
    "Prediction",
    "ProcessEvent",
    "ReviewImage",
    "Risk",
    "RunToRun",
    "Severity",
    "Trace",
    "TraceJudgement",
    "VariableShift",
    "VirtualMetrology",
    "WaferMap",
]

AlertKind = Literal["pattern", "fault", "unknown", "drift"]
Severity = Literal["critical", "high", "medium", "low"]
ActionKind = Literal[
    "hold_lot",
    "release_lot",
    "inhibit_module",
    "release_module",
    "adjust_recipe",
    "request_metrology",
    "schedule_pm",
]
# Actions on a lot; the others are on a module.
LOT_ACTIONS: frozenset[ActionKind] = frozenset({"hold_lot", "release_lot", "request_metrology"})
# A wafer at or beyond it is unlike what the model learned: an unknown pattern.
NOVELTY_LIMIT = 1.0
ActionStatus = Literal["proposed", "approved", "rejected", "applied", "failed"]
# SEMI E10 equipment states.
E10State = Literal[
    "productive",
    "standby",
    "engineering",
    "scheduled_down",
    "unscheduled_down",
    "non_scheduled",
]


class ProcessEvent(Event, frozen=True, kw_only=True):
    """A substrate started or completed a step of its route on a module.

    Attributes:
        sequence: place of the step in the route, from 0; re-entrant routes repeat `step` names.
    """

    ce_type: ClassVar[str] = "fabpilot.process.v1"
    stream: ClassVar[Stream] = Stream.PROCESS

    phase: Literal["started", "completed"]
    product: str
    lot_id: str
    carrier_id: str
    substrate_id: str
    slot: int
    equipment_id: str
    module_id: str
    process_job_id: str
    recipe_id: str
    step: str
    sequence: int

    @property
    def key(self) -> str:
        """equipment/module."""
        return f"{self.equipment_id}/{self.module_id}"


class EquipmentState(Event, frozen=True, kw_only=True):
    """A module changed its SEMI E10 state.

    Attributes:
        kind: what the equipment does, such as 'etch'; modules of one kind are comparable.
        inhibited: no new substrate is sent to it.
        reason: why, for people; names the action id if an action did it.
    """

    ce_type: ClassVar[str] = "fabpilot.equipment_state.v1"
    stream: ClassVar[Stream] = Stream.EQUIPMENT

    equipment_id: str
    module_id: str
    kind: str
    state: E10State
    inhibited: bool = False
    reason: str = ""

    @property
    def key(self) -> str:
        """equipment/module."""
        return f"{self.equipment_id}/{self.module_id}"


class Trace(Event, frozen=True, kw_only=True):
    """Sensor readings of one substrate on one module.

    Attributes:
        variables: names, with the unit as suffix (`rf_power_w`, `pressure_pa`, `wall_temp_c`).
        sample_period_ms: nominal time between rows.
        values: (samples, variables) float32; NaN where a sensor gave nothing.
        times_ms: (samples,) float32, when each row was really read, from the start of the trace,
            rising; None where the rows are exactly one period apart.
        recipe_steps: (samples,) uint8, the recipe step each row was read in, from 1; None where the
            equipment does not report it.
    """

    ce_type: ClassVar[str] = "fabpilot.trace.v1"
    stream: ClassVar[Stream] = Stream.TRACES

    lot_id: str
    substrate_id: str
    slot: int
    equipment_id: str
    module_id: str
    process_job_id: str
    recipe_id: str
    step: str
    sequence: int
    variables: tuple[str, ...]
    sample_period_ms: float
    values: Array
    times_ms: Array | None = None
    recipe_steps: Array | None = None

    @property
    def key(self) -> str:
        """equipment/module."""
        return f"{self.equipment_id}/{self.module_id}"


class Metrology(Event, frozen=True, kw_only=True):
    """Values measured on a substrate.

    Attributes:
        parameter: what, with the unit as suffix (`film_thickness_nm`, `cd_nm`, `overlay_nm`).
        step: the step it judges (not the metrology step).
        x_mm: site positions from the wafer's centre.
        y_mm: the same.
        values: one per site, in the parameter's unit.
    """

    ce_type: ClassVar[str] = "fabpilot.metrology.v1"
    stream: ClassVar[Stream] = Stream.METROLOGY

    lot_id: str
    substrate_id: str
    slot: int
    equipment_id: str
    step: str
    parameter: str
    x_mm: tuple[float, ...]
    y_mm: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def key(self) -> str:
        """The lot."""
        return self.lot_id


class WaferMap(Event, frozen=True, kw_only=True):
    """Which dies passed electrical test.

    Attributes:
        grid: (rows, columns) uint8: 0 off the wafer, 1 pass, 2 fail.
        source: where it comes from, such as 'sim' or 'replay:wm811k.npz'.
    """

    ce_type: ClassVar[str] = "fabpilot.wafer_map.v1"
    stream: ClassVar[Stream] = Stream.WAFER_MAPS

    product: str
    lot_id: str
    substrate_id: str
    slot: int
    grid: Array
    source: str = ""

    @property
    def key(self) -> str:
        """The lot."""
        return self.lot_id


class ReviewImage(Event, frozen=True, kw_only=True):
    """A picture of one defect.

    Attributes:
        png: the picture, PNG, at most 4 MB.
        pixel_size_nm: side of a pixel on the wafer.
        x_mm: where on the wafer, from its centre.
        y_mm: the same.
    """

    ce_type: ClassVar[str] = "fabpilot.review_image.v1"
    stream: ClassVar[Stream] = Stream.REVIEW_IMAGES

    lot_id: str
    substrate_id: str
    slot: int
    step: str
    x_mm: float
    y_mm: float
    pixel_size_nm: float
    png: bytes

    @property
    def key(self) -> str:
        """The lot."""
        return self.lot_id


class Prediction(Event, frozen=True, kw_only=True):
    """What a model said about one input. `time_ms` is the input's.

    Attributes:
        input_id: event id of what was judged.
        input_type: its CloudEvents type.
        labels: the classes, in the order of `probabilities`.
        probabilities: one per class, 0 to 1.
        predicted: the classes over their thresholds; ('None',) means no pattern.
        heatmap: (h, w) uint8, where the model looked, 0 to 255; None if it gives none.
        embedding: (D,) float32; None if it gives none.
        novelty: how unlike anything it learned the input is; `NOVELTY_LIMIT` is what 1 % of the
            maps it knows reach. None if it does not say.
        model_sha256: digest of the model file.
        provider: the ONNX Runtime provider that ran it.
    """

    ce_type: ClassVar[str] = "fabpilot.prediction.v1"
    stream: ClassVar[Stream] = Stream.PREDICTIONS

    input_id: str
    input_type: str
    lot_id: str
    substrate_id: str
    slot: int
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    predicted: tuple[str, ...]
    heatmap: Array | None = None
    embedding: Array | None = None
    novelty: float | None = None
    model_name: str
    model_version: str
    model_sha256: str
    provider: str

    @property
    def key(self) -> str:
        """The lot."""
        return self.lot_id

    @staticmethod
    def id_for(input_id: str, model_name: str, model_version: str) -> str:
        """The id of what one version of a model says about one input."""
        return derived_id("prediction", input_id, model_name, model_version)


class Commonality(msgspec.Struct, frozen=True, kw_only=True):
    """How much more often bad wafers went through one place than others did.

    Attributes:
        factor: what was compared: 'module', 'equipment', 'recipe', 'step'; 'maintenance' (time
            since the module's), 'order' (place in the lot at a module), 'neighbour' (treated right
            after a bad one), or 'interaction' of two of these.
        value: which one, such as 'ETCH-01/B'; of an interaction both, joined by ' & '.
        bad_through: bad wafers that went through it; `bad_total` all bad ones.
        good_through: good wafers that went through it; `good_total` all good ones.
        odds_ratio: effect size, with 0.5 added to each cell (Haldane-Anscombe).
        p_value: Fisher's exact test, one-sided, corrected for the comparisons made.
    """

    factor: Literal[
        "module",
        "equipment",
        "recipe",
        "step",
        "maintenance",
        "order",
        "neighbour",
        "interaction",
    ]
    value: str
    bad_through: int
    bad_total: int
    good_through: int
    good_total: int
    odds_ratio: float
    p_value: float


class VariableShift(msgspec.Struct, frozen=True, kw_only=True):
    """How far a trace variable of the suspect is from its normal.

    Attributes:
        variable: its name with unit.
        recipe_id: the recipe it was seen in.
        mean: recent level on the suspect module.
        normal: the level of comparable normal wafers; `spread` their standard deviation.
        z: (mean - normal) / spread.
    """

    variable: str
    recipe_id: str
    mean: float
    normal: float
    spread: float
    z: float


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What may be behind an alert.

    Two causes may be at work at once, so that the probabilities may add up to more than 1.

    Attributes:
        module: 'equipment/module', or '' for something else.
        mode: failure mode from the policy's list (FMEA), or '' where none of them fits.
        probability: 0 to 1, that it is at work, alone or with another one.
        evidence: what speaks for it, in words with numbers.
    """

    module: str
    mode: str
    probability: float
    evidence: tuple[str, ...] = ()


class Alert(Event, frozen=True, kw_only=True):
    """What an engineer should look at: one per cause, with the evidence. A snapshot.

    Attributes:
        alert_id: the same for all revisions.
        revision: from 1; a later one replaces an earlier one.
        status: 'open', or 'normal' once it returned to normal by itself.
        kind: 'pattern' (seen on wafer maps), 'fault' (seen in traces), 'unknown' (wafer maps unlike
            all that the model learned) or 'drift' (wafers are no longer what they used to be to
            the model). The last two suspect no module.
        pattern: the wafer-map pattern, or '' for every other kind.
        suspect_module: 'equipment/module', or '' while inconclusive.
        since_ms: when the excursion began, on the fab's clock.
        affected: substrate ids that show it, the latest 100.
        unaffected: substrate ids that do not, for comparison, the latest 100.
        affected_count: how many there are in all, of `examined_count` looked at.
        baseline_rate: how often the same is seen elsewhere, 0 to 1.
        confidence: that the suspect is the cause, 0 to 1.
        commonalities: best first.
        shifts: variables that moved, largest first.
        at_risk: lots that went through the suspect and are not tested yet.
        causes: module and failure mode, the most probable first; empty while inconclusive.
    """

    ce_type: ClassVar[str] = "fabpilot.alert.v1"
    stream: ClassVar[Stream] = Stream.ALERTS

    alert_id: str
    revision: int
    status: Literal["open", "normal"]
    kind: AlertKind
    severity: Severity
    pattern: str
    suspect_module: str
    suspect_equipment: str = ""
    suspect_recipe: str = ""
    suspect_step: str = ""
    since_ms: int
    affected: tuple[str, ...] = ()
    unaffected: tuple[str, ...] = ()
    affected_count: int = 0
    examined_count: int = 0
    baseline_rate: float = 0.0
    confidence: float = 0.0
    commonalities: tuple[Commonality, ...] = ()
    shifts: tuple[VariableShift, ...] = ()
    at_risk: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()

    @property
    def key(self) -> str:
        """The alert."""
        return self.alert_id


class AlertDecision(Event, frozen=True, kw_only=True):
    """What a person did with an alert.

    Attributes:
        by: who (or which policy).
        until_ms: when a shelved alert comes back; 0 otherwise.
    """

    ce_type: ClassVar[str] = "fabpilot.alert_decision.v1"
    stream: ClassVar[Stream] = Stream.ALERTS

    alert_id: str
    decision: Literal["acknowledged", "resolved", "shelved", "reopened"]
    by: str
    comment: str = ""
    until_ms: int = 0

    @property
    def key(self) -> str:
        """The alert."""
        return self.alert_id


class Action(Event, frozen=True, kw_only=True):
    """A process-control action at one stage of its life. A snapshot.

    Attributes:
        action_id: the same for all stages.
        by: who or which policy brought it to this stage.
        comment: their words, or the fab's reason for a failure.
        equipment_id: the target of everything that is not in `LOT_ACTIONS`.
        lot_id: the target of what is.
        recipe_id: with `parameter`, what `adjust_recipe` changes.
        value: the parameter's new value, in the unit its name ends with.
        expected_good_dies: gain over doing nothing, per lot still to come.
        cost_good_dies: what the action itself costs, in good dies.
        confidence: that it removes the cause, 0 to 1.
        check: how its effect will be checked, for people.
        evidence: what it was decided on, in words with numbers.
    """

    ce_type: ClassVar[str] = "fabpilot.action.v1"
    stream: ClassVar[Stream] = Stream.ACTIONS

    action_id: str
    alert_id: str
    kind: ActionKind
    status: ActionStatus
    by: str
    comment: str = ""
    equipment_id: str = ""
    module_id: str = ""
    lot_id: str = ""
    recipe_id: str = ""
    parameter: str = ""
    value: float = 0.0
    expected_good_dies: float = 0.0
    cost_good_dies: float = 0.0
    confidence: float = 0.0
    check: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The action."""
        return self.action_id

    @staticmethod
    def event_id_for(action_id: str, status: ActionStatus) -> str:
        """The event id of one stage of an action: each stage happens once."""
        return derived_id("action", action_id, status)


class Label(Event, frozen=True, kw_only=True):
    """What an engineer confirmed or corrected about a substrate's pattern.

    Attributes:
        patterns: as `contracts.labels.label_name` gives them; ('None',) means no pattern. They may
            be new to every model.
        by: who.
    """

    ce_type: ClassVar[str] = "fabpilot.label.v1"
    stream: ClassVar[Stream] = Stream.LABELS

    lot_id: str
    substrate_id: str
    patterns: tuple[str, ...]
    by: str
    comment: str = ""

    @property
    def key(self) -> str:
        """The lot."""
        return self.lot_id


class DeadLetter(Event, frozen=True, kw_only=True):
    """A record that could not be processed, whole, and why.

    Attributes:
        source_topic: where it was; with partition and offset its place there.
        source_partition: see above; -1 if it never reached a log.
        source_offset: see above; -1 if it never reached a log.
        source_key: the record's key.
        source_headers: its headers.
        value: the original bytes.
        value_bytes: how many there were; more than in `value` only where the record itself was
            too large to be carried, and then `value` is its beginning.
        error: class of the error, such as 'WaferMapError'.
        reason: what was wrong, for people.
        stage: which loop refused it, such as 'process'.
    """

    ce_type: ClassVar[str] = "fabpilot.dead_letter.v1"
    stream: ClassVar[Stream] = Stream.DEAD_LETTERS

    source_topic: str
    source_partition: int
    source_offset: int
    source_key: bytes
    source_headers: tuple[tuple[str, bytes], ...]
    value: bytes
    value_bytes: int
    error: str
    reason: str
    stage: str

    @property
    def key(self) -> str:
        """The source topic."""
        return self.source_topic


_ALL: tuple[type[Event], ...] = (
    Action,
    ActionEffect,
    Alert,
    AlertDecision,
    AutomationSwitch,
    ChartPoint,
    DeadLetter,
    EquipmentState,
    Label,
    Metrology,
    Prediction,
    ProcessEvent,
    ReviewImage,
    Risk,
    RunToRun,
    Trace,
    TraceJudgement,
    VirtualMetrology,
    WaferMap,
)

EVENT_TYPES: dict[str, type[Event]] = {event.ce_type: event for event in _ALL}
"""Every event type by its CloudEvents type."""
