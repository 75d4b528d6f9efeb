"""`fabpilot bench console`: many viewers and programs at once."""

from typing import Annotated

import typer

from fabpilot.benchmarks.console_load import measure_console
from fabpilot.commands.options import JsonOption
from fabpilot.output import report
from fabpilot.settings import load_settings

__all__ = ["console"]


def console(
    viewers: Annotated[int, typer.Option("--viewers", min=1, max=500)] = 200,
    clients: Annotated[int, typer.Option("--clients", min=1, max=100)] = 20,
    seconds: Annotated[float, typer.Option("--seconds", min=4, help="How long to measure.")] = 30.0,
    events: Annotated[
        float,
        typer.Option("--events", min=1, help="Events per second that the fab writes meanwhile."),
    ] = 50.0,
    as_json: JsonOption = False,
) -> None:
    """Speed of pages and alerts, and memory, of a console that many people use at once.

    For example:

      fabpilot bench console --json
    """
    found = measure_console(
        load_settings(), viewers=viewers, clients=clients, seconds=seconds, events_per_s=events
    )
    report(found, as_json=as_json, title="console")
