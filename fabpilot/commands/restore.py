"""`fabpilot restore`: what a backup holds, back in its place."""

from pathlib import Path
from typing import Annotated

import typer

from fabpilot.backup import restore as restore_backup
from fabpilot.commands.backup import bytes_bar
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, report
from fabpilot.settings import load_settings

__all__ = ["register"]


def restore(
    file: Annotated[Path, typer.Argument(help="The backup file.", metavar="FILE")],
    as_json: JsonOption = False,
) -> None:
    """Put back what a backup holds, into an empty home (and an empty PostgreSQL database).

    The file is read and checked whole before anything is written; nothing is overwritten.

    For example:

      FABPILOT_HOME=/var/lib/fabpilot-new fabpilot restore /backups/kr1-2026-11-24.tar
    """
    settings = load_settings()
    with bytes_bar("restoring") as show:
        done = restore_backup(settings, file, show)
    for what in done.missing:
        err.print(f"[yellow]was not in it:[/yellow] {what}")
    report(done, as_json=as_json, title="restored")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restore")(restore)
