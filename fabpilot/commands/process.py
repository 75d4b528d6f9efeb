"""`fabpilot process`: the processor. Wafer maps or traces in, what a model says of them out."""

import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from contracts.errors import ConfigError, RegistryError
from contracts.ids import check_group
from contracts.topics import Stream, topic_name
from contracts.trace_model import Task
from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.instance import instance_name
from fabpilot.metrics import ProcessorMetrics
from fabpilot.model_metrics import ModelMetrics
from fabpilot.monitor import Monitor
from fabpilot.output import err, progress_bar, report
from fabpilot.replay_from import parse_start, start_offsets
from fabpilot.settings import Settings, load_settings
from fabpilot.stopping import stop_event
from fabpilot.tracing import tracing
from fabpilot.wiring import (
    group_name,
    open_repository,
    open_site_log,
    open_trace_repository,
    scoring_workers,
    share_interpreter,
    task_of_model,
)
from serving.device import Device
from serving.repository import ModelRepository
from serving.scorer import Scorer
from serving.session import Session
from serving.trace_scorer import LiveTraces, TraceScorer
from streaming.log import Log
from streaming.patience import Patience
from streaming.processor import Handle, Processor, ProcessorReport

__all__ = ["ProcessReport", "register"]


class ProcessReport(msgspec.Struct, frozen=True):
    """What a run of the processor did.

    Attributes:
        wafers_per_s: events published per second between the first poll and the last commit.
        provider: the ONNX Runtime provider that really ran the model.
    """

    consumed: int
    produced: int
    dead_letters: int
    seconds: float
    wafers_per_s: float
    provider: str
    model_version: str
    model_sha256: str


def process(
    site: SiteOption = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            help="Consumer group; a new name processes everything again, beside the usual group.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="An ONNX file or models:/NAME@ALIAS (FABPILOT_MODEL)."),
    ] = None,
    device: Annotated[
        Device | None, typer.Option("--device", help="Where the model runs (FABPILOT_DEVICE).")
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=4096, help="Most records handled at a time.")
    ] = 128,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Where a new group begins: a time (UTC if no zone is given), 'beginning',"
            " 'end', or PARTITION:OFFSET,... Needs --group.",
        ),
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Stop when everything is processed.")
    ] = False,
    ready: Annotated[
        Path | None,
        typer.Option(
            "--ready", help="Create this file once the model is loaded (for supervisors)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score what arrives on the log, each record exactly once.

    Run as many as there are partitions; they share the work. Stops cleanly on Ctrl-C and SIGTERM:
    what is in hand is finished first.

    A model of wafer maps reads wafer maps and writes predictions. A model of traces reads traces
    and writes what it says of them to the charts: virtual metrology, or judgements of faults or
    risk (docs/traces.md). Each task has a group of its own, so they run side by side.

    What is written is named after its input and the model, so doing a part again with --group and
    --from writes the same once more.

    For example:

      fabpilot process

      fabpilot process --until-idle --json --model wafer-map.onnx

      fabpilot process --model models:/trace-metrology@champion

      fabpilot process --group again --from 2026-01-01T00:00 --until-idle
    """
    settings = load_settings()
    if device is not None:
        settings = settings.model_copy(update={"device": device})
    site = site or settings.site
    task = task_of_model(settings, model)
    usual = group_name(site, task)
    if start is not None and group in (None, usual):
        raise ConfigError("--from is for a group of its own: name one with --group")
    beginning = None if start is None else parse_start(start)
    group = check_group(group or usual)
    stop = stop_event()
    with ExitStack() as stack:
        if not settings.instance:
            name = stack.enter_context(instance_name(settings.home, group))
            settings = settings.model_copy(update={"instance": name})
        monitor = Monitor(settings, "processor")
        stack.enter_context(monitor.serve())
        # One thread a run, and as many runs at once as there are cores: see Scorer.
        scoring = _scoring(settings, model, task, stop, wait=not until_idle)
        repository = stack.enter_context(closing(scoring.repository))
        repository.follow(settings.model_refresh_s)
        # A job that is to end must not wait for ever; a service waits for its log.
        log = open_site_log(settings, site, stop, wait=not until_idle)
        stack.enter_context(closing(log))
        topics = [topic_name(site, scoring.reads)]
        if beginning is not None:
            offsets = start_offsets(log, topics[0], beginning)
            if not log.start_group(group, offsets):
                err.print(f"group {group!r} has begun already and goes on where it stopped")
        metrics = ProcessorMetrics(monitor, group, site)
        told = stack.enter_context(
            tracing(settings, "processor", monitor.registry, site=site, group=group)
        )
        ModelMetrics(monitor, repository, settings.device)
        monitor.look(lambda: metrics.look(log, group, topics))
        backlog = _behind(log, group, topics) if until_idle else None
        processor = Processor(
            log,
            group=group,
            topics=lambda: topics,
            handle=metrics.watched(scoring.handle),
            batch=batch,
            workers=scoring_workers(settings),
        )
        share_interpreter()
        if ready is not None:
            ready.touch()
        began = settled = time.perf_counter()
        with progress_bar("scoring", backlog) as bar:

            def on_progress(progress: ProcessorReport) -> None:
                nonlocal settled
                settled = time.perf_counter()
                bar.update(bar.tasks[0].id, completed=progress.consumed)

            done = processor.run(
                stop,
                until_idle=until_idle,
                on_progress=on_progress,
                on_settled=metrics.settled,
                on_turn=metrics.turned,
                on_handled=told.handled if told else None,
            )
        serving = repository.current()
        report(
            ProcessReport(
                consumed=done.consumed,
                produced=done.produced,
                dead_letters=done.dead_letters,
                seconds=settled - began,
                wafers_per_s=done.produced / (settled - began) if done.produced else 0.0,
                provider=serving.session.provider,
                model_version=serving.ref.version,
                model_sha256=serving.session.sha256,
            ),
            as_json=as_json,
            title="processed",
        )


class _Scoring(NamedTuple):
    """A model that serves, what it is asked about, and by whom."""

    repository: ModelRepository[Session] | ModelRepository[LiveTraces]
    reads: Stream
    handle: Handle


def _scoring(
    settings: Settings,
    model: str | None,
    task: Task | None,
    stop: threading.Event,
    *,
    wait: bool,
) -> _Scoring:
    """The model that shall serve. A service waits for a registry's server to have one."""
    patience = Patience("a model in the registry", stop) if wait else None
    try:
        if task is None:
            maps = open_repository(settings, model, threads=1, go_on=True, patience=patience)
            return _Scoring(maps, Stream.WAFER_MAPS, Scorer(maps))
        traces = open_trace_repository(
            settings, task, model, threads=1, go_on=True, patience=patience
        )
        return _Scoring(traces, Stream.TRACES, TraceScorer(traces))
    except RegistryError:
        if patience is not None and stop.is_set():
            # Told to stop while it waited: there is nothing in hand.
            raise typer.Exit(0) from None
        raise


def _behind(log: Log, group: str, topics: list[str]) -> int:
    return sum(log.ends(topics).values()) - sum(log.committed(group, topics).values())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("process")(process)
