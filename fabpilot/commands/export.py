"""`fabpilot export`: what is on the log as files that models are trained on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import ConfigError
from contracts.topics import Stream, topic_name
from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings
from streaming.open import open_log

__all__ = ["register"]


def traces(
    step: Annotated[
        str, typer.Option("--step", help="Step of the route, such as ETCH-M1.", metavar="NAME")
    ],
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    parameter: Annotated[
        str | None,
        typer.Option(
            "--parameter", help="Target: this parameter, measured after the step.", metavar="NAME"
        ),
    ] = None,
    yield_below: Annotated[
        float | None,
        typer.Option(
            "--yield-below",
            min=0.0,
            max=1.0,
            help="Target: 1 for wafers with a smaller share of good dies, else 0.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            help="Only runs from this time on, by the fab's clock (ISO 8601; UTC if no"
            " zone is given).",
            metavar="TIME",
        ),
    ] = None,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the traces of a step, with what was measured afterwards, as a set to train on.

    With --parameter the set is for virtual metrology, with --yield-below for risk, and with neither
    for faults. A model trained on it can be served on the traces that come next.

    For example:

      fabpilot export traces --step ETCH-M1 --parameter etch_depth_nm --out depth.parquet

      fabpilot train trace --task metrology --data depth.parquet

      fabpilot process --model models:/trace-metrology@champion

      fabpilot export traces --step ETCH-M1 --after 2026-01-05T00:00 --out newer.parquet
    """
    if parameter is not None and yield_below is not None:
        raise ConfigError("a run has one target: give --parameter or --yield-below, not both")
    settings = load_settings()
    site = site or settings.site
    # pyarrow takes a while to import: not for `--help`.
    from fabpilot.trace_export import Wanted, export_traces

    wanted = Wanted(
        step=step,
        parameter=parameter or "",
        yield_below=yield_below,
        after_ms=0 if after is None else _time_ms(after),
    )
    log = open_log(settings.log_url, settings.kafka_access, retention=settings.retention)
    try:
        streams = [Stream.TRACES, Stream.TRACES]
        streams += [Stream.METROLOGY] if parameter else []
        streams += [Stream.WAFER_MAPS] if yield_below is not None else []
        known = log.topics()
        total = sum(
            sum(log.ends([topic]).values())
            for stream in streams
            if (topic := topic_name(site, stream)) in known
        )
        with progress_bar("reading", total) as bar:
            done = export_traces(
                log,
                site,
                wanted,
                out,
                lambda count: bar.update(bar.tasks[0].id, completed=count),
            )
    finally:
        log.close()
    report(done, as_json=as_json, title="exported")


def _time_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--after {text!r}: write a time such as 2026-01-05T00:00") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def register(app: typer.Typer) -> None:
    """Add the command."""
    export = typer.Typer(help="Write what is on the log to files.", no_args_is_help=True)
    export.command("traces")(traces)
    app.add_typer(export, name="export")
