"""`fabpilot bench risk`: does the risk told before the test come true, and virtual metrology?"""

from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
import typer
from rich.progress import Progress

from control.policy import load_policy
from fab_sim import load_scenario
from fabpilot.benchmarks.risk import RiskRun, RiskScores, measure_risk, score_risks
from fabpilot.benchmarks.stream import machine
from fabpilot.benchmarks.virtual import VirtualRun, measure_virtual
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings

__all__ = ["risk"]

_SCENARIOS = ("quiet", "particle_storm", "cmp_wear", "robot_scratch", "furnace_boat", "twin_faults")


class RiskBench(msgspec.Struct, frozen=True, kw_only=True):
    """All runs, and the wafers of all runs together.

    Attributes:
        all_runs: scores over the wafers of all runs; without names and lead times.
    """

    lots: int
    all_runs: RiskScores
    runs: list[RiskRun]
    virtual: list[VirtualRun]
    machine: str


def risk(
    scenario: Annotated[
        list[str] | None,
        typer.Option("--scenario", help="A built-in scenario or a YAML file; may be repeated."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Seed of the fab; may be repeated.")
    ] = None,
    lots: Annotated[int, typer.Option("--lots", min=4, help="Lots per run.")] = 80,
    rows: Annotated[
        int, typer.Option("--rows", min=40, max=240, help="Most samples per trace.")
    ] = 60,
    virtual: Annotated[
        bool, typer.Option("--virtual/--no-virtual", help="Judge virtual metrology too.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Judge predicted risk by the later test, and virtual metrology by metrology, in the fab.

    Nobody steers the fab. Hours after each risk is predicted, the engine is given the wafer's true
    pattern (3 % of them wrong); its earlier prediction is compared with the truth.

    For example:

      fabpilot bench risk --json

      fabpilot bench risk --scenario cmp_wear --seed 1 --seed 2 --lots 120
    """
    policy = load_policy(load_settings().policy)
    runs: list[RiskRun] = []
    told: list[VirtualRun] = []
    risks, bad = [], []
    for name in scenario or _SCENARIOS:
        loaded = load_scenario(name)
        loaded = msgspec.structs.replace(
            loaded,
            lots=msgspec.structs.replace(loaded.lots, total=lots),
            sampling=msgspec.structs.replace(loaded.sampling, trace_rows=rows),
        )
        for number in seed or (1, 2):
            wafers = lots * loaded.lots.wafers
            with progress_bar(f"{loaded.name} {number}", (1 + virtual) * wafers) as bar:
                run, foreseen, true = measure_risk(
                    loaded,
                    seed=number,
                    policy=policy,
                    on_progress=_show(bar, 0),
                )
                runs.append(run)
                risks.append(foreseen)
                bad.append(true)
                if virtual:
                    told.append(
                        measure_virtual(
                            loaded,
                            seed=number,
                            policy=policy,
                            on_progress=_show(bar, wafers),
                        )
                    )
    result = RiskBench(
        lots=lots,
        all_runs=score_risks(np.concatenate(risks), np.concatenate(bad)),
        runs=runs,
        virtual=told,
        machine=machine(),
    )
    report(result, as_json=as_json, title="risk")


def _show(bar: Progress, start: int) -> Callable[[int], None]:
    return lambda done: bar.update(bar.tasks[0].id, completed=start + done)
