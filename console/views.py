"""What the JSON API answers and the pages draw. Times are milliseconds since the epoch, UTC."""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, computed_field

from contracts.events import NOVELTY_LIMIT

__all__ = [
    "ActionView",
    "AlertDetail",
    "AlertState",
    "AlertView",
    "AuditEntry",
    "AutomationView",
    "Band",
    "CauseView",
    "CommonalityView",
    "DeadLetterView",
    "EffectView",
    "ImageView",
    "LabelView",
    "MapView",
    "MetrologyView",
    "ModuleView",
    "Page",
    "Pixels",
    "ShiftPoint",
    "ShiftView",
    "SimilarWafer",
    "StackView",
    "StageView",
    "StateSpan",
    "StepView",
    "Strip",
    "TimelineEntry",
    "TracesView",
    "View",
    "WaferDetail",
    "WaferView",
]

AlertState = Literal["new", "acknowledged", "shelved", "resolved", "normal"]
T = TypeVar("T")


class View(BaseModel):
    """What all of them have in common."""

    # `model_version` is our field's right name; pydantic reserves the prefix by default.
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Page(View, Generic[T]):
    """One page of a list, and how long the list is."""

    items: list[T]
    total: int
    limit: int
    offset: int


class StageView(View):
    """One stage an action went through."""

    status: Literal["proposed", "approved", "rejected", "applied", "failed"]
    by: str
    comment: str
    time_ms: int


class EffectView(View):
    """Whether an action did what it was to do."""

    verdict: Literal["came", "absent", "unclear"]
    measure: str = Field(description="what `before` and `after` are, with the unit")
    before: float
    after: float
    wafers: int
    consequence: Literal["none", "undone", "escalated"]
    evidence: list[str]
    time_ms: int


class ActionView(View):
    """A process-control action at its latest stage."""

    action_id: str
    alert_id: str
    site: str
    kind: str
    status: Literal["proposed", "approved", "rejected", "applied", "failed"]
    by: str
    comment: str
    target: str = Field(description="equipment/module, equipment or lot")
    recipe_id: str
    parameter: str
    value: float
    expected_good_dies: float = Field(description="gain over doing nothing, per lot to come")
    cost_good_dies: float
    confidence: float
    check: str = Field(description="how its effect will be checked")
    evidence: list[str] = Field(description="what it was decided on, in words with numbers")
    time_ms: int = Field(description="fab time of the latest stage")
    received_ms: int
    stages: list[StageView] = Field(default=[], description="oldest first")
    effect: EffectView | None = None


class AlertView(View):
    """An alert with its human state: a line of the list."""

    alert_id: str
    site: str
    headline: str = Field(description="what happened, in the language asked for")
    state: AlertState
    severity: Literal["critical", "high", "medium", "low"]
    kind: str
    pattern: str
    suspect_module: str = Field(description="equipment/module, or '' while inconclusive")
    since_ms: int = Field(description="fab time")
    time_ms: int = Field(description="fab time of the latest revision")
    raised_ms: int = Field(description="wall time of the first revision")
    revision: int
    affected_count: int
    examined_count: int
    baseline_rate: float
    confidence: float
    at_risk: int = Field(description="lots that went through the suspect, not tested yet")
    decided_by: str
    decided_ms: int
    comment: str
    until_ms: int = Field(description="fab time at which a shelved alert comes back; 0 otherwise")
    action: ActionView | None = None


class CommonalityView(View):
    """How much more often bad wafers went through one place than others did."""

    factor: str
    value: str
    bad_through: int
    bad_total: int
    good_through: int
    good_total: int
    odds_ratio: float
    p_value: float = Field(description="Fisher's exact test, one-sided, corrected")


class ShiftView(View):
    """How far one trace variable is from its normal."""

    variable: str
    recipe_id: str
    mean: float
    normal: float
    spread: float
    z: float


class CauseView(View):
    """What may be behind an alert."""

    module: str = Field(description="equipment/module, or '' for something else")
    mode: str = Field(description="failure mode (FMEA), or '' where none fits")
    probability: float
    evidence: list[str]


class TimelineEntry(View):
    """One thing that happened to an alert or action."""

    time_ms: int
    received_ms: int
    what: str = Field(description="'alert.acknowledged', 'action.approved' and so on")
    by: str
    comment: str
    action_id: str
    detail: dict[str, str | int | float | bool]


class AlertDetail(AlertView):
    """An alert with all its evidence."""

    affected: list[str]
    unaffected: list[str]
    at_risk_lots: list[str]
    commonalities: list[CommonalityView]
    shifts: list[ShiftView]
    causes: list[CauseView] = Field(description="likeliest first; empty while inconclusive")
    timeline: list[TimelineEntry]
    actions: list[ActionView]


class WaferView(View):
    """A wafer: a tile of the gallery."""

    site: str
    substrate_id: str
    lot_id: str
    product: str
    slot: int
    fab_ms: int
    received_ms: int
    pattern: str
    probability: float | None
    good: int | None
    bad: int | None
    novelty: float | None = Field(
        default=None, description="how unlike all that the model learned; 1 is the limit"
    )

    @computed_field(description="whether it shows a pattern the model has not learned")  # type: ignore[prop-decorator]
    @property
    def unknown(self) -> bool:
        """Whether it is at or beyond the limit."""
        return self.novelty is not None and self.novelty >= NOVELTY_LIMIT


class StepView(View):
    """One step of a wafer's route."""

    sequence: int
    step: str
    module: str
    recipe_id: str
    process_job_id: str
    started_ms: int | None
    completed_ms: int | None


class MetrologyView(View):
    """A measurement, over its sites on the wafer."""

    time_ms: int
    step: str
    equipment_id: str
    parameter: str
    sites: int
    mean: float
    low: float
    high: float


class ImageView(View):
    """A review image; the picture itself has its own address."""

    event_id: str
    step: str
    x_mm: float
    y_mm: float
    pixel_size_nm: float


class LabelView(View):
    """What an engineer said about a wafer."""

    patterns: list[str]
    by: str
    comment: str
    time_ms: int


class SimilarWafer(View):
    """A wafer like the one looked at."""

    site: str
    substrate_id: str
    pattern: str
    similarity: float = Field(description="cosine of the embeddings, -1 to 1")


class WaferDetail(WaferView):
    """A wafer with its history."""

    steps: list[StepView]
    metrology: list[MetrologyView]
    images: list[ImageView]
    probabilities: dict[str, float]
    model: str
    model_version: str
    model_sha256: str
    provider: str
    label: LabelView | None
    similar: list[SimilarWafer]


class Pixels(View):
    """A small image: row-major bytes, base64."""

    rows: int
    columns: int
    data: str


class MapView(View):
    """A wafer's die grid (0 off, 1 pass, 2 fail) and heatmap (0 to 255)."""

    site: str
    substrate_id: str
    grid: Pixels | None
    heatmap: Pixels | None


class StackView(View):
    """Failing share by place, over several wafers: 0 off the wafer, 1 to 255 share 0 to `peak`."""

    wafers: int
    peak: float
    pixels: Pixels | None


class Band(View):
    """One trace variable: the suspect's line over the band of normal ones."""

    variable: str
    z: float | None
    suspect: list[float | None] = Field(description="mean of the suspect's recent wafers")
    mean: list[float | None] = Field(description="mean of the comparable modules")
    low: list[float | None] = Field(description="their 5th percentile")
    high: list[float | None] = Field(description="their 95th percentile")


class RecipeStepView(View):
    """Where a step of the recipe begins in a trace."""

    number: int
    from_s: float


class TracesView(View):
    """The suspect's traces against those of other modules running the same recipe and step."""

    module: str
    recipe_id: str
    step: str
    suspect_wafers: int
    normal_wafers: int
    normal_modules: list[str]
    seconds: list[float]
    recipe_steps: list[RecipeStepView] = Field(
        description="of the suspect's latest trace; empty where it does not say"
    )
    bands: list[Band]


class StateSpan(View):
    """A stretch of time in one SEMI E10 state."""

    state: str
    inhibited: bool
    reason: str
    from_ms: int
    to_ms: int


class ModuleView(View):
    """A module (chamber) and what is known of it."""

    site: str
    module: str
    kind: str
    state: str
    inhibited: bool
    reason: str
    since_ms: int
    wafers: int = Field(description="wafers that are stored and went through it")
    alert_id: str = Field(description="the open alert that suspects it, or ''")
    alert_severity: str
    spans: list[StateSpan]


class ShiftPoint(View):
    """Wafers tested in one slice of time."""

    time_ms: int
    wafers: int
    yield_percent: float | None
    pattern_percent: float | None = Field(description="share predicted to show a pattern")
    risk_percent: float | None = Field(
        description="mean risk before inspection of the wafers that finished a step then"
    )


class DeadLetterView(View):
    """A record that could not be processed."""

    event_id: str
    site: str
    time_ms: int
    source: str = Field(description="topic/partition@offset")
    size_bytes: int
    error: str
    reason: str
    stage: str
    replayed_by: str = Field(description="who put the record back, or ''")


class AuditEntry(View):
    """One line of the audit trail."""

    id: int
    time_ms: int
    who: str
    what: str
    subject: str
    why: str
    before: str
    after: str


class AutomationView(View):
    """Whether policies may approve actions at a site. `by` is '' while nobody has switched."""

    site: str
    automatic: bool
    by: str = ""
    reason: str = ""
    time_ms: int = 0


class Strip(View):
    """The line at the top of every page."""

    sites: list[str]
    now_ms: int
    fab_ms: int | None
    last_wafer_s: float | None = Field(description="seconds since the last wafer arrived")
    lag_records: int | None
    wafers: int
    alerts_open: int
    alerts_per_hour: float = Field(description="raised in the last hour, per engineer deciding")
    dead_letters: int
    model: str
    device: str
    projector: Literal["running", "stopped", "off"]
    automation: list[AutomationView] = Field(description="the switch of each site")
