"""`fabpilot sim show`: a scenario's fab as pictures."""

from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import ConfigError
from fab_sim import load_scenario
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report

__all__ = ["show"]


def show(
    scenario: Annotated[
        str,
        typer.Option("--scenario", help="A built-in scenario or a YAML file.", metavar="FILE"),
    ],
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed (default: the scenario's own).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for the sheets (default: sheets-NAME in this folder).",
            metavar="DIR",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw sheets of what a scenario's fab makes, as PNG files.

    maps.png has wafer maps by their true pattern, lot.png a lot's way through the line, review.png
    review images by kind of defect, and mode-NAME.png each failure mode: its sensors against
    normal, its field over the wafer, the maps it makes. A scenario without excursions shows all
    modes that its equipment can have.

    For example:

      fabpilot sim show --scenario demo

      fabpilot sim show --scenario my_fab.yaml --seed 3 --out pictures --json
    """
    loaded = load_scenario(scenario)
    try:
        # Late, and only here: drawing is nothing that a fab which runs should load.
        from fabpilot.sim_sheets import sheet_names, write_sheets
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("matplotlib", "PIL"):
            raise
        raise ConfigError(
            f"the sheets are drawn with {error.name}, which is not installed:"
            " pip install 'fabpilot[fab,train]', or matplotlib and pillow alone"
        ) from error
    names = sheet_names(loaded)
    with progress_bar(f"sheets of {loaded.name}", len(names)) as bar:
        result = write_sheets(
            loaded,
            seed=seed,
            out=out or Path(f"sheets-{loaded.name}"),
            on_progress=lambda done: bar.update(bar.tasks[0].id, completed=done),
        )
    report(result, as_json=as_json, title="sheets")
