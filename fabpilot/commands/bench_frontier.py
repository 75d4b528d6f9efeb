"""`fabpilot bench frontier`: accuracy against speed over several models."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from contracts.errors import ConfigError
from fabpilot.commands.options import JsonOption
from fabpilot.map_data import Part, load_named_maps, part_of
from fabpilot.model_path import model_path
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings

__all__ = ["frontier"]


def frontier(
    models: Annotated[
        list[str], typer.Argument(help="ONNX files (float32) or models:/ URIs.", metavar="MODEL...")
    ],
    data: Annotated[str, typer.Option("--data", help="A .npz of labelled maps, or sim:SCENARIO.")],
    part: Annotated[
        str,
        typer.Option(
            "--part", help="Maps to judge on: 'holdout', or 'all' if no model was trained on any."
        ),
    ] = "holdout",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for frontier.json, frontier.md and frontier.png."),
    ] = None,
    wafers: Annotated[
        int, typer.Option("--wafers", min=1, help="Maps to make, with sim:SCENARIO.")
    ] = 4_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With sim:SCENARIO.")] = 1_000,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Rounds; each model has one turn in every round.")
    ] = 7,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, help="Length of a turn in seconds.")
    ] = 0.5,
    as_json: JsonOption = False,
) -> None:
    """Judge models and their int8 forms, time all of them in one run, and choose two defaults.

    'accurate' is the model with the best macro-F1, 'fast' the fastest within two points of it. The
    table and the picture name each model by its file's name.

    For example:

      fabpilot bench frontier small.onnx large.onnx --data wm811k.npz --out frontier
    """
    if part not in ("all", "holdout"):
        raise typer.BadParameter("use holdout or all", param_hint="--part")
    settings = load_settings()
    files: dict[str, bytes] = {}
    for model in models:
        name = Path(model).stem if not model.startswith("models:/") else model[len("models:/") :]
        if name in files:
            raise ConfigError(f"two models are called {name}; rename one file")
        files[name] = model_path(settings, model).read_bytes()
    maps = load_named_maps(data, wafers=wafers, seed=seed)
    judged: Part = "all" if part == "all" else "holdout"
    # torch takes seconds to import; the other benchmarks need none of it.
    from fabpilot.benchmarks.frontier import figure_points, markdown, measure_frontier
    from models.frontier_figure import frontier_figure

    with progress_bar("judging", 2 * len(files)) as bar:
        result = measure_frontier(
            files,
            part_of(maps, "train"),
            part_of(maps, judged),
            rounds=rounds,
            seconds=seconds,
            on_judged=lambda: bar.advance(bar.tasks[0].id),
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        document = msgspec.json.format(msgspec.json.encode(result), indent=2)
        (out / "frontier.json").write_bytes(document + b"\n")
        (out / "frontier.md").write_text(markdown(result))
        figure = frontier_figure(figure_points(result), result.reference, result.reference_per_s)
        figure.savefig(out / "frontier.png", dpi=150)
    if as_json:
        report(result, as_json=True)
    else:
        typer.echo(markdown(result))
