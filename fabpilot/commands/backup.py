"""`fabpilot backup`: everything a site keeps, in one file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fabpilot.backup import OnProgress, back_up
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, progress_bar, report
from fabpilot.settings import load_settings

__all__ = ["bytes_bar", "register"]


def backup(
    file: Annotated[Path, typer.Argument(help="The backup file to write.", metavar="FILE")],
    as_json: JsonOption = False,
) -> None:
    """Copy log, database, registry and models into one file, while everything runs.

    All are copied as they were at one moment. The file has hashes of passwords and the fab's data:
    it is readable by its owner alone.

    For example:

      fabpilot backup /backups/kr1-$(date +%F).tar

      FABPILOT_HOME=/var/lib/fabpilot fabpilot backup site.tar --json
    """
    settings = load_settings()
    with bytes_bar("backing up") as show:
        done = back_up(settings, file, show)
    for what in done.missing:
        err.print(f"[yellow]not in it:[/yellow] {what}")
    report(done, as_json=as_json, title="backed up")


@contextmanager
def bytes_bar(what: str) -> Iterator[OnProgress]:
    """A bar in megabytes, and what tells it how far things are."""
    with progress_bar(f"{what} (MB)", None) as bar:

        def show(done: int, total: int) -> None:
            bar.update(bar.tasks[0].id, completed=done // 1_000_000, total=total // 1_000_000)

        yield show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backup")(backup)
