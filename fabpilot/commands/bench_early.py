"""`fabpilot bench early`: whether causes show in sensors before they hurt wafers."""

from typing import Annotated

import typer

from fabpilot.benchmarks.early import bench_kinds, measure_early
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report

__all__ = ["early"]


def early(
    seed: Annotated[int, typer.Option("--seed", min=0, help="First seed.")] = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Number of seeds.")] = 5,
    growth_wafers: Annotated[
        int,
        typer.Option(
            "--growth-wafers",
            min=1,
            max=10_000,
            help="Wafers from the onset of a failure to its full size.",
        ),
    ] = 16,
    magnitude: Annotated[
        float,
        typer.Option("--magnitude", min=0.1, max=3.0, help="Size of the failures; 1 is full size."),
    ] = 1.0,
    trained: Annotated[
        int, typer.Option("--trained", min=200, help="Quiet wafers to train a detector on.")
    ] = 600,
    quiet: Annotated[
        int, typer.Option("--quiet", min=0, help="Further quiet wafers, to count false alarms on.")
    ] = 600,
    arl: Annotated[
        float, typer.Option("--arl", min=10.0, help="Wafers per false alarm that its limit allows.")
    ] = 1000.0,
    weight: Annotated[
        float,
        typer.Option(
            "--weight",
            min=0.05,
            max=1.0,
            help="Weight of the newest wafer in the MEWMA; 1 judges each wafer alone.",
        ),
    ] = 0.2,
    as_json: JsonOption = False,
) -> None:
    """How many wafers before the first damaged one a textbook detector sees each failure mode.

    For example:

      fabpilot bench early --json

      fabpilot bench early --seed 7 --seeds 20 --growth-wafers 100
    """
    with progress_bar("modules", len(bench_kinds()) * seeds) as bar:
        task = bar.tasks[0].id
        result = measure_early(
            range(seed, seed + seeds),
            growth_wafers=growth_wafers,
            magnitude=magnitude,
            trained=trained,
            quiet=quiet,
            wafers_per_false_alarm=arl,
            weight=weight,
            progress=lambda: bar.advance(task),
        )
    report(result, as_json=as_json, title="early")
