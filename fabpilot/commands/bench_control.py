"""`fabpilot bench control`: what the advisor is worth beside nothing, SPC and an oracle."""

from typing import Annotated

import msgspec
import typer

from contracts.errors import ConfigError
from fab_sim import Scenario, builtin_scenarios, load_scenario
from fabpilot.advisors import Advisors
from fabpilot.benchmarks.control import POLICIES, measure_control
from fabpilot.benchmarks.unseen import unseen_scenario
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings
from fabpilot.stopping import stop_event

__all__ = ["control"]

# 2026-01-01, as `fabpilot sim run` has it.
_START_MS = 1_767_225_600_000
# Lots of an endless scenario: three days of the default fab.
_LOTS = 60


def control(
    scenarios: Annotated[
        str, typer.Option("--scenarios", help="Built-in names, separated by commas; 'all'; 'none'.")
    ] = "all",
    seeds: Annotated[
        str, typer.Option("--seeds", help="Seeds for each scenario, separated by commas.")
    ] = "3",
    unseen: Annotated[
        int,
        typer.Option("--unseen", min=0, max=1000, help="Randomly drawn scenarios to run as well."),
    ] = 10,
    draw: Annotated[
        int, typer.Option("--draw", min=0, help="Seed of the first random scenario.")
    ] = 1,
    lots: Annotated[
        int | None, typer.Option("--lots", min=1, help="Lots per site, to make the runs shorter.")
    ] = None,
    trace_rows: Annotated[
        int | None,
        typer.Option(
            "--trace-rows",
            min=40,
            max=240,
            help="Most samples per trace, to make the runs shorter.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What the advisor is worth, what it names right, and what it stops needlessly.

    Built-in and random scenarios each run under the policies none, spc, oracle and advisor. The
    advisor reads wafer maps with the champion if one is registered; otherwise it has traces and
    metrology only. A week of one fab takes about a minute.

    For example:

      fabpilot bench control --json

      fabpilot bench control --scenarios slow_drift,quiet --seeds 1,2 --unseen 0 --lots 60
    """
    try:
        chosen = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {seeds!r}: whole numbers, separated by commas") from None
    names = {"all": sorted(builtin_scenarios()), "none": []}.get(scenarios) or [
        name for name in scenarios.split(",") if name != "none"
    ]
    plan: list[tuple[Scenario, int, bool]] = []
    for name in names:
        plan += [
            (_shortened(load_scenario(name), lots, trace_rows), seed, False) for seed in chosen
        ]
    for number in range(draw, draw + unseen):
        # Drawn for as many lots: excursions are to begin while the line works.
        drawn = unseen_scenario(number, lots) if lots else unseen_scenario(number)
        plan.append((_shortened(drawn, lots, trace_rows), number, True))
    settings = load_settings()
    stop = stop_event()
    with progress_bar("control", len(plan) * len(POLICIES)) as bar:
        result = measure_control(
            plan,
            Advisors(settings),
            start_ms=_START_MS,
            stop=stop,
            on_run=lambda what: bar.update(bar.tasks[0].id, advance=1, description=what),
        )
    if result is not None:
        report(result, as_json=as_json, title="control")


def _shortened(scenario: Scenario, lots: int | None, trace_rows: int | None) -> Scenario:
    total = lots or scenario.lots.total or _LOTS
    if scenario.lots.total is not None:
        total = min(total, scenario.lots.total)
    sampling = scenario.sampling
    rows = min(trace_rows or sampling.trace_rows, sampling.trace_rows)
    return msgspec.structs.replace(
        scenario,
        lots=msgspec.structs.replace(scenario.lots, total=total),
        sampling=msgspec.structs.replace(sampling, trace_rows=rows),
    )
