"""`fabpilot process`: the processor. Wafer maps in, predictions out."""

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from contracts.topics import Stream, topic_name
from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings
from fabpilot.stopping import stop_event
from fabpilot.wiring import group_name, open_repository, open_site_log, scoring_workers
from serving.device import Device
from serving.scorer import Scorer
from streaming.processor import Processor, ProcessorReport

__all__ = ["ProcessReport", "register"]


class ProcessReport(msgspec.Struct, frozen=True):
    """What a run of the processor did.

    Attributes:
        wafers_per_s: predictions per second between the first poll and the last commit.
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
        typer.Option("--group", help="Consumer group, to process everything once more beside."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="An ONNX file or models:/NAME@ALIAS (FABPILOT_MODEL)."),
    ] = None,
    device: Annotated[
        Device | None, typer.Option("--device", help="Where the model runs (FABPILOT_DEVICE).")
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=4096, help="Records handled at a time, at most.")
    ] = 256,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Stop when everything is processed.")
    ] = False,
    ready: Annotated[
        Path | None,
        typer.Option("--ready", help="Make this file once the model is loaded (for supervisors)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score what arrives on the log, each record exactly once.

    Run as many as there are partitions; they share the work. Stops cleanly on Ctrl-C and SIGTERM.

    For example:

      fabpilot process

      fabpilot process --until-idle --json --model wafer-map.onnx
    """
    settings = load_settings()
    if device is not None:
        settings = settings.model_copy(update={"device": device})
    site = site or settings.site
    group = group or group_name(site)
    stop = stop_event()
    # One thread a run, and as many runs at once as there are cores: see Scorer.
    repository = open_repository(settings, model, threads=1)
    scorer = Scorer(repository, workers=scoring_workers(settings))
    repository.follow(settings.model_refresh_s)
    log = open_site_log(settings.log_url, site)
    try:
        topics = [topic_name(site, Stream.WAFER_MAPS)]
        backlog = sum(log.ends(topics).values()) - sum(log.committed(group, topics).values())
        processor = Processor(log, group=group, topics=lambda: topics, handle=scorer, batch=batch)
        if ready is not None:
            ready.touch()
        began = time.perf_counter()
        settled = began
        with progress_bar("scoring", backlog if until_idle else None) as bar:

            def on_progress(progress: ProcessorReport) -> None:
                nonlocal settled
                settled = time.perf_counter()
                bar.update(bar.tasks[0].id, completed=progress.consumed)

            done = processor.run(stop, until_idle=until_idle, on_progress=on_progress)
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
    finally:
        scorer.close()
        repository.close()
        log.close()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("process")(process)
