"""`fabpilot bench fuzz`: requests made up from the API's own description."""

from typing import Annotated

import typer

from fabpilot.benchmarks.fuzz import fuzz as run_fuzz
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, progress_bar, report

__all__ = ["fuzz"]


def fuzz(
    requests: Annotated[
        int, typer.Option("--requests", min=1, help="Number of made-up requests.")
    ] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the requests.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Send made-up requests to a console with accounts; exit code 1 if one breaks or changes it.

    Needs the extra dev (schemathesis).

    For example:

      fabpilot bench fuzz --requests 10000 --json
    """
    with progress_bar("requests", requests) as bar:
        found = run_fuzz(
            requests, seed, on_progress=lambda done: bar.update(bar.tasks[0].id, completed=done)
        )
    report(found, as_json=as_json, title="fuzz")
    unseen = found.refused - found.refused_logged
    if found.server_errors or found.actions_taken or unseen or not found.audit_intact:
        err.print("Something broke, was done, or went unseen: see the report.")
        raise typer.Exit(1)
