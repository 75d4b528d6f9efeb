"""`fabpilot bench tracing`: what it costs a processor to tell of each wafer's way."""

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from fabpilot.benchmarks.maps import SITE, bench_maps
from fabpilot.benchmarks.tracing import measure_tracing
from fabpilot.commands.options import JsonOption
from fabpilot.output import report
from fabpilot.settings import load_settings
from fabpilot.wiring import open_repository, open_site_log, scoring_workers, share_interpreter
from serving.scorer import Scorer

__all__ = ["tracing"]


def tracing(
    wafers: Annotated[int, typer.Option("--wafers", min=256, help="How many maps.")] = 5_000,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Runs of each share.")] = 3,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A .npz of maps (default: wm811k.npz in FABPILOT_DATA)."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="An ONNX file or models:/NAME@ALIAS.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Throughput with traces off, a tenth of them and all of them sent, in turn, in one run.

    The collector is a process that takes everything and keeps nothing.

    For example:

      fabpilot bench tracing --json

      fabpilot bench tracing --wafers 20000 --model wafer-map.onnx
    """
    settings = load_settings()
    share_interpreter()
    with (
        closing(open_repository(settings, model, threads=1)) as repository,
        tempfile.TemporaryDirectory(prefix="fabpilot-bench-") as folder,
    ):
        settings = settings.model_copy(update={"log": f"embedded:{Path(folder) / 'log.db'}"})
        with closing(open_site_log(settings, SITE)) as log:
            result = measure_tracing(
                log,
                settings,
                bench_maps(settings, data, wafers),
                Scorer(repository),
                repository.current().session.provider,
                workers=scoring_workers(settings),
                samples=(0.1, 1.0),
                rounds=rounds,
            )
    report(result, as_json=as_json, title="bench")
