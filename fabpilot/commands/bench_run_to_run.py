"""`fabpilot bench run-to-run`: stability, drift, noise and the guard, against their formulas."""

from typing import Annotated

import typer

from fabpilot.benchmarks.run_to_run import (
    BORDERS,
    DRIFTS,
    GUARDED,
    NOISES,
    measure_run_to_run,
)
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report

__all__ = ["run_to_run"]


def run_to_run(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the noise.")] = 0,
    loops: Annotated[
        int, typer.Option("--loops", min=1, max=10_000, help="Control loops to try the guard on.")
    ] = 50,
    as_json: JsonOption = False,
) -> None:
    """EWMA and double EWMA run-to-run control in closed loops, beside what theory predicts.

    For example:

      fabpilot bench run-to-run --json

      fabpilot bench run-to-run --loops 200 --seed 7
    """
    pieces = len(BORDERS) + len(DRIFTS) + len(NOISES) + len(GUARDED)
    with progress_bar("loops", pieces) as bar:
        task = bar.tasks[0].id
        result = measure_run_to_run(seed, loops, lambda: bar.advance(task))
    report(result, as_json=as_json, title="run-to-run")
