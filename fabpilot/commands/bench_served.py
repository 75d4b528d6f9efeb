"""`fabpilot bench served`: registered trace models at work, against the truth of a fab."""

from typing import Annotated

import typer

from fab_sim import load_scenario
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings

__all__ = ["served"]


def served(
    scenario: Annotated[
        str, typer.Option("--scenario", help="A built-in scenario or a YAML file.", metavar="FILE")
    ] = "demo",
    step: Annotated[
        str, typer.Option("--step", help="Step of the route whose traces are judged.")
    ] = "ETCH-M1",
    parameter: Annotated[
        str, typer.Option("--parameter", help="Measured parameter that virtual metrology predicts.")
    ] = "etch_depth_nm",
    learn: Annotated[
        int, typer.Option("--learn", min=200, help="Wafers before training, to learn from.")
    ] = 2_000,
    serve: Annotated[
        int, typer.Option("--serve", min=200, help="Wafers after training, to judge on.")
    ] = 3_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the fab.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train trace models on a fab's log, then judge them while it runs on and modules fail.

    For example:

      fabpilot bench served --json

      fabpilot bench served --step DEP-ILD --parameter film_thickness_nm --seed 3
    """
    settings = load_settings()
    loaded = load_scenario(scenario)
    # scikit-learn takes seconds to import: not for `--help`.
    from fabpilot.benchmarks.served import measure_served

    with progress_bar("wafers", learn + serve) as bar:
        result = measure_served(
            settings,
            loaded,
            step=step,
            parameter=parameter,
            learn=learn,
            serve=serve,
            seed=seed,
            on_progress=lambda done: bar.update(bar.tasks[0].id, completed=done),
        )
    report(result, as_json=as_json, title="served")
