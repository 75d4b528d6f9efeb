"""`fabpilot bench`: each figure beside a ceiling measured in the same run."""

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from fabpilot.benchmarks.latency import measure_latency
from fabpilot.benchmarks.maps import SITE, bench_maps
from fabpilot.benchmarks.scale import measure_scale
from fabpilot.benchmarks.stream import measure_stream
from fabpilot.commands.bench_arl import arl
from fabpilot.commands.bench_console import console
from fabpilot.commands.bench_control import control
from fabpilot.commands.bench_early import early
from fabpilot.commands.bench_frontier import frontier
from fabpilot.commands.bench_fuzz import fuzz
from fabpilot.commands.bench_judged import judged
from fabpilot.commands.bench_labels import labels
from fabpilot.commands.bench_model import model_
from fabpilot.commands.bench_monitors import monitors
from fabpilot.commands.bench_realism import realism
from fabpilot.commands.bench_risk import risk
from fabpilot.commands.bench_run_to_run import run_to_run
from fabpilot.commands.bench_served import served
from fabpilot.commands.bench_sim import sim
from fabpilot.commands.bench_traces import traces
from fabpilot.commands.bench_tracing import tracing
from fabpilot.commands.bench_unknown import unknown
from fabpilot.commands.options import JsonOption
from fabpilot.output import report
from fabpilot.settings import load_settings
from fabpilot.wiring import open_repository, open_site_log, scoring_workers, share_interpreter
from serving.scorer import Scorer

__all__ = ["register"]

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="A .npz of maps (default: wm811k.npz in FABPILOT_DATA)."),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="An ONNX file or models:/NAME@ALIAS.")
]
LogOption = Annotated[
    str | None, typer.Option("--log", help="Log to measure on (default: a new embedded one).")
]
# Enough for a few seconds of the fastest models here.
_CAPACITY_MAPS = 10_000


def stream(
    wafers: Annotated[int, typer.Option("--wafers", min=256, help="How many maps.")] = 20_000,
    data: DataOption = None,
    model: ModelOption = None,
    log_url: LogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Throughput of the processor beside its upper limits, measured in one run.

    Without a file of maps, the synthetic fab makes the maps.

    For example:

      fabpilot bench stream --json

      fabpilot bench stream --data wm811k.npz --wafers 5000
    """
    settings = load_settings()
    share_interpreter()
    # The ceiling takes all cores for one run; the processor is set up as `fabpilot process` does.
    ceiling = open_repository(settings, model)
    repository = open_repository(settings, model, threads=1)
    scorer = Scorer(repository)
    try:
        events = bench_maps(settings, data, wafers)
        with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
            url = log_url or f"embedded:{Path(folder) / 'log.db'}"
            log = open_site_log(settings.model_copy(update={"log": url}), SITE)
            try:
                result = measure_stream(
                    log, url, events, ceiling.current(), scorer, scoring_workers(settings)
                )
                report(result, as_json=as_json, title="bench")
            finally:
                log.close()
    finally:
        repository.close()
        ceiling.close()


def latency(
    load: Annotated[
        float,
        typer.Option(
            "--load", min=0.05, max=1.0, help="Load, as a share of what the processor can handle."
        ),
    ] = 0.5,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=1, help="Load in maps per second, instead of --load."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long to measure.")] = 20.0,
    data: DataOption = None,
    model: ModelOption = None,
    log_url: LogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time from publishing a map to reading its prediction, with a processor under load.

    For example:

      fabpilot bench latency --log kafka://127.0.0.1:9092 --json
    """
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
        url = log_url or f"embedded:{Path(folder) / 'log.db'}"
        settings = settings.model_copy(update={"log": url})
        with closing(open_site_log(settings, SITE)) as log:
            result = measure_latency(
                log,
                settings,
                bench_maps(settings, data, _CAPACITY_MAPS),
                model=model or settings.model,
                load=load,
                rate=rate,
                seconds=seconds,
            )
    report(result, as_json=as_json, title="bench")


def scale(
    processors: Annotated[
        int,
        typer.Option(
            "--processors", min=1, max=64, help="Measure with 1, 2, ... up to this many processors."
        ),
    ] = 3,
    wafers: Annotated[int, typer.Option("--wafers", min=256, help="How many maps.")] = 20_000,
    data: DataOption = None,
    model: ModelOption = None,
    log_url: LogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Throughput of one, two, ... processors, and the CPU time per wafer.

    For example:

      fabpilot bench scale --log kafka://127.0.0.1:9092 --processors 4 --json
    """
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder:
        url = log_url or f"embedded:{Path(folder) / 'log.db'}"
        settings = settings.model_copy(update={"log": url})
        with closing(open_site_log(settings, SITE)) as log:
            result = measure_scale(
                log,
                settings,
                bench_maps(settings, data, wafers),
                model=model or settings.model,
                most=processors,
            )
    report(result, as_json=as_json, title="bench")


def register(app: typer.Typer) -> None:
    """Add the command."""
    bench = typer.Typer(
        help="Benchmarks; each figure beside a ceiling or peer of the same run.",
        no_args_is_help=True,
    )
    bench.command("stream")(stream)
    bench.command("latency")(latency)
    bench.command("scale")(scale)
    bench.command("sim")(sim)
    bench.command("risk")(risk)
    bench.command("traces")(traces)
    bench.command("served")(served)
    bench.command("judged")(judged)
    bench.command("model")(model_)
    bench.command("frontier")(frontier)
    bench.command("early")(early)
    bench.command("control")(control)
    bench.command("realism")(realism)
    bench.command("arl")(arl)
    bench.command("run-to-run")(run_to_run)
    bench.command("unknown")(unknown)
    bench.command("labels")(labels)
    bench.command("monitors")(monitors)
    bench.command("console")(console)
    bench.command("fuzz")(fuzz)
    bench.command("tracing")(tracing)
    bench.callback()(lambda: None)
    app.add_typer(bench, name="bench")
