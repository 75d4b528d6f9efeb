"""What the controller makes of a served fault model's judgements, on a fab that goes on and fails.

The model is learned on the beginning of the fab's log and then kept as it is. Two controllers hear
what follows: one hears the judgements alone, so that each alert is theirs; the other hears the
traces and measurements too, so that one alert a cause is the most there may be. Neither hears wafer
maps, and nobody acts. The truth is only used to judge.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from contracts.codec import decode, encode
from contracts.events import Action, Alert, ChartPoint, Event, Metrology, Trace, TraceJudgement
from contracts.topics import Stream
from contracts.trace_model import REGISTERED_NAMES
from control.engine import Engine
from control.policy import Policy
from fab_sim import Fab, Scenario
from fab_sim.modes import MODES
from fab_sim.truth import TrueExcursion
from fabpilot.benchmarks.served import SITE, START_MS, later, train_file
from fabpilot.benchmarks.stream import machine
from fabpilot.settings import Settings
from fabpilot.trace_export import Wanted, export_traces
from fabpilot.wiring import open_site_log
from serving.repository import FileSource, ModelRepository
from serving.trace_scorer import TraceScorer, trace_opener

__all__ = ["JudgedBench", "measure_judged"]

_STREAMS = frozenset({Stream.PROCESS, Stream.EQUIPMENT, Stream.TRACES, Stream.METROLOGY})
_APPEND = 500
# After an excursion was cleared its alert may still come, and what it left may still be seen.
_AFTER_MS = 24 * 3_600_000


class JudgedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of the controller that hears judgements alone.

    Attributes:
        mode: what was wrong with the module then; '' if nothing was.
        runs: judged on the module from the onset to the alert, that one counted; None without one.
        hours: the same in hours of the fab.
        variables: named first, second and third.
        shown: the first of them is a sensor that shows the mode; None without one.
        ended: it returned to normal.
    """

    module: str
    mode: str
    runs: int | None
    hours: float | None
    severity: str
    variables: list[str]
    shown: bool | None
    revisions: int
    ended: bool


class JudgedBench(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts by judgements, and what they did to the alerts that there are without.

    Attributes:
        judged_well: judgements of modules that were well, `beyond` the share of them over 1.
        days: of the fab, after training.
        arl0: judgements of a chart between two false alarms, as told with each point.
        alerts: of the controller that hears judgements alone.
        needless: of these, on modules that were well.
        sick: modules that failed, with the runs of them that were judged.
        actions: proposed by that controller, by kind.
        own_alerts: by the controller without judgements; `joint_alerts` by the one that hears all;
            `doubled` modules on which that one had two at once.
    """

    scenario: str
    seed: int
    step: str
    learned: int
    days: float
    judged_well: int
    beyond: float
    arl0: float | None
    arl1: float | None
    alerts: list[JudgedAlert]
    needless: int
    sick: dict[str, int]
    actions: dict[str, int]
    own_alerts: int
    joint_alerts: int
    doubled: int
    machine: str


class _Hearer:
    """A controller, and what it said."""

    def __init__(self, policy: Policy) -> None:
        self._engine = Engine(policy, SITE)
        self.alerts: dict[str, list[Alert]] = {}
        self.actions: dict[str, int] = {}
        self.point: ChartPoint | None = None
        self.doubled: set[str] = set()

    def hear(self, event: Event) -> None:
        """Take in an event as it would come from the log."""
        for said in self._engine.handle(event):
            if isinstance(said, Alert):
                self.alerts.setdefault(said.alert_id, []).append(said)
                open_on = [
                    told[-1].suspect_module
                    for told in self.alerts.values()
                    if told[-1].status == "open" and told[-1].suspect_module
                ]
                self.doubled |= {name for name in open_on if open_on.count(name) > 1}
            elif isinstance(said, Action) and said.status == "proposed":
                self.actions[said.kind] = self.actions.get(said.kind, 0) + 1
            elif isinstance(said, ChartPoint) and said.chart == "score":
                self.point = said


def measure_judged(
    settings: Settings,
    policy: Policy,
    scenario: Scenario,
    *,
    step: str,
    learn: int,
    serve: int,
    seed: int,
    on_progress: Callable[[int], None],
) -> JudgedBench:
    """Run a fab, learn from its beginning, judge the rest and control by it.

    Args:
        settings: the device.
        policy: of the controllers.
        scenario: made endless, its excursions later by what is learned from and a quarter of the
            rest.
        step: whose traces are judged.
        learn: wafers tested before training.
        serve: wafers tested afterwards.
        seed: of the fab.
        on_progress: called with the wafers tested.
    """
    fab = Fab(
        later(scenario, learn + serve // 4), site=SITE, seed=seed, start_ms=START_MS,
        streams=_STREAMS,
    )  # fmt: skip
    alone, own, joint = _Hearer(policy), _Hearer(policy), _Hearer(policy)
    judged: list[TraceJudgement] = []

    def hear(events: Sequence[Event]) -> None:
        for event in events:
            own.hear(event)
            joint.hear(event)
            if not isinstance(event, Trace | Metrology):
                alone.hear(event)

    with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
        home = Path(folder)
        settings = settings.model_copy(update={"log": f"embedded:{home / 'log.db'}"})
        with closing(open_site_log(settings, SITE)) as log:
            waiting: list[Event] = []
            while fab.wafers_done < learn:
                events = fab.step()
                hear(events)
                waiting += [event for event in events if isinstance(event, Trace)]
                if len(waiting) >= _APPEND:
                    log.append([encode(event) for event in waiting])
                    waiting.clear()
                    on_progress(fab.wafers_done)
            log.append([encode(event) for event in waiting])
            out = home / "runs.parquet"
            exported = export_traces(log, SITE, Wanted(step=step), out, lambda _: None)
        model = train_file("fault", out, home)
        began_ms = max((event.time_ms for event in waiting), default=START_MS)
        repository = ModelRepository(
            FileSource(model, REGISTERED_NAMES["fault"]), settings.device, trace_opener("fault"),
            threads=1,
        )  # fmt: skip
        with closing(repository):
            repository.refresh()
            scorer = TraceScorer(repository)
            ended_ms = began_ms
            while fab.wafers_done < learn + serve:
                events = fab.step()
                hear(events)
                traces = [e for e in events if isinstance(e, Trace) and e.step == step]
                for answer in scorer(traces) if traces else []:
                    for said in answer if isinstance(answer, list) else []:
                        message = encode(said)
                        event = decode(message.headers, message.value)
                        assert isinstance(event, TraceJudgement)
                        judged.append(event)
                        alone.hear(event)
                        joint.hear(event)
                        ended_ms = event.time_ms
                on_progress(fab.wafers_done)
    truth = fab.truth()
    well = [event for event in judged if _illness(event.key, event.time_ms, truth) is None]
    alerts = [_found(told, judged, truth) for told in alone.alerts.values()]
    sick: dict[str, int] = {}
    for event in judged:
        if _illness(event.key, event.time_ms, truth) is not None:
            sick[event.key] = sick.get(event.key, 0) + 1
    point = alone.point
    return JudgedBench(
        scenario=scenario.name,
        seed=seed,
        step=step,
        learned=exported.runs,
        days=round((ended_ms - began_ms) / 86_400_000, 2),
        judged_well=len(well),
        beyond=round(
            sum(event.score is not None and event.score > 1.0 for event in well)
            / max(1, len(well)),
            4,
        ),
        arl0=None if point is None else round(point.arl0),
        arl1=None if point is None else round(point.arl1, 1),
        alerts=alerts,
        needless=sum(not alert.mode for alert in alerts),
        sick=sick,
        actions=alone.actions,
        own_alerts=len(own.alerts),
        joint_alerts=len(joint.alerts),
        doubled=len(joint.doubled),
        machine=machine(),
    )


def _illness(
    module: str, time_ms: int, truth: Sequence[TrueExcursion], after_ms: int = 0
) -> TrueExcursion | None:
    for item in truth:
        end = time_ms if item.cleared_ms is None else item.cleared_ms + after_ms
        if item.module == module and item.onset_ms <= time_ms <= end:
            return item
    return None


def _found(
    told: Sequence[Alert], judged: Sequence[TraceJudgement], truth: Sequence[TrueExcursion]
) -> JudgedAlert:
    first = told[0]
    sick = _illness(first.suspect_module, first.time_ms, truth, _AFTER_MS)
    variables = [said.partition(":")[0] for said in first.causes[0].evidence[1:]]
    runs = hours = shown = None
    if sick is not None:
        runs = sum(
            event.key == sick.module and sick.onset_ms <= event.time_ms <= first.time_ms
            for event in judged
        )
        hours = round((first.time_ms - sick.onset_ms) / 3_600_000, 1)
        shown = variables[:1] != [] and variables[0] in {n for n, _ in MODES[sick.mode].signature}
    return JudgedAlert(
        module=first.suspect_module,
        mode="" if sick is None else sick.mode,
        runs=runs,
        hours=hours,
        severity=first.severity,
        variables=variables,
        shown=shown,
        revisions=len(told),
        ended=told[-1].status == "normal",
    )
