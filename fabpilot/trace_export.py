"""The traces of a step on the log, and what was measured afterwards, as a set to train on.

The file is the long format of docs/traces.md. Its threads and its parameter are named as the
processor names them, so a model of it can serve the traces that come next.

The log is read twice: first what there is (names, measurements, maps), then the samples, which go
to the file a few runs at a time. So a log of any length needs little memory.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import ConfigError, DataError, DatasetError
from contracts.events import Event, Metrology, Trace, WaferMap
from contracts.recipe_steps import recipe_steps_of
from contracts.topics import Stream
from contracts.trace_threads import thread_name
from fabpilot.reading import read_events
from streaming.log import Log

__all__ = ["TraceExport", "Wanted", "export_traces"]

# Runs in a row group: a few megabytes.
_RUNS = 500
# Columns of the format that no sensor may be called.
_TAKEN = frozenset({"run", "time_s", "step", "group", "order", "target", "fault", "part"})
# Measurements a step may have names for, and steps a log may have, when they are listed.
_LISTED = 20


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs, and what their target is.

    Attributes:
        step: of the route, such as 'ETCH-M1'.
        parameter: measured after it, with the unit as suffix; '' for none.
        yield_below: 1 is the target of a wafer with a smaller share of good dies, 0 of others; None
            for no such target.
        after_ms: runs from then on, on the fab's clock.
    """

    step: str
    parameter: str = ""
    yield_below: float | None = None
    after_ms: int = 0

    def has(self, event: Event | None) -> TypeGuard[Trace]:
        """Whether an event is a trace of the step, of that time."""
        return (
            isinstance(event, Trace) and event.step == self.step and event.time_ms >= self.after_ms
        )


class TraceExport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        runs: traces of the step.
        measured: those with a target.
        threads: recipe, step and module together.
        variables: sensors.
        left_out: traces of the step that no event can be made of or that have no sample.
    """

    out: str
    runs: int
    measured: int
    threads: int
    variables: int
    samples: int
    left_out: int


@dataclass
class _Seen:
    """What a first look at the log found."""

    steps: Counter[str] = field(default_factory=Counter)
    parameters: Counter[str] = field(default_factory=Counter)
    variables: dict[str, None] = field(default_factory=dict)
    recipe_steps: bool = False
    # Of each wafer the times of its visits; of each visit its measured means.
    visits: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    measured: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    passed: dict[str, tuple[int, float]] = field(default_factory=dict)


def export_traces(
    log: Log, site: str, wanted: Wanted, out: Path, on_read: Callable[[int], None]
) -> TraceExport:
    """Write the runs of a step.

    Args:
        log: to read, to where it ends now.
        site: whose.
        wanted: which runs, with what target.
        out: the Parquet file; it is replaced once the new one is whole.
        on_read: called with the records read so far.

    Raises:
        ConfigError: the file cannot be written.
        DatasetError: no trace of the step, or nothing of what was to be the target.
    """
    counted = _Count(on_read)
    seen = _look(log, site, wanted, counted)
    _check(site, wanted, seen)
    aside = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(aside, _schema(wanted, seen), compression="zstd") as writer:
            report = _write(log, site, wanted, seen, writer, counted)
        aside.replace(out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return msgspec.structs.replace(report, out=str(out))


class _Count:
    """Says how many records were read, over both readings."""

    def __init__(self, on_read: Callable[[int], None]) -> None:
        self._on_read, self._read = on_read, 0

    def events(self, log: Log, site: str, stream: Stream) -> Iterator[Event | None]:
        for _, event in read_events(log, site, stream):
            self._read += 1
            self._on_read(self._read)
            yield event


def _look(log: Log, site: str, wanted: Wanted, counted: _Count) -> _Seen:
    seen = _Seen()
    for event in counted.events(log, site, Stream.TRACES):
        if not isinstance(event, Trace):
            continue
        seen.steps[event.step] += 1
        if wanted.has(event):
            seen.variables |= dict.fromkeys(event.variables)
            seen.recipe_steps |= event.recipe_steps is not None
            seen.visits[event.substrate_id].append(event.time_ms)
    if wanted.parameter:
        for event in counted.events(log, site, Stream.METROLOGY):
            if isinstance(event, Metrology) and event.step == wanted.step:
                _measured(seen, event, wanted.parameter)
    if wanted.yield_below is not None:
        for event in counted.events(log, site, Stream.WAFER_MAPS):
            if isinstance(event, WaferMap) and event.substrate_id in seen.visits:
                _tested(seen, event)
    return seen


def _measured(seen: _Seen, event: Metrology, parameter: str) -> None:
    """A measurement judges the wafer's latest visit to the step before it."""
    seen.parameters[event.parameter] += 1
    values = [value for value in event.values if np.isfinite(value)]
    earlier = [at for at in seen.visits.get(event.substrate_id, ()) if at <= event.time_ms]
    if event.parameter == parameter and values and earlier:
        seen.measured[event.substrate_id, max(earlier)].append(float(np.mean(values)))


def _tested(seen: _Seen, event: WaferMap) -> None:
    try:
        grid = event.grid.numpy()
    except DataError:
        return  # It is among the dead letters.
    good, bad = int((grid == 1).sum()), int((grid == 2).sum())
    before = seen.passed.get(event.substrate_id)
    if good + bad and (before is None or event.time_ms >= before[0]):
        seen.passed[event.substrate_id] = event.time_ms, good / (good + bad)


def _check(site: str, wanted: Wanted, seen: _Seen) -> None:
    if not seen.visits:
        steps = ", ".join(name for name, _ in seen.steps.most_common(_LISTED)) or "none at all"
        raise DatasetError(
            f"site {site} has no trace of step {wanted.step!r} from then on; it has traces of:"
            f" {steps}"
            if wanted.after_ms and wanted.step in seen.steps
            else f"site {site} has no trace of step {wanted.step!r}; it has traces of: {steps}"
        )
    if wanted.parameter and not seen.measured:
        names = ", ".join(name for name, _ in seen.parameters.most_common(_LISTED)) or "nothing"
        raise DatasetError(
            f"no measurement of {wanted.parameter!r} after step {wanted.step}; measured is: {names}"
        )
    if wanted.yield_below is not None and not seen.passed:
        raise DatasetError(f"no wafer that went through {wanted.step} has a wafer map yet")
    if taken := [name for name in seen.variables if _is_taken(name)]:
        raise DatasetError(
            f"variables {', '.join(taken)} are called as columns of the format are; rename them"
            " where they are written"
        )


def _is_taken(name: str) -> bool:
    return name in _TAKEN or name.startswith("context_")


def _schema(wanted: Wanted, seen: _Seen) -> pa.Schema:
    columns = [
        ("run", pa.string()),
        ("time_s", pa.float64()),
        ("group", pa.string()),
        ("order", pa.float64()),
        ("context_thread", pa.string()),
        ("context_recipe", pa.string()),
        ("context_module", pa.string()),
    ]
    if seen.recipe_steps:
        columns.append(("step", pa.uint8()))
    if wanted.parameter:
        columns.append(("context_parameter", pa.string()))
    if wanted.parameter or wanted.yield_below is not None:
        columns.append(("target", pa.float64()))
    return pa.schema([*columns, *((name, pa.float32()) for name in seen.variables)])


def _write(
    log: Log, site: str, wanted: Wanted, seen: _Seen, writer: Any, counted: _Count
) -> TraceExport:
    schema = writer.schema
    tables: list[pa.Table] = []
    threads: set[str] = set()
    runs = measured = samples = left_out = 0
    for event in counted.events(log, site, Stream.TRACES):
        if not wanted.has(event):
            continue
        target = _target(wanted, seen, event)
        try:
            tables.append(_rows(schema, wanted, event, target))
        except DataError:
            left_out += 1
            continue
        runs, measured = runs + 1, measured + (target is not None)
        samples += tables[-1].num_rows
        threads.add(thread_name(event))
        if len(tables) >= _RUNS:
            writer.write_table(pa.concat_tables(tables))
            tables.clear()
    if tables:
        writer.write_table(pa.concat_tables(tables))
    return TraceExport(
        out="",
        runs=runs,
        measured=measured,
        threads=len(threads),
        variables=len(seen.variables),
        samples=samples,
        left_out=left_out,
    )


def _target(wanted: Wanted, seen: _Seen, event: Trace) -> float | None:
    if wanted.parameter:
        found = seen.measured.get((event.substrate_id, event.time_ms))
        return float(np.mean(found)) if found else None
    if wanted.yield_below is not None and event.substrate_id in seen.passed:
        return float(seen.passed[event.substrate_id][1] < wanted.yield_below)
    return None


def _rows(schema: pa.Schema, wanted: Wanted, event: Trace, target: float | None) -> pa.Table:
    """The samples of a run.

    Raises:
        DataError: its arrays do not fit together, or there is no sample.
    """
    values = event.values.numpy()
    if values.ndim != 2 or values.shape[1] != len(event.variables) or not len(values):
        raise DatasetError(f"trace {event.event_id}: {values.shape} values")
    n = len(values)
    times = (
        np.arange(n) * event.sample_period_ms
        if event.times_ms is None
        else event.times_ms.numpy().astype(np.float64)
    )
    if times.shape != (n,) or not np.all(np.isfinite(times)):
        raise DatasetError(f"trace {event.event_id}: times that are no numbers")
    steps = recipe_steps_of(event, n)
    of_run = {
        "run": event.event_id,
        "group": event.lot_id,
        "order": event.time_ms / 1000.0,
        "context_thread": thread_name(event),
        "context_recipe": event.recipe_id,
        "context_module": event.key,
        "context_parameter": wanted.parameter,
        "target": target,
    }
    column = {name: place for place, name in enumerate(event.variables)}
    arrays = []
    for part in schema:
        if part.name == "time_s":
            arrays.append(pa.array(times / 1000.0, type=part.type))
        elif part.name == "step" and steps is not None:
            arrays.append(pa.array(steps, type=part.type))
        elif part.name in of_run:
            arrays.append(pa.repeat(pa.scalar(of_run[part.name], type=part.type), n))
        elif part.name in column:
            arrays.append(pa.array(values[:, column[part.name]], type=part.type))
        else:
            arrays.append(pa.nulls(n, type=part.type))
    return pa.Table.from_arrays(arrays, schema=schema)
