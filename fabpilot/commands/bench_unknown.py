"""`fabpilot bench unknown`: whether a model notices a pattern nobody has taught it."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from fabpilot import __version__
from fabpilot.benchmarks.results import Results
from fabpilot.commands.options import JsonOption
from fabpilot.duration import parse_duration
from fabpilot.map_data import load_named_maps, part_of
from fabpilot.output import err, report
from fabpilot.settings import load_settings
from models.data import MapSet

__all__ = ["ResultsOption", "unknown"]

ResultsOption = Annotated[
    Path | None,
    typer.Option(
        "--results",
        help="File that keeps finished trainings, so that an interrupted run continues"
        " (default: in FABPILOT_HOME).",
        metavar="FILE",
    ),
]


def unknown(
    data: Annotated[
        str,
        typer.Option("--data", help="A .npz of labelled maps, LSWMD.pkl, or sim:SCENARIO."),
    ],
    budget: Annotated[
        str, typer.Option("--budget", help="Time for each training, such as 90s or 5m.")
    ] = "5m",
    results: ResultsOption = None,
    wafers: Annotated[
        int, typer.Option("--wafers", min=500, help="Number of maps, with sim:SCENARIO.")
    ] = 20_000,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of weights, draws and views.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """How well unknown patterns are recognised: each class is left out in turn (AUROC).

    Each time a network is trained on all other classes, within the budget. Its own novelty score
    is measured beside 1 - its largest probability. Needs the extra `train`.

    For example:

      fabpilot bench unknown --data wm811k.npz --budget 5m --json
    """
    settings = load_settings()
    seconds = parse_duration(budget)
    maps = load_named_maps(data, wafers=wafers, seed=seed)
    # torch takes seconds to import: not before the data is known to be good.
    from fabpilot.benchmarks.learning import Scores, learn, options_for, score
    from fabpilot.benchmarks.unknown import measure_unknown

    learning, holdout = part_of(maps, "train"), part_of(maps, "holdout")
    options = options_for(learning, seconds, seed=seed, device=settings.device.value)
    kept = Results(
        results or settings.home / "bench-unknown.jsonl",
        {"data": maps.fingerprint(), "version": __version__, **options.params()},
    )

    def train_and_score(some: MapSet, others: MapSet) -> Scores:
        return score(learn(some, options), others)

    with warnings.catch_warnings():
        # Notes of libraries to their developers are not for the person who waits.
        warnings.simplefilter("ignore")
        result = measure_unknown(
            learning,
            holdout,
            train_and_score,
            kept,
            budget_s=seconds,
            seed=seed,
            on_class=err.print,
        )
    report(result, as_json=as_json, title="unknown patterns")
