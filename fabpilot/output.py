"""What commands say: one JSON object on standard output, everything else on standard error."""

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import msgspec
import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

__all__ = ["configure_logging", "err", "progress_bar", "report", "write_line"]

err = Console(stderr=True, highlight=False)
"""Where people read: progress, logs, errors."""

_stdout_lock = threading.Lock()


def write_line(text: str) -> None:
    """One line on standard output, whole, whatever other threads write."""
    with _stdout_lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def report(result: Any, *, as_json: bool, title: str = "") -> None:
    """Print what a command found: exactly one JSON object, or a table for people.

    Args:
        result: a msgspec struct or a dict of plain values.
        as_json: print JSON.
        title: of the table.
    """
    plain = msgspec.to_builtins(result)
    if as_json:
        write_line(msgspec.json.encode(plain).decode())
        return
    table = Table(title=title or None, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in _rows(plain):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _rows(plain: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{name} ")
        elif isinstance(value, float):
            yield prefix + name, f"{value:,.4g}" if abs(value) < 100 else f"{value:,.0f}"
        elif isinstance(value, int) and not isinstance(value, bool):
            yield prefix + name, f"{value:,}"
        elif isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
            yield prefix + name, f"{len(value)} rows (see --json)"
        else:
            yield (
                prefix + name,
                ", ".join(map(str, value)) if isinstance(value, list) else str(value),
            )


@contextmanager
def progress_bar(description: str, total: float | None) -> Iterator[Progress]:
    """A bar with counts and time left on standard error; its one task is `progress.tasks[0]`.

    Where standard error is no terminal (a log file, CI) nothing is drawn.
    """
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
        transient=False,
        disable=not err.is_terminal,
    )
    with progress:
        progress.add_task(description, total=total)
        yield progress


def configure_logging(*, debug: bool) -> None:
    """Structured logs on standard error: readable on a terminal, JSON lines elsewhere."""
    level = logging.DEBUG if debug else logging.INFO
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if not sys.stderr.isatty()
        else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _Losing(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s", force=True)
    if not debug:
        for handler in logging.getLogger().handlers:
            handler.addFilter(_worth_saying)


class _Losing(io.TextIOBase):
    """Standard error; what it cannot take (its disk is full) is lost, and the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _worth_saying(record: logging.LogRecord) -> bool:
    """Not what Kafka's client says of every try to reach a broker, dozens of lines a second.

    What matters of it comes to us as an error, and we say it once in a while (streaming.patience).
    What it did not foresee itself comes with a traceback and stays.
    """
    return not record.name.startswith("kafka") or bool(record.exc_info)
