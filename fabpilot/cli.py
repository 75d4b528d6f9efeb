"""The `fabpilot` command. Each command lives in a file of its own under fabpilot/commands."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from contracts.errors import FabpilotError
from fabpilot import __version__
from fabpilot.output import configure_logging, err

__all__ = ["COMMANDS", "build_app", "main"]

# In the order of the help page: what a newcomer runs first stands first.
COMMANDS = (
    "demo",
    "sim",
    "replay",
    "process",
    "control",
    "automation",
    "console",
    "log",
    "export",
    "train",
    "evaluate",
    "retrain",
    "models",
    "backup",
    "restore",
    "accounts",
    "audit",
    "bench",
    "doctor",
)


def build_app(commands: Sequence[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        name="fabpilot",
        help="Watches a semiconductor fab as it runs, predicts defects before they are measured,"
        " and steers the process.\n\nStart with: fabpilot demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in commands:
        import_module(f"fabpilot.commands.{name}").register(app)
    return app


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"fabpilot {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line: errors of ours become one line, never a traceback."""
    # The matrices here are small. BLAS would spread each over threads that wait for each other by
    # spinning, which takes the cores from the threads that score (twice the time for a map). It
    # reads this when numpy is imported, which is later.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Only the command that was asked for is imported: `log tail` needs no ONNX Runtime.
    asked = [word for word in sys.argv[1:2] if word in COMMANDS]
    debug = os.environ.get("FABPILOT_DEBUG", "").lower() in ("1", "true", "yes", "on")
    configure_logging(debug=debug)
    try:
        build_app(asked or COMMANDS)()
    except FabpilotError as error:
        err.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone; leave quietly, and keep Python from complaining later.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        err.print(
            f"[bold red]error:[/] {type(error).__name__}: {_escape(str(error))}\n"
            "This was not foreseen. FABPILOT_DEBUG=1 shows where it happened; please report it.",
            soft_wrap=True,
        )
        sys.exit(70)  # EX_SOFTWARE of sysexits.h


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
