"""`fabpilot bench model`: torch, ONNX Runtime, int8 and a named peer in one run."""

from typing import Annotated

import typer

from contracts.errors import ConfigError
from fabpilot.commands.options import JsonOption
from fabpilot.model_path import model_path
from fabpilot.output import report
from fabpilot.settings import load_settings

__all__ = ["model_"]


def model_(
    named: Annotated[
        str | None,
        typer.Argument(help="An ONNX file or models:/wafer-map@champion.", metavar="[MODEL]"),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", help="Measure an untrained network of this backbone instead of MODEL."
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            "--size", min=16, max=1024, help="Pixels of the canonical map, with --backbone."
        ),
    ] = 64,
    rounds: Annotated[
        int,
        typer.Option("--rounds", min=1, help="Rounds; each contender has one turn in every round."),
    ] = 7,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, help="Length of a turn in seconds.")
    ] = 0.5,
    as_json: JsonOption = False,
) -> None:
    """Speed of a model in torch, ONNX Runtime and int8, beside mobilenetv3_small_100.

    Everything runs on the CPU, in turns within one run; the best round of each counts. Throughput
    is measured as `fabpilot process` scores: batches of 128, one thread per core. The torch network
    has random weights.

    For example:

      fabpilot bench model models:/wafer-map@champion --json

      fabpilot bench model --backbone resnet10t
    """
    if (named is None) == (backbone is None):
        raise ConfigError("name one model: a file, a models:/ URI, or --backbone NAME")
    # torch takes seconds to import; the other benchmarks need none of it.
    from fabpilot.benchmarks.model_speed import measure_model, untrained_file

    if named is not None:
        content = model_path(load_settings(), named).read_bytes()
        result = measure_model(named, content, rounds=rounds, seconds=seconds)
    else:
        content = untrained_file(str(backbone), size)
        result = measure_model(f"{backbone}, untrained", content, rounds=rounds, seconds=seconds)
    report(result, as_json=as_json, title="bench")
