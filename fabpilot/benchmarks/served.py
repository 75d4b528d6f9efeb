"""What registered trace models are worth once they serve, on a fab that goes on and fails.

They are learned on the beginning of a fab's log and then kept as they are. All of it is what users
have: `fabpilot export traces`, the tasks' training, and the processor's own loop on an embedded
log. The truth is only used to judge.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from contracts.codec import encode
from contracts.errors import ConfigError
from contracts.events import Event, Metrology, Trace, TraceJudgement, VirtualMetrology
from contracts.topics import Stream, topic_name
from contracts.trace_model import REGISTERED_NAMES, Task
from fab_sim import Fab, Scenario
from fab_sim.modes import MODES
from fabpilot.benchmarks.stream import machine
from fabpilot.reading import read_events
from fabpilot.settings import Settings
from fabpilot.trace_export import Wanted, export_traces
from fabpilot.wiring import open_site_log
from models.traces.layouts import load_traces
from models.traces.tasks import task_named
from serving.repository import FileSource, ModelRepository
from serving.trace_scorer import TraceScorer, trace_opener
from streaming.log import Log
from streaming.processor import Processor

__all__ = ["SITE", "START_MS", "ServedBench", "later", "measure_served", "train_file"]

SITE = "kr1"
START_MS = 1_767_225_600_000
_TASKS: tuple[Task, ...] = ("metrology", "fault")
_APPEND = 500


class WellRuns(msgspec.Struct, frozen=True, kw_only=True):
    """Runs after training, on modules that were well.

    Attributes:
        measured: later, so that virtual metrology can be judged.
        rmse: of virtual metrology, in the parameter's unit; `spread` is the standard deviation of
            what was measured, about each module's own mean.
        coverage90: share of the measured values inside the interval.
        unlike: share of the runs that were said to be unlike what was learned.
        false_alarms: share of the runs with a fault score beyond 1; nominal is 0.01.
    """

    runs: int
    measured: int
    rmse: float
    spread: float
    coverage90: float
    unlike: float
    false_alarms: float


class SickRuns(msgspec.Struct, frozen=True, kw_only=True):
    """Runs on a module from the moment something began to go wrong there.

    Attributes:
        to_first_alarm: runs from the onset to the first score beyond 1, that one counted; None if
            there was none.
        alarms: share of the runs with a score beyond 1.
        unlike: share that virtual metrology said to be unlike what it learned.
        named: share of the alarms whose largest contribution is a sensor that shows the mode.
    """

    module: str
    mode: str
    runs: int
    to_first_alarm: int | None
    alarms: float
    unlike: float
    named: float | None


class ServedBench(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned, and what it was worth afterwards.

    Attributes:
        learned: runs of the step in the training set, `learned_measured` those with a measurement.
        per_cpu_s: traces judged a second of processor time of the whole loop on the embedded log,
            by task.
        judge_per_cpu_s: the same of the judge alone, with no log around it: the ceiling.
    """

    scenario: str
    seed: int
    step: str
    parameter: str
    learned: int
    learned_measured: int
    well: WellRuns
    sick: list[SickRuns]
    per_cpu_s: dict[str, float]
    judge_per_cpu_s: dict[str, float]
    machine: str


def measure_served(
    settings: Settings,
    scenario: Scenario,
    *,
    step: str,
    parameter: str,
    learn: int,
    serve: int,
    seed: int,
    on_progress: Callable[[int], None],
) -> ServedBench:
    """Run a fab, learn from its beginning, serve the rest.

    The scenario's excursions begin later by the wafers that are learned from and a quarter of those
    that are served, so that there is something well to judge.

    Args:
        settings: the device.
        scenario: made endless.
        step: whose traces are judged.
        parameter: that is foretold.
        learn: wafers tested before training.
        serve: wafers tested afterwards.
        seed: of the fab.
        on_progress: called with the wafers tested.

    Raises:
        DatasetError: the fab does not measure the parameter after the step, or not often enough.
    """
    fab = Fab(
        later(scenario, learn + serve // 4),
        site=SITE,
        seed=seed,
        start_ms=START_MS,
        streams=frozenset({Stream.TRACES, Stream.METROLOGY}),
    )
    with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
        home = Path(folder)
        settings = settings.model_copy(update={"log": f"embedded:{home / 'log.db'}"})
        with closing(open_site_log(settings, SITE)) as log:
            _run(fab, log, learn, on_progress)
            out = home / "runs.parquet"
            wanted = Wanted(step=step, parameter=parameter)
            exported = export_traces(log, SITE, wanted, out, lambda _: None)
            for task in _TASKS:
                train_file(task, out, home)
            trained_to = log.ends([topic_name(SITE, Stream.TRACES)])
            _run(fab, log, learn + serve, on_progress)
            speeds: dict[str, float] = {}
            ceilings: dict[str, float] = {}
            for task in _TASKS:
                repository = ModelRepository(
                    FileSource(_file(home, task), REGISTERED_NAMES[task]),
                    settings.device,
                    trace_opener(task),
                    threads=1,
                )
                with closing(repository):
                    repository.refresh()
                    scorer = TraceScorer(repository)
                    log.start_group(task, trained_to)
                    speeds[task] = _serve(log, task, scorer)
                    ceilings[task] = _alone(log, scorer, step)
            streams = (Stream.CHARTS, Stream.JUDGEMENTS)
            told = [event for one in streams for _, event in read_events(log, SITE, one)]
            measured = _measured(log, step, parameter)
        traces = [event for event in told if isinstance(event, VirtualMetrology | TraceJudgement)]
        well, sick = _judged(fab, traces, measured)
    return ServedBench(
        scenario=scenario.name,
        seed=seed,
        step=step,
        parameter=parameter,
        learned=exported.runs,
        learned_measured=exported.measured,
        well=well,
        sick=sick,
        per_cpu_s=speeds,
        judge_per_cpu_s=ceilings,
        machine=machine(),
    )


def later(scenario: Scenario, wafers: int) -> Scenario:
    """An endless scenario, its excursions later by so many wafers."""
    if any(item.onset_wafers is None for item in scenario.excursions):
        raise ConfigError(
            f"scenario {scenario.name} has excursions that begin after hours; name one in which"
            " they begin after wafers, such as demo"
        )
    return msgspec.structs.replace(
        scenario,
        lots=msgspec.structs.replace(scenario.lots, total=None),
        excursions=tuple(
            msgspec.structs.replace(item, onset_wafers=(item.onset_wafers or 0) + wafers)
            for item in scenario.excursions
        ),
    )


def _run(fab: Fab, log: Log, until: int, on_progress: Callable[[int], None]) -> None:
    waiting: list[Event] = []
    while fab.wafers_done < until:
        waiting += fab.step()
        if len(waiting) >= _APPEND:
            log.append([encode(event) for event in waiting])
            waiting.clear()
            on_progress(fab.wafers_done)
    log.append([encode(event) for event in waiting])


def _file(folder: Path, task: Task) -> Path:
    return folder / f"{task}.onnx"


def train_file(task: Task, data: Path, folder: Path) -> Path:
    """The file of a model of a task, learned on an exported set."""
    trained = task_named(task).train(
        load_traces(data), seed=0, code_version="bench", on_progress=lambda _: None
    )
    path = _file(folder, task)
    path.write_bytes(trained.content)
    return path


def _serve(log: Log, task: Task, scorer: TraceScorer) -> float:
    """Judge what came after training; judged traces per second of processor time."""
    began = time.process_time()
    done = Processor(
        log, group=task, topics=lambda: [topic_name(SITE, Stream.TRACES)], handle=scorer, batch=128
    ).run(threading.Event(), until_idle=True)
    return round(done.produced / (time.process_time() - began), 1)


def _alone(log: Log, scorer: TraceScorer, step: str) -> float:
    """The same of the judge alone, on traces in memory."""
    traces = [event for event in _traces(log) if event.step == step][-1_000:]
    began = time.process_time()
    for first in range(0, len(traces), 128):
        scorer(traces[first : first + 128])
    return round(len(traces) / (time.process_time() - began), 1)


def _traces(log: Log) -> Iterator[Trace]:
    for _, event in read_events(log, SITE, Stream.TRACES):
        if isinstance(event, Trace):
            yield event


def _measured(log: Log, step: str, parameter: str) -> dict[str, float]:
    """Mean of each wafer's sites."""
    return {
        event.substrate_id: float(np.mean(event.values))
        for _, event in read_events(log, SITE, Stream.METROLOGY)
        if isinstance(event, Metrology) and (event.step, event.parameter) == (step, parameter)
    }


def _judged(
    fab: Fab, told: list[VirtualMetrology | TraceJudgement], measured: dict[str, float]
) -> tuple[WellRuns, list[SickRuns]]:
    truth = fab.truth()
    told.sort(key=lambda event: event.time_ms)
    rows: dict[str, list[VirtualMetrology | TraceJudgement]] = {"": []}
    modes = {}
    for event in told:
        at = next(
            (
                item
                for item in truth
                if item.module == event.key
                and item.onset_ms <= event.time_ms <= (item.cleared_ms or event.time_ms)
            ),
            None,
        )
        rows.setdefault(at.module if at else "", []).append(event)
        if at:
            modes[at.module] = at.mode
    sick = [_sick(module, modes[module], events) for module, events in rows.items() if module]
    return _well(rows[""], measured), sick


def _well(events: list[VirtualMetrology | TraceJudgement], measured: dict[str, float]) -> WellRuns:
    foretold = [event for event in events if isinstance(event, VirtualMetrology)]
    scores = _scores(events)
    sure = [event for event in foretold if event.substrate_id in measured and not event.unlike]
    real = np.array([measured[event.substrate_id] for event in sure])
    modules = np.array([event.key for event in sure])
    errors = np.array([event.predicted for event in sure]) - real
    apart = np.concatenate(
        [real[modules == name] - real[modules == name].mean() for name in np.unique(modules)]
    )
    inside = [event.low <= value <= event.high for event, value in zip(sure, real, strict=True)]
    return WellRuns(
        runs=len(foretold),
        measured=len(sure),
        rmse=round(float(np.sqrt(np.mean(errors**2))), 3),
        spread=round(float(np.std(apart)), 3),
        coverage90=round(float(np.mean(inside)), 3),
        unlike=round(float(np.mean([event.unlike for event in foretold])), 3),
        false_alarms=round(float(np.mean(scores > 1.0)), 4),
    )


def _sick(module: str, mode: str, events: list[VirtualMetrology | TraceJudgement]) -> SickRuns:
    foretold = [event for event in events if isinstance(event, VirtualMetrology)]
    judged = [event for event in events if isinstance(event, TraceJudgement)]
    out = np.flatnonzero(_scores(events) > 1.0)
    shown = {name for name, _ in MODES[mode].signature}
    firsts = [judged[place].contributions[0].variable in shown for place in out]
    return SickRuns(
        module=module,
        mode=mode,
        runs=len(judged),
        to_first_alarm=int(out[0]) + 1 if len(out) else None,
        alarms=round(len(out) / len(judged), 3),
        unlike=round(float(np.mean([event.unlike for event in foretold])), 3),
        named=round(float(np.mean(firsts)), 3) if firsts else None,
    )


def _scores(events: list[VirtualMetrology | TraceJudgement]) -> np.ndarray:
    scores = [event.score for event in events if isinstance(event, TraceJudgement)]
    return np.array([np.nan if score is None else score for score in scores])
