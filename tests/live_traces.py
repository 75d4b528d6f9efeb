"""The polishing of `tests.trace_sets` as the log has it: events, and models of them."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from contracts.arrays import Array
from contracts.events import Trace
from contracts.trace_model import Task
from contracts.trace_threads import thread_name
from models.traces.data import Run, TraceSet
from models.traces.tasks import task_named
from tests.factories import NOON_MS
from tests.trace_sets import polishing

__all__ = ["PARAMETER", "changed", "events_of", "learnable", "model_bytes", "traces", "write_model"]

PARAMETER = "removed_nm"


def events_of(runs: TraceSet, first: int = 0, *, by_step: bool = False) -> list[Trace]:
    """A trace for each run, with recipe steps if asked for; threads become modules of CMP-01."""
    return [
        Trace(
            event_id=f"trace-{first + number}",
            site="kr1",
            time_ms=NOON_MS + number * 60_000,
            lot_id=str(runs.group[number]),
            substrate_id=f"w-{first + number}",
            slot=number % 10 + 1,
            equipment_id="CMP-01",
            module_id=str(runs.context["thread"][number])[-1],
            process_job_id="job",
            recipe_id="POLISH",
            step="CMP-M1",
            sequence=3,
            variables=runs.variables,
            sample_period_ms=1000.0,
            values=Array.of(run.values),
            recipe_steps=_recipe_steps(run) if by_step else None,
        )
        for number, run in enumerate(runs.runs)
    ]


def _recipe_steps(run: Run) -> Array:
    assert run.step is not None
    return Array.of(run.step.astype(np.uint8))


def learnable(runs: TraceSet, *, by_step: bool = False) -> TraceSet:
    """The set as it is written from the log, threads by their names there."""
    names = [thread_name(trace) for trace in events_of(runs)]
    return replace(
        runs,
        runs=runs.runs if by_step else tuple(replace(run, step=None) for run in runs.runs),
        context={
            "thread": np.array(names),
            "parameter": np.full(len(runs), PARAMETER),
        },
    )


def traces(number: int, *, seed: int = 7) -> list[Trace]:
    """Traces of two modules."""
    return events_of(polishing(number, seed=seed, threads=2))


def changed(trace: Trace, **changes: Any) -> Trace:
    """Another trace of the same wafer."""
    return msgspec.structs.replace(trace, **changes)


@lru_cache(maxsize=8)
def model_bytes(task: Task, seed: int = 0, *, by_step: bool = False) -> bytes:
    """A model of a task, learned from runs of two modules; to fail is to lose more than 53 nm."""
    wafers = 160 if task == "risk" else 80
    runs = learnable(polishing(wafers, seed=seed, threads=2), by_step=by_step)
    if task == "risk":
        runs = replace(runs, target=(runs.target > 53.0).astype(np.float64))
    trained = task_named(task).train(
        runs, seed=0, code_version="test", on_progress=lambda share: None
    )
    return trained.content


def write_model(
    path: Path, task: Task = "metrology", seed: int = 0, *, by_step: bool = False
) -> Path:
    """The same as a file."""
    path.write_bytes(model_bytes(task, seed, by_step=by_step))
    return path
