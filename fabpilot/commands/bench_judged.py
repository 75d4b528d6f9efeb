"""`fabpilot bench judged`: alerts by what a served fault model says, against the truth of a fab."""

from typing import Annotated

import typer

from control.policy import load_policy
from fab_sim import load_scenario
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings

__all__ = ["judged"]


def judged(
    scenario: Annotated[
        str, typer.Option("--scenario", help="A built-in scenario or a YAML file.", metavar="FILE")
    ] = "demo",
    step: Annotated[str, typer.Option("--step", help="Whose traces are judged.")] = "ETCH-M1",
    learn: Annotated[
        int, typer.Option("--learn", min=200, help="Wafers tested before training.")
    ] = 2_000,
    serve: Annotated[
        int, typer.Option("--serve", min=200, help="Wafers tested afterwards.")
    ] = 3_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the fab.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Which modules a served fault model raises an alert on, how soon, and by which sensors.

    For example:

      fabpilot bench judged --json

      fabpilot bench judged --scenario quiet --learn 2000 --serve 5000 --json
    """
    settings = load_settings()
    loaded, policy = load_scenario(scenario), load_policy(settings.policy)
    # scikit-learn takes seconds to import: not for `--help`.
    from fabpilot.benchmarks.judged import measure_judged

    with progress_bar("wafers", learn + serve) as bar:
        result = measure_judged(
            settings,
            policy,
            loaded,
            step=step,
            learn=learn,
            serve=serve,
            seed=seed,
            on_progress=lambda done: bar.update(bar.tasks[0].id, completed=done),
        )
    report(result, as_json=as_json, title="judged")
