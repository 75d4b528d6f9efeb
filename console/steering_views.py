"""What the API answers and the pages draw about risk, charts, virtual metrology and run-to-run."""

from typing import Literal

from pydantic import Field

from console.views import View

__all__ = [
    "ChartCard",
    "ChartDetail",
    "ChartPointView",
    "ChartView",
    "ContributionView",
    "ForetoldView",
    "LotDetail",
    "LotRisk",
    "LotStep",
    "LotWafer",
    "R2rRun",
    "R2rThread",
    "R2rThreadDetail",
    "RiskStep",
    "SwitchView",
    "VirtualDetail",
    "VirtualPlace",
    "VirtualPoint",
]


class RiskStep(View):
    """What a wafer was expected to show after one step of its route."""

    sequence: int
    step: str
    time_ms: int
    any_pattern: float = Field(description="probability that it shows a pattern, 0 to 1")
    expected_loss: float = Field(description="share of its good dies expected to be lost, 0 to 1")
    pattern: str = Field(description="the likeliest one")
    probabilities: dict[str, float]
    suspects: list[str]


class LotStep(RiskStep):
    """The same as a line of a lot's table."""

    slot: int
    substrate_id: str


class LotWafer(View):
    """A wafer of a lot, with its latest risk and, once tested, what it shows."""

    slot: int
    substrate_id: str
    risk: RiskStep
    tested: bool
    outcome: str = Field(description="the pattern the wafer-map model sees; '' before the test")


class LotRisk(View):
    """A lot by the risk of its wafers before inspection."""

    site: str
    lot_id: str
    product: str
    wafers: int = Field(description="that have a risk")
    tested: int
    expected_bad: float = Field(description="wafers not tested yet expected to show a pattern")
    expected_loss: float = Field(description="share of good dies to be lost, mean of those")
    pattern: str = Field(description="the likeliest of its wafer most at risk")
    step: str
    time_ms: int
    suspects: list[str]
    slots: list[LotWafer]


class LotDetail(LotRisk):
    """A lot with the risk of each wafer after each step."""

    patterns: list[str]
    histories: dict[str, list[RiskStep]] = Field(description="by substrate id, by sequence")


class ContributionView(View):
    """How much one variable adds to a multivariate statistic."""

    variable: str
    value: float


class ChartPointView(View):
    """One point of a control chart."""

    time_ms: int
    value: float
    center: float
    lower: float | None
    upper: float | None
    sigma: float
    rules: list[str]
    phase: Literal[1, 2]
    lot_id: str
    substrates: list[str]
    contributions: list[ContributionView]


class ChartView(View):
    """A control chart at its latest point: a line of the list."""

    site: str
    chart_id: str
    chart: str
    module: str
    step: str
    recipe_id: str
    parameter: str
    time_ms: int
    value: float
    center: float
    lower: float | None
    upper: float | None
    sigma: float
    rules: list[str] = Field(description="broken at the latest point")
    phase: Literal[1, 2]
    points: int = Field(description="charted in this phase")
    enabled: list[str]
    arl0: float | None = Field(description="points between false alarms; null if it never ends")
    arl1: float | None = Field(description="points to an alarm after a shift of one sigma")
    cp: float | None
    cpk: float | None
    cpk_low: float | None
    cpk_high: float | None
    out_ms: int = Field(description="when a rule was last broken, fab time; 0 if none was")
    state: Literal["out", "recent", "learning", "in"] = Field(
        description="out now; out within a day; limits are being estimated; in control"
    )


class ChartCard(ChartView):
    """A chart with its latest points, for small multiples."""

    recent: list[ChartPointView]


class ChartDetail(ChartView):
    """A chart with its points, and the same chart on the other modules."""

    history: list[ChartPointView]
    siblings: list[ChartCard]


class VirtualPlace(View):
    """One parameter of one module that is foretold, and how well so far."""

    site: str
    module: str
    step: str
    parameter: str
    model: str = Field(description="the registered model that foretells it; '' is the controller")
    predicted: int = Field(description="wafers foretold, of the latest that are kept")
    unlike: int = Field(description="of them unlike all that was learned from")
    measured: int = Field(description="of them measured since, the unlike ones left out")
    covered: int = Field(description="of the measured ones inside their interval")
    coverage: float | None
    coverage_low: float | None = Field(description="95 % interval of Wilson")
    coverage_high: float | None
    nominal: float
    rmse: float | None = Field(description="in the parameter's unit")
    learned: int
    time_ms: int


class VirtualPoint(View):
    """One wafer, foretold and perhaps measured."""

    time_ms: int
    substrate_id: str
    lot_id: str
    predicted: float
    low: float
    high: float
    unlike: bool
    measured: float | None


class ForetoldView(View):
    """A measurement foretold of one wafer."""

    time_ms: int
    module: str
    step: str
    parameter: str
    predicted: float
    low: float
    high: float
    coverage: float
    unlike: bool
    model: str = Field(description="the registered model that foretold it; '' is the controller")


class JudgementView(View):
    """What a registered model said of one trace of a wafer."""

    time_ms: int
    module: str
    recipe_id: str
    step: str
    task: Literal["fault", "risk"]
    score: float | None = Field(
        description="of a fault over the model's limit, of risk the probability that the wafer"
        " fails; null where it was not judged"
    )
    reason: str = Field(description="why it was not judged; '' where it was")
    contributions: list[ContributionView]
    troubles: list[str] = Field(description="sensors that could not be judged as usual")
    model: str
    model_version: str


class ServedRisk(View):
    """The latest that a registered model said of a wafer's risk."""

    substrate_id: str
    model: str
    model_version: str
    step: str
    score: float
    time_ms: int


class VirtualDetail(VirtualPlace):
    """A parameter of a module with its wafers, oldest first."""

    history: list[VirtualPoint]


class R2rRun(View):
    """One run of a run-to-run thread."""

    time_ms: int
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
    reason: str


class R2rThread(R2rRun):
    """A run-to-run thread after its latest run."""

    site: str
    thread: str
    product: str
    module: str
    recipe_id: str
    step: str
    output: str
    parameter: str


class R2rThreadDetail(R2rThread):
    """A thread with its runs, oldest first."""

    history: list[R2rRun]


class SwitchView(View):
    """One use of the switch over automatic actions."""

    site: str
    automatic: bool
    by: str
    reason: str
    time_ms: int
