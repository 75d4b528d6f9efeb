"""`fabpilot models`: the registry. Which version serves, and which may."""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from contracts.clock import rfc3339
from contracts.errors import ConfigError
from contracts.trace_model import Task, task_of_name
from fabpilot.commands.options import JsonOption
from fabpilot.commands.quantize import register as register_quantize
from fabpilot.map_gate import blind, frozen_holdout, judge_map_contest
from fabpilot.output import err, progress_bar, report
from fabpilot.promotion import (
    Contest,
    find_contest,
    roll_back,
    settle,
)
from fabpilot.settings import Settings, load_settings
from fabpilot.trace_gate import judge_trace_contest
from fabpilot.trail import this_user
from fabpilot.wiring import MODEL_NAME
from models.data import MapSet
from models.gate import GateDecision
from models.registry import TAG_PROMOTION, ModelVersion, list_versions
from models.traces.data import TraceSet
from models.traces.layouts import load_traces

__all__ = ["register"]

NameOption = Annotated[str, typer.Option("--name", help="The registered model.")]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who decides, for the record (default: this user).")
]


def list_(name: NameOption = MODEL_NAME, as_json: JsonOption = False) -> None:
    """All versions with their aliases and figures, newest first."""
    versions = list_versions(load_settings().mlflow_uri, _checked(name))
    if as_json:
        report({"versions": msgspec.to_builtins(versions)}, as_json=True)
        return
    if not versions:
        err.print(f"no version of {name} yet; make one: fabpilot train wafer-map --data sim:mixed")
        return
    table = Table(
        "version", "aliases", "macro-F1", "accuracy", "ECE", "trained", "decided", "sha256"
    )
    for version in versions:
        table.add_row(
            str(version.version),
            ", ".join(version.aliases),
            *(f"{version.metrics.get(key, float('nan')):.3f}" for key in ("macro_f1", "accuracy")),
            f"{version.metrics.get('ece', float('nan')):.3f}",
            rfc3339(version.created_ms)[:16].replace("T", " "),
            _decided(version),
            version.sha256[:12],
        )
    Console().print(table)


def promote(
    name: NameOption = MODEL_NAME,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Wafer maps: judge on the held-out part of these instead of the"
            " champion's. Traces: runs that neither model was trained on (required).",
            metavar="PATH|sim:SCENARIO",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge and report; write nothing and move no alias.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote even if the gate refuses; needs --reason.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="Why the gate is overruled, for the record.")
    ] = "",
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the challenger at the gate; if it passes, it becomes champion.

    The champion becomes 'previous', which `fabpilot models rollback` goes back to.

    Wafer-map models are judged on the maps that were held out of the champion's training, clean and
    perturbed; trace models on the runs that --data names. The decision, its numbers and who asked
    for it are written as tags on the version, also after a refusal (exit code 1).

    For example:

      fabpilot models promote --dry-run

      fabpilot models promote --name trace-metrology --data newer.parquet

      fabpilot models promote --force --reason "champion misses the new scratch, see ticket 411"
    """
    name, who, reason = _checked(name), by or this_user(), reason.strip()
    if force != bool(reason):
        raise ConfigError("--force and --reason go together: say why the gate is overruled")
    settings = load_settings()
    contest = find_contest(settings, name)
    decision, judged_on = (
        _judged_on_maps(settings, contest, data)
        if (task := task_of_name(name)) is None
        else _judged_on_traces(settings, task, contest, data)
    )
    outcome = settle(settings, contest, decision, judged_on, by=who, force=reason, dry_run=dry_run)
    if as_json:
        report(outcome, as_json=True)
    else:
        Console(highlight=False).print(_table(decision))
    dry = " (dry run: nothing was written or moved)" if dry_run else ""
    if outcome.verdict == "refused":
        err.print(f"Refused: {outcome.reason}{dry}", soft_wrap=True, markup=False)
        raise typer.Exit(1)
    err.print(
        f"Version {outcome.version} {outcome.verdict}: {outcome.reason}{dry}",
        soft_wrap=True,
        markup=False,
    )


def _judged_on_traces(
    settings: Settings, task: Task, contest: Contest, data: str | None
) -> tuple[GateDecision, TraceSet]:
    if data is None:
        raise ConfigError(
            "name runs that neither model was trained on with --data; 'fabpilot export traces"
            " --after TIME' writes those that came since"
        )
    runs = load_traces(Path(data))
    err.print(f"version {contest.challenger.version} on {len(runs):,} runs of {runs.name}")
    return judge_trace_contest(settings, task, contest, Path(data), runs.part), runs


def _judged_on_maps(
    settings: Settings, contest: Contest, data: str | None
) -> tuple[GateDecision, MapSet]:
    maps = frozen_holdout(contest, data)
    err.print(
        f"version {contest.challenger.version} against"
        f" {f'version {contest.champion.version}' if contest.champion else 'nobody'}"
        f" on {len(maps):,} held-out maps of {maps.source}"
    )
    if not blind(contest, maps):
        err.print(
            "The challenger's own run held out other maps: make sure it did not train on these."
        )
    with progress_bar("judging", None) as bar:
        decision = judge_map_contest(
            settings,
            contest,
            maps,
            lambda done, total: bar.update(bar.tasks[0].id, completed=done, total=total),
        )
    return decision, maps


def rollback(
    name: NameOption = MODEL_NAME,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, for the record.")
    ] = "no reason given",
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to the previous champion; the two change places."""
    version = roll_back(load_settings(), _checked(name), by=by or this_user(), reason=reason)
    report(_brief(version), as_json=as_json, title=f"version {version.version} serves")


def _table(decision: GateDecision) -> Table:
    table = Table("", "check", "value", "limit", "", "in words")
    for check in decision.checks:
        table.add_row(
            str(check.number),
            check.name,
            f"{check.value:.4g}",
            "" if check.limit is None else f"{check.limit:.4g}",
            "[green]passed[/]" if check.passed else "[bold red]failed[/]",
            check.sentence,
        )
    return table


def _decided(version: ModelVersion) -> str:
    verdict = version.tags.get(TAG_PROMOTION)
    return "" if verdict is None else f"{verdict} by {version.tags.get(f'{TAG_PROMOTION}.by', '?')}"


def _brief(version: ModelVersion) -> dict[str, Any]:
    """A version without the long texts of its run and its decisions."""
    plain: dict[str, Any] = msgspec.to_builtins(version)
    return {name: value for name, value in plain.items() if name not in ("params", "tags")}


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise typer.BadParameter("letters, digits, '.', '_' and '-'", param_hint="--name")
    return name


def register(app: typer.Typer) -> None:
    """Add the command."""
    models = typer.Typer(help="The model registry.", no_args_is_help=True)
    models.command("list")(list_)
    models.command("promote")(promote)
    models.command("rollback")(rollback)
    register_quantize(models)
    app.add_typer(models, name="models")
