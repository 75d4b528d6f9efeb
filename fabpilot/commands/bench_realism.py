"""`fabpilot bench realism`: how far the maps of the synthetic fab are from real ones."""

from pathlib import Path
from typing import Annotated

import typer

from fab_sim import load_scenario
from fabpilot.benchmarks.realism import measure_realism
from fabpilot.commands.options import JsonOption
from fabpilot.output import report
from fabpilot.settings import load_settings
from models.map_files import load_maps

__all__ = ["realism"]


def realism(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Real labelled maps (default: wm811k.npz in FABPILOT_DATA)."),
    ] = None,
    scenario: Annotated[
        str, typer.Option("--scenario", help="Scenario that the synthetic maps are made with.")
    ] = "mixed",
    wafers: Annotated[
        int,
        typer.Option(
            "--wafers", min=40, help="Most maps of each pattern, real and synthetic each."
        ),
    ] = 400,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of everything that is random.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare synthetic with real wafer maps, pattern by pattern.

    Measures the distances between their shares of failed dies, radial profiles and Moran's I, and
    how well a small classifier tells the two apart (AUC; 0.5 means not at all). Needs the extra
    `train`.

    For example:

      fabpilot bench realism --data wm811k.npz --json
    """
    real = load_maps(data or load_settings().data / "wm811k.npz")
    result = measure_realism(real, load_scenario(scenario), wafers=wafers, seed=seed)
    report(result, as_json=as_json, title="realism")
