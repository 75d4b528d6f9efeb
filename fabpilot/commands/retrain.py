"""`fabpilot retrain`: teach the champion what engineers confirmed, and bring it to the gate."""

import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.ids import check_site
from fabpilot.commands.options import JsonOption
from fabpilot.duration import parse_duration
from fabpilot.output import err, progress_bar, report
from fabpilot.settings import load_settings
from fabpilot.stopping import stop_event
from fabpilot.wiring import sites
from streaming.open import open_log

if TYPE_CHECKING:
    from fabpilot.retrain import RetrainReport

__all__ = ["register"]


def retrain(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Maps to train on together with the confirmed labels (default: those that"
            " the champion was trained on).",
            metavar="PATH|sim:SCENARIO",
        ),
    ] = None,
    site: Annotated[
        str | None, typer.Option("--site", help="Only this fab's labels and wafers (default: all).")
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", help="Time to train, such as 90s or 17m.")
    ] = "10m",
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Most passes over the data.")
    ] = None,
    shadow: Annotated[
        int,
        typer.Option(
            "--shadow",
            min=0,
            help="Wafers that champion and challenger both score before the gate.",
        ),
    ] = 500,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Use the next wafers to come, instead of the latest on the log."
        ),
    ] = False,
    auto: Annotated[
        bool,
        typer.Option("--auto", help="Promote the challenger if it passes (FABPILOT_RETRAIN=auto)."),
    ] = False,
    by: Annotated[
        str | None, typer.Option("--by", help="Who decides, for the record (default: this user).")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of draws and views.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a challenger on the champion's data and confirmed labels, and judge it at the gate.

    The labels are those that engineers confirmed or corrected in the console; patterns that they
    named become new classes. The challenger first runs in shadow beside the champion; then both are
    judged on maps that neither was trained on. Nothing is promoted without --auto (or
    FABPILOT_RETRAIN=auto).

    For example:

      fabpilot retrain --budget 5m

      fabpilot retrain --live --shadow 200 --auto --json
    """
    settings = load_settings()
    if site is not None:
        check_site(site)
    seconds = parse_duration(budget)
    with closing(open_log(settings.log_url, settings.kafka_access)) as log:
        where = [site] if site is not None else sites(log)
        # torch takes seconds to import: not before the arguments are known to be good.
        from fabpilot.retrain import RetrainOptions
        from fabpilot.retrain import retrain as teach
        from fabpilot.shadow import coming_maps

        with warnings.catch_warnings(), progress_bar("", 1.0) as bar:
            # Notes of libraries to their developers are not for the person who trains.
            warnings.simplefilter("ignore")
            result = teach(
                settings,
                log,
                where,
                RetrainOptions(
                    data=data,
                    budget_s=seconds,
                    epochs=epochs,
                    seed=seed,
                    shadow=shadow,
                    promote=auto or settings.retrain == "auto",
                    by=by or "",
                ),
                # Ctrl-C ends the wait for wafers, and what has come counts.
                wafers=(lambda: coming_maps(log, where, shadow, stop_event())) if live else None,
                say=lambda text: err.print(text, markup=False),
                on_progress=lambda stage, share: bar.update(
                    bar.tasks[0].id, description=stage, completed=share
                ),
            )
    report(result, as_json=as_json, title="retrained")
    err.print(_words(result), markup=False, soft_wrap=True)


def _words(result: "RetrainReport") -> str:
    if result.gate.serves:
        return f"Version {result.gate.version} serves: {result.gate.reason}"
    if not result.gate.decision.passed:
        return f"The gate refuses version {result.gate.version}: {result.gate.reason}"
    return f"Version {result.gate.version} may serve; let it with:\n  {result.next}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("retrain")(retrain)
