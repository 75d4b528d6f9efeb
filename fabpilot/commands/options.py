"""Options that several commands share, said once."""

from typing import Annotated

import typer

__all__ = ["JsonOption", "SiteOption"]

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the report as exactly one JSON object on standard output."),
]
SiteOption = Annotated[
    str | None,
    typer.Option("--site", help="The fab, such as kr1 (default: FABPILOT_SITE).", metavar="SITE"),
]
