"""Everything the controller remembers, in one struct that is saved as bytes.

The state is explicit and bounded, whatever the events: see the `MAX_` constants. Indices that make
the engine fast are derived from it and rebuilt after a restart, so they are not in here.
"""

import msgspec

from contracts.errors import DataError
from contracts.events import (
    ActionKind,
    ActionStatus,
    AlertKind,
    Cause,
    Commonality,
    Severity,
    VariableShift,
)
from control.foresight_state import Mark, RiskRecord, VirtualGroup, VirtualLine
from control.run_to_run import ControllerRecord
from control.spc.rule_set import MonitorRecord

__all__ = [
    "ActionRecord",
    "AlertRecord",
    "ChartRecord",
    "ClosedCause",
    "ControlState",
    "EffectRecord",
    "GroupRecord",
    "JudgedChart",
    "ModuleRecord",
    "Moments",
    "PendingPoint",
    "Place",
    "StepRecord",
    "TestedWafer",
    "Visit",
    "WaferRecord",
    "WatchRecord",
    "dump_state",
    "load_state",
]

FORMAT = "fabpilot-control"
VERSION = 1


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a step was done. Wafers refer to it by its index, which keeps the state small."""

    equipment_id: str
    module_id: str
    recipe_id: str
    step: str

    @property
    def module(self) -> str:
        """equipment/module."""
        return f"{self.equipment_id}/{self.module_id}"


class Visit(msgspec.Struct, array_like=True):
    """One step of one wafer.

    Attributes:
        sequence: place of the step in the route.
        place: index into `ControlState.places`.
        time_ms: when it completed, or started as long as it has not completed.
        completed: whether it has.
        traced: whether its trace was counted; a replayed trace is not counted again.
    """

    sequence: int
    place: int
    time_ms: int
    completed: bool
    traced: bool = False


class WaferRecord(msgspec.Struct, array_like=True):
    """One wafer.

    Attributes:
        tested_ms: when its map was measured; -1 before.
        patterns: what the model saw on it, without 'None'.
        slot: in the carrier; 0 until it is known.
        marks: what was odd about its steps.
        told: risk that was told last, in per cent; -1 before.
        last_told: its risk was told after its last step before the test.
    """

    lot_id: str
    visits: list[Visit]
    tested_ms: int = -1
    patterns: tuple[str, ...] = ()
    slot: int = 0
    marks: list[Mark] = msgspec.field(default_factory=list)
    told: int = -1
    last_told: bool = False


class ModuleRecord(msgspec.Struct, array_like=True):
    """What the equipment said about a module.

    Attributes:
        kind: what the equipment does; '' until it said so.
        down: in a down or engineering state.
        inhibited: no new wafer is sent to it.
        repaired_ms: when it last came back from a down state; -1 if never.
        last_ms: when it was last heard of.
        steps: steps it has done, to the time it last did them.
        state: SEMI E10 state it was last in.
        traced_ms: time of its latest trace; -1 if there was none.
        readings: digest of that trace's values, to know a replay under another name.
        missing: share of its sensors that said nothing in that trace.
    """

    kind: str = ""
    down: bool = False
    inhibited: bool = False
    repaired_ms: int = -1
    last_ms: int = -1
    steps: dict[str, int] = msgspec.field(default_factory=dict)
    state: str = ""
    traced_ms: int = -1
    readings: int = 0
    missing: float = 0.0


class GroupRecord(msgspec.Struct):
    """Control charts of one recipe and step: modules M by charts K (variable x statistic).

    Attributes:
        modules: 'equipment/module' of each row.
        variables: trace variables; K = 3 * len(variables).
        numbers: float64 bytes of the arrays in `control.charts`, one after another.
        warm_up: row index to float32 bytes of the readings collected so far, (n, K).
        last_ms: when it was last used.
        settling: row index to its traces since the module's maintenance, 100 at most.
    """

    modules: list[str]
    variables: list[str]
    numbers: bytes
    warm_up: dict[int, bytes]
    last_ms: int
    settling: dict[int, int] = msgspec.field(default_factory=dict)


class AlertRecord(msgspec.Struct):
    """An alert that is open (shelved ones are open and silent).

    Attributes:
        module: suspect 'equipment/module', or '' while inconclusive.
        since_ms: when the excursion began.
        until_ms: when its cause was removed (inhibited, repaired); -1 while it has not been.
        rate: of bad wafers below which the suspect is taken to be well again.
        said_count: affected wafers at the last revision.
        affected: the latest ids; the counts are of all.
        refused: action kinds rejected or failed for this alert, not proposed again for it; what
            failed may be after the module has broken down.
        shelved_until_ms: silent until then; -1 if not shelved.
        proposed_for: what kind of alert it was at the last proposal.
        causes: as last found, the most probable first.
        grown: growth times magnitude of the first cause, 0 if it is no failure mode.
        said_mode: the failure modes that people were told of, joined by ' + '.
        profile: trace variable to its recent level on the suspect, in spreads off its normal.
        profile_wafers: that it rests on.
        unsteady: variables whose spread within a wafer grew.
        evidence_ms: when something was last heard of the suspect that bears on this.
        measured: shifts that metrology found, in spreads of a wafer, with the wafers of the point,
            by parameter.
        judged: what served models say of the suspect, in words with numbers.
        judged_only: nothing else speaks of it yet.
    """

    alert_id: str
    kind: AlertKind
    pattern: str
    module: str
    since_ms: int
    opened_ms: int
    until_ms: int = -1
    revision: int = 0
    severity: Severity = "low"
    step: str = ""
    recipe: str = ""
    affected: list[str] = msgspec.field(default_factory=list)
    affected_count: int = 0
    examined_count: int = 0
    rate: float = 0.5
    said_count: int = 0
    baseline_rate: float = 0.0
    confidence: float = 0.0
    commonalities: tuple[Commonality, ...] = ()
    shifts: tuple[VariableShift, ...] = ()
    refused: list[ActionKind] = msgspec.field(default_factory=list)
    shelved_until_ms: int = -1
    quiet_traces: int = 0
    proposals: int = 0
    proposed_for: str = ""
    causes: tuple[Cause, ...] = ()
    grown: float = 0.0
    said_mode: str = ""
    profile: dict[str, float] = msgspec.field(default_factory=dict)
    profile_wafers: int = 0
    unsteady: tuple[str, ...] = ()
    evidence_ms: int = -1
    measured: dict[str, tuple[float, int]] = msgspec.field(default_factory=dict)
    judged: tuple[str, ...] = ()
    judged_only: bool = False


class ClosedCause(msgspec.Struct, array_like=True):
    """A cause whose alert is closed: wafers it made may still come to test."""

    module: str
    pattern: str
    since_ms: int
    until_ms: int


class ActionRecord(msgspec.Struct, array_like=True):
    """An action at its latest stage. `module` is '' for actions on a lot.

    Attributes:
        previous: value of the recipe parameter before; None where it is not known.
        due_ms: when the policy approves it unless somebody says no; -1 if a person has to.
    """

    alert_id: str
    kind: ActionKind
    status: ActionStatus
    time_ms: int
    module: str = ""
    lot_id: str = ""
    recipe_id: str = ""
    parameter: str = ""
    value: float = 0.0
    previous: float | None = None
    due_ms: int = -1


class EffectRecord(msgspec.Struct, array_like=True):
    """An applied action whose effect is being waited for.

    Attributes:
        step: of the route, where patterns are looked for.
        since_ms: from when on wafers show its effect; -1 while a maintenance is going on.
        direction: variable to its share of the shift that should go away; empty if none moved.
        variable: the one that `before` and the sum are of.
        before: its shift in spreads; or the share of wafers that show the pattern.
        total: sum of its shifts since then, over `wafers` of them.
    """

    alert_id: str
    kind: ActionKind
    module: str
    step: str
    pattern: str
    applied_ms: int
    since_ms: int
    direction: dict[str, float]
    variable: str
    before: float
    total: float = 0.0
    wafers: int = 0


class TestedWafer(msgspec.Struct, frozen=True, array_like=True):
    """A tested wafer, and whether it is unlike all that the model learned."""

    substrate_id: str
    time_ms: int
    novel: bool


class Moments(msgspec.Struct, frozen=True, array_like=True):
    """Sums over the predictions of some wafers, to compare them with others.

    Attributes:
        wafers: how many.
        labels: the C classes.
        embedding: float64 bytes (D,), sum of the embeddings; D may be 0.
        squares: the same of their squares.
        probabilities: float64 bytes (C,), sum of the probabilities.
    """

    wafers: int
    labels: tuple[str, ...]
    embedding: bytes
    squares: bytes
    probabilities: bytes


class WatchRecord(msgspec.Struct):
    """What is watched of the model itself, over all wafers of the site.

    Attributes:
        model: name and version whose predictions these are.
        tested: the latest wafers whose novelty is known.
        reference: the first wafers that the model judged here.
        recent: those since the last comparison, the first of them at `recent_since_ms`.
        unknown_open: an alert about unknown patterns was raised and not closed by us.
        drift_open: the same for drift.
    """

    model: str = ""
    tested: list[TestedWafer] = msgspec.field(default_factory=list)
    reference: Moments | None = None
    recent: Moments | None = None
    recent_since_ms: int = -1
    unknown_open: bool = False
    drift_open: bool = False


class StepRecord(msgspec.Struct, array_like=True):
    """A measured parameter at a step of the route, over all modules.

    Attributes:
        level: its centre; None until enough wafers told.
        wafers: that it rests on.
        values: of those that told so far, while there is no level.
    """

    level: float | None = None
    wafers: float = 0.0
    values: list[float] = msgspec.field(default_factory=list)


class ChartRecord(msgspec.Struct, array_like=True):
    """The chart of a module and measured parameter.

    Attributes:
        centre: of what is left after the step's level.
        variance: of one wafer.
        count: points that both rest on; 0 in phase I.
        wafers: in those.
        floor: smallest standard deviation that is believed.
        phase_one: step, mean and wafers of the first points.
        points: charted in phase II since the last repair.
        last: deviation of the latest point, in sigmas of a point.
        smooth: EWMA of the deviations.
        since_ms: when the chart was last in place.
        told: it is out, and somebody was told.
        measured: digests of the latest measurements.
        monitor: memory of the rules.
    """

    centre: float = 0.0
    variance: float = 0.0
    count: float = 0.0
    wafers: float = 0.0
    floor: float = 0.0
    phase_one: list[tuple[str, float, int]] = msgspec.field(default_factory=list)
    points: int = 0
    last: float = 0.0
    smooth: float = 0.0
    since_ms: int = -1
    told: bool = False
    measured: list[int] = msgspec.field(default_factory=list)
    monitor: MonitorRecord = msgspec.field(default_factory=MonitorRecord)


class JudgedChart(msgspec.Struct, array_like=True):
    """The chart of what one version of a served model says of a module's recipe and step.

    Attributes:
        total: the CUSUM, in steps of what a run below the limit takes away.
        points: judgements charted.
        last_ms: of the latest judgement.
        since_ms: of the run with which the stretch began that `total` stands for.
        runs: in that stretch, `hits` of them beyond the model's limit; `worst` their highest score.
        parts: variable to the sum of its shares of the score over those hits.
        substrates: wafers of the latest of those hits.
        quiet: judgements in a row below the limit.
        told: it signalled, and is not back yet.
    """

    total: int = 0
    points: int = 0
    last_ms: int = -1
    since_ms: int = -1
    runs: int = 0
    hits: int = 0
    worst: float = 0.0
    parts: dict[str, float] = msgspec.field(default_factory=dict)
    substrates: list[str] = msgspec.field(default_factory=list)
    quiet: int = 0
    told: bool = False


class PendingPoint(msgspec.Struct, array_like=True):
    """A point whose wafers are still coming.

    Attributes:
        chart: key of its chart.
        total: sum over the wafers, of the logarithm where that is charted.
        treated_ms: when the module treated the last of them.
        last_ms: when the last of them was measured.
    """

    chart: str
    step: str
    lot_id: str
    recipe_id: str
    substrates: list[str] = msgspec.field(default_factory=list)
    total: float = 0.0
    treated_ms: int = -1
    last_ms: int = -1


class ControlState(msgspec.Struct):
    """The whole state of one site's controller.

    Attributes:
        effects: of applied actions, by action id.
        automatic: whether the policy may approve anything; people switch it.
        judged: charts of what served models say, by module, recipe, step and version of the model.
    """

    site: str
    format: str = FORMAT
    version: int = VERSION
    now_ms: int = -1
    out_of_time: int = 0
    ignored: dict[str, int] = msgspec.field(default_factory=dict)
    recent_ids: list[int] = msgspec.field(default_factory=list)
    places: list[Place] = msgspec.field(default_factory=list)
    modules: dict[str, ModuleRecord] = msgspec.field(default_factory=dict)
    wafers: dict[str, WaferRecord] = msgspec.field(default_factory=dict)
    tested: list[str] = msgspec.field(default_factory=list)
    groups: dict[str, GroupRecord] = msgspec.field(default_factory=dict)
    alerts: dict[str, AlertRecord] = msgspec.field(default_factory=dict)
    closed: list[ClosedCause] = msgspec.field(default_factory=list)
    actions: dict[str, ActionRecord] = msgspec.field(default_factory=dict)
    proposed_ms: list[int] = msgspec.field(default_factory=list)
    watch: WatchRecord = msgspec.field(default_factory=WatchRecord)
    risk: RiskRecord = msgspec.field(default_factory=RiskRecord)
    virtual: dict[str, VirtualGroup] = msgspec.field(default_factory=dict)
    virtual_lines: dict[str, VirtualLine] = msgspec.field(default_factory=dict)
    charts: dict[str, ChartRecord] = msgspec.field(default_factory=dict)
    chart_steps: dict[str, StepRecord] = msgspec.field(default_factory=dict)
    pending_points: dict[str, PendingPoint] = msgspec.field(default_factory=dict)
    threads: dict[str, ControllerRecord] = msgspec.field(default_factory=dict)
    lot_products: dict[str, str] = msgspec.field(default_factory=dict)
    effects: dict[str, EffectRecord] = msgspec.field(default_factory=dict)
    automatic: bool = True
    judged: dict[str, JudgedChart] = msgspec.field(default_factory=dict)


class _Head(msgspec.Struct):
    format: str
    version: int
    site: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ControlState)
_head_decoder = msgspec.msgpack.Decoder(_Head)


def dump_state(state: ControlState) -> bytes:
    """The state as MessagePack. Equal states give equal bytes."""
    return _encoder.encode(state)


def load_state(data: bytes, site: str) -> ControlState:
    """The state that `dump_state` wrote.

    Raises:
        DataError: damaged bytes, another format or version, or another site's state.
    """
    advice = "start the controller with an empty state, or restore the database's backup"
    try:
        head = _head_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"the saved state of the controller of {site!r} is damaged ({error}): {advice}"
        ) from error
    if head.format != FORMAT or head.version != VERSION:
        raise DataError(
            f"the saved state of {site!r} is {head.format!r} version {head.version}; this code"
            f" reads {FORMAT!r} version {VERSION}: {advice}"
        )
    if head.site != site:
        raise DataError(
            f"the saved state is that of site {head.site!r}, the controller's is {site!r}:"
            " give each site its own state"
        )
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"the saved state of the controller of {site!r} is damaged ({error}): {advice}"
        ) from error
