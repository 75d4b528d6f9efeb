"""`fabpilot bench sim`: how fast the synthetic fab is."""

from typing import Annotated

import typer

from fab_sim import load_scenario
from fabpilot.benchmarks.fab import measure_fab
from fabpilot.benchmarks.stream import machine
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report

__all__ = ["sim"]


def sim(
    scenario: Annotated[
        str, typer.Option("--scenario", help="A built-in scenario or a YAML file.", metavar="FILE")
    ] = "quiet",
    wafers: Annotated[
        int,
        typer.Option(
            "--wafers",
            min=100,
            help="Wafers of the run with maps only, in which memory is watched.",
        ),
    ] = 20_000,
    traced_wafers: Annotated[
        int, typer.Option("--traced-wafers", min=10, help="Wafers of the run with traces only.")
    ] = 300,
    as_json: JsonOption = False,
) -> None:
    """Speed of the synthetic fab on one core: wafers and trace samples per second, and memory.

    For example:

      fabpilot bench sim --json

      fabpilot bench sim --wafers 200000 --json
    """
    loaded = load_scenario(scenario)
    with progress_bar(f"fab {loaded.name}", wafers) as bar:
        result = measure_fab(
            loaded,
            wafers=wafers,
            traced_wafers=traced_wafers,
            machine=machine(),
            on_progress=lambda done: bar.update(bar.tasks[0].id, completed=done),
        )
    report(result, as_json=as_json, title="fab")
