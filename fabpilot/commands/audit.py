"""`fabpilot audit`: the trail of who decided what; whether it is intact, and all of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer
from sqlalchemy import Connection, Row

from console.access.export import as_csv, as_lines
from console.access.trail import entries
from console.access.trail import verify as verify_chain
from console.tables import create_tables
from contracts.errors import ConfigError
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, report
from fabpilot.settings import load_settings
from streaming.database import open_engine, read_only

__all__ = ["register"]

Format = Literal["csv", "jsonl"]


@contextmanager
def _looking() -> Iterator[Connection]:
    settings = load_settings()
    engine = open_engine(settings.database_url, settings.database_password)
    try:
        create_tables(engine)
        with read_only(engine).begin() as connection:
            yield connection
    finally:
        engine.dispose()


def verify(
    expect: Annotated[
        str,
        typer.Option("--expect", help="A head kept elsewhere: that row must still be the same."),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Recompute the chain of digests; exit code 1 if a row was changed, removed or inserted.

    It prints the head of the chain. Keep that where nobody who can write to the database can reach
    it, and pass it to the next check (--expect): only so is it noticed if the end of the trail was
    cut off, or the whole trail was rewritten.

    For example:

      fabpilot audit verify --expect "$(cat head.txt)"
    """
    with _looking() as connection:
        verdict = verify_chain(connection, expect)
    report({"intact": not verdict.fault, **asdict(verdict)}, as_json=as_json, title="audit trail")
    if verdict.fault:
        err.print(f"The audit trail does not hold: {verdict.fault}", markup=False)
        raise typer.Exit(1)


def export(
    format_: Annotated[Format, typer.Option("--format", help="csv or jsonl.")] = "jsonl",
    out: Annotated[
        Path | None, typer.Option("--out", help="A file (default: standard output).")
    ] = None,
) -> None:
    """All rows with their digests, the oldest first.

    For example:

      fabpilot audit export --format csv --out audit.csv
    """
    if out is None:
        rows = _write(sys.stdout, format_)
    else:
        try:
            with out.open("w", encoding="utf-8", newline="") as file:
                rows = _write(file, format_)
        except OSError as error:
            raise ConfigError(f"{out} cannot be written: {error.strerror}") from error
    err.print(f"{rows} rows")


def _write(file: TextIO, format_: Format) -> int:
    rows = 0
    with _looking() as connection:

        def counted() -> Iterator[Row[Any]]:
            nonlocal rows
            for entry in entries(connection):
                rows += 1
                yield entry

        file.writelines((as_csv if format_ == "csv" else as_lines)(counted()))
    return rows


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(help="The audit trail.", no_args_is_help=True)
    group.command("verify")(verify)
    group.command("export")(export)
    app.add_typer(group, name="audit")
