"""`fabpilot sim`: the synthetic fab alone, onto the log or as pictures."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from contracts.errors import ConfigError
from fab_sim import builtin_scenarios, load_scenario
from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.commands.sim_show import show
from fabpilot.fab_runner import FabRunner
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings
from fabpilot.stopping import stop_event
from fabpilot.wiring import open_site_log

__all__ = ["register"]


def run(
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", help="A built-in scenario or a YAML file.", metavar="FILE"),
    ] = None,
    list_scenarios: Annotated[
        bool, typer.Option("--list", help="Name the built-in scenarios.")
    ] = False,
    wafers: Annotated[
        int | None, typer.Option("--wafers", min=1, help="Stop when so many are tested.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Instead of the scenario's own.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed", min=0.001, help="Fab seconds a wall second (default: as fast as it goes)."
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="Write what really went wrong to this JSON file at the end."),
    ] = None,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the synthetic fab and put its events onto the log.

    A fab that was stopped, or killed, goes on where it was. It obeys approved actions.

    For example:

      fabpilot sim run --list

      fabpilot sim run --scenario demo --wafers 500
    """
    if list_scenarios:
        _list(as_json)
        return
    if scenario is None:
        raise ConfigError("name a scenario: fabpilot sim run --scenario demo; --list has them all")
    settings = load_settings()
    site = site or settings.site
    stop = stop_event()
    loaded = load_scenario(scenario)
    log = open_site_log(settings, site, stop, wait=True)
    try:
        runner = FabRunner(loaded, log, site=site, seed=seed, folder=settings.home)
        with progress_bar(f"fab {site}", wafers) as bar:
            result = runner.run(
                stop,
                wafers=wafers,
                speed=speed,
                on_progress=lambda done: bar.update(bar.tasks[0].id, completed=done),
            )
        if truth is not None:
            truth.write_bytes(msgspec.json.encode(runner.truth()))
        report(result, as_json=as_json, title="fab")
    finally:
        log.close()


def _list(as_json: bool) -> None:
    scenarios = builtin_scenarios()
    if as_json:
        report(scenarios, as_json=True)
        return
    table = Table("scenario", "what happens")
    for name, description in sorted(scenarios.items()):
        table.add_row(name, description)
    Console().print(table)


def register(app: typer.Typer) -> None:
    """Add the command."""
    sim = typer.Typer(help="The synthetic fab.", no_args_is_help=True)
    sim.command("run")(run)
    sim.command("show")(show)
    app.add_typer(sim, name="sim")
