"""`fabpilot models`: the registry. Which version serves, and which may."""

import re
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from contracts.clock import rfc3339
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, report
from fabpilot.settings import Settings, load_settings
from fabpilot.wiring import MODEL_NAME, open_repository
from models.registry import ModelVersion, list_versions
from models.registry import promote as promote_challenger
from models.registry import rollback as roll_back

__all__ = ["register"]

NameOption = Annotated[str, typer.Option("--name", help="The registered model.")]


def list_(name: NameOption = MODEL_NAME, as_json: JsonOption = False) -> None:
    """All versions with their aliases and figures, newest first."""
    versions = list_versions(load_settings().mlflow_uri, _checked(name))
    if as_json:
        report({"versions": msgspec.to_builtins(versions)}, as_json=True)
        return
    if not versions:
        err.print(f"no version of {name} yet; make one: fabpilot train wafer-map --data sim:mixed")
        return
    table = Table("version", "aliases", "macro-F1", "accuracy", "ECE", "trained", "sha256")
    for version in versions:
        table.add_row(
            str(version.version),
            ", ".join(version.aliases),
            *(f"{version.metrics.get(key, float('nan')):.3f}" for key in ("macro_f1", "accuracy")),
            f"{version.metrics.get('ece', float('nan')):.3f}",
            rfc3339(version.created_ms)[:16].replace("T", " "),
            version.sha256[:12],
        )
    Console().print(table)


def promote(name: NameOption = MODEL_NAME, as_json: JsonOption = False) -> None:
    """Let the challenger serve; the champion becomes 'previous'.

    The challenger's file is loaded and tried on its golden batch first; one that fails stays out.
    """
    settings = load_settings()
    _try(settings, f"models:/{_checked(name)}@challenger")
    _say(promote_challenger(settings.mlflow_uri, name), as_json)


def rollback(name: NameOption = MODEL_NAME, as_json: JsonOption = False) -> None:
    """Let the previous champion serve again."""
    settings = load_settings()
    _try(settings, f"models:/{_checked(name)}@previous")
    _say(roll_back(settings.mlflow_uri, name), as_json)


def _try(settings: Settings, model: str) -> None:
    open_repository(settings, model).close()


def _say(version: ModelVersion, as_json: bool) -> None:
    report(version, as_json=as_json, title=f"version {version.version} serves")


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
    app.add_typer(models, name="models")
