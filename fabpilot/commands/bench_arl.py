"""`fabpilot bench arl`: run lengths of every chart and rule set, and T2 and SPE false alarms."""

from typing import Annotated

import typer

from fabpilot.benchmarks.arl import PIECES, measure_arl
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report

__all__ = ["arl"]


def arl(
    alarms: Annotated[
        int,
        typer.Option("--alarms", min=100, help="Simulated alarms behind each average run length."),
    ] = 40_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the simulated points.")] = 0,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha", min=0.0001, max=0.2, help="Nominal rate of false alarms of T2 and SPE."
        ),
    ] = 0.01,
    repetitions: Annotated[
        int,
        typer.Option(
            "--repetitions", min=1, help="Monitors of T2 and SPE, each on data of its own."
        ),
    ] = 6,
    as_json: JsonOption = False,
) -> None:
    """Average run lengths in control and after shifts of 1 and 2 sigma.

    Each is simulated, and stands beside what formulas give and what was published.

    For example:

      fabpilot bench arl --json

      fabpilot bench arl --alarms 4000 --seed 7
    """
    with progress_bar("charts", PIECES) as bar:
        task = bar.tasks[0].id
        result = measure_arl(alarms, seed, alpha, repetitions, lambda: bar.advance(task))
    report(result, as_json=as_json, title="arl")
