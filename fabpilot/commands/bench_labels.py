"""`fabpilot bench labels`: how many labels a model needs, from scratch and pre-trained."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from fabpilot import __version__
from fabpilot.benchmarks.results import Results
from fabpilot.commands.bench_unknown import ResultsOption
from fabpilot.commands.options import JsonOption
from fabpilot.duration import parse_duration
from fabpilot.map_data import SIM_WAFERS, load_named_maps, part_of
from fabpilot.output import err, report
from fabpilot.settings import load_settings

__all__ = ["labels"]


def labels(
    data: Annotated[
        str, typer.Option("--data", help="Real labelled maps: a .npz, LSWMD.pkl, or sim:SCENARIO.")
    ],
    pretrain: Annotated[
        str,
        typer.Option(
            "--pretrain",
            help="Pre-training: sim:SCENARIO, a file of maps, or the .safetensors of a run"
            " that is already trained.",
        ),
    ] = "sim:mixed",
    budget: Annotated[
        str, typer.Option("--budget", help="Time for each training, such as 90s or 5m.")
    ] = "5m",
    pretrain_budget: Annotated[
        str | None,
        typer.Option("--pretrain-budget", help="Time for the pre-training (default: as --budget)."),
    ] = None,
    results: ResultsOption = None,
    wafers: Annotated[
        int, typer.Option("--wafers", min=500, help="Number of maps, with sim:SCENARIO.")
    ] = SIM_WAFERS,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of weights, draws and lots.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Label efficiency: 1, 10 and 100 % of the labels, from random and from pre-trained weights.

    Labels are taken by whole lots, and all networks are judged on the same held-out lots. There are
    six trainings of the budget each, and one pre-training. Needs the extra `train`.

    For example:

      fabpilot bench labels --data wm811k.npz --pretrain sim:mixed --budget 5m --json
    """
    settings = load_settings()
    seconds = parse_duration(budget)
    first_s = parse_duration(pretrain_budget) if pretrain_budget else seconds
    maps = load_named_maps(data, wafers=wafers, seed=seed)
    learning, holdout = part_of(maps, "train"), part_of(maps, "holdout")
    # torch takes seconds to import: not before the data is known to be good.
    from fabpilot.benchmarks.labels import measure_labels
    from fabpilot.benchmarks.learning import Scores, learn, options_for, score, weights_of
    from models.data import MapSet
    from models.weights import Weights, load_weights

    device = settings.device.value

    def learn_first() -> Weights:
        if pretrain.endswith(".safetensors"):
            return load_weights(Path(pretrain))
        # Another seed than that of the data, in case both come from the synthetic fab.
        made = load_named_maps(pretrain, wafers=wafers, seed=seed + 1)
        err.print(f"{len(made)} maps of {made.source} first …")
        options = options_for(made, first_s, seed=seed, device=device)
        return weights_of(learn(made, options))

    def train_and_score(part: MapSet, others: MapSet, init: Weights | None) -> Scores:
        options = options_for(part, seconds, seed=seed, device=device)
        return score(learn(part, options, init), others)

    kept = Results(
        results or settings.home / "bench-labels.jsonl",
        {
            "data": maps.fingerprint(),
            "version": __version__,
            "pretrain": (pretrain, first_s, wafers),
            **options_for(learning, seconds, seed=seed, device=device).params(),
        },
    )
    with warnings.catch_warnings():
        # Notes of libraries to their developers are not for the person who waits.
        warnings.simplefilter("ignore")
        result = measure_labels(
            learning,
            holdout,
            learn_first,
            train_and_score,
            kept,
            pretrained_on=pretrain,
            budget_s=seconds,
            pretrain_s=first_s,
            seed=seed,
            on_run=err.print,
        )
    report(result, as_json=as_json, title="label efficiency")
