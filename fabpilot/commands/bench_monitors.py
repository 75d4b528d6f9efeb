"""`fabpilot bench monitors`: whether T2 and SPE alarm as often as they say."""

from typing import Annotated

import typer

from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report

__all__ = ["monitors"]


def monitors(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Monitors for each case.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """False alarms of T2 and SPE relative to the nominal rate, for 10, 50 and 300 variables.

    The data are normal. Beside the rates stand those of the same monitors with textbook limits,
    whose variances come from the training samples.

    For example:

      fabpilot bench monitors --json
    """
    # scipy takes half a second to import: not for `--help`.
    from fabpilot.benchmarks.monitors import KINDS, SIZES, measure_monitors

    with progress_bar("fitting", len(SIZES) * len(KINDS)) as bar:
        task = bar.tasks[0].id
        result = measure_monitors(seeds, on_progress=lambda done: bar.update(task, completed=done))
    report(result, as_json=as_json, title="false alarms over nominal, at 5 % and 1 %")
