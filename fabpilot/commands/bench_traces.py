"""`fabpilot bench traces`: samples a second, size of the state, and waiting times of traces."""

from typing import Annotated

import msgspec
import typer

from control.policy import load_policy
from fabpilot.benchmarks.stream import machine
from fabpilot.benchmarks.trace_latency import TraceLatency, measure_trace_latency
from fabpilot.benchmarks.traces import StateOverTime, TraceSpeed, measure_trace_speed, watch_state
from fabpilot.commands.options import JsonOption
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings

__all__ = ["traces"]

_SHAPES = ((60, 10), (240, 18))


class TraceBench(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured.

    Attributes:
        speed: of each shape of trace, on one core, in CPU time.
        state: over a long run.
        latency: at an even rate of wafers; None if it was left out.
    """

    speed: list[TraceSpeed]
    state: StateOverTime | None
    latency: TraceLatency | None
    machine: str


def traces(
    wafers: Annotated[
        int, typer.Option("--wafers", min=0, help="Wafers of the long run; 0 leaves it out.")
    ] = 5_000,
    rate: Annotated[
        float,
        typer.Option(
            "--rate", min=0, help="Wafers per second for the waiting times; 0 leaves them out."
        ),
    ] = 50.0,
    seconds: Annotated[
        float, typer.Option("--seconds", min=5, help="Seconds to measure waiting times for.")
    ] = 30,
    as_json: JsonOption = False,
) -> None:
    """Speed from traces to risk and alerts: the engine alone, and the controller on a log.

    For example:

      fabpilot bench traces --json

      fabpilot bench traces --wafers 0 --rate 100 --json
    """
    settings = load_settings()
    policy = load_policy(settings.policy)
    speed = [measure_trace_speed(policy, rows, variables) for rows, variables in _SHAPES]
    state = latency = None
    if wafers:
        with progress_bar("a long run", wafers) as bar:
            state = watch_state(
                policy, wafers, lambda done: bar.update(bar.tasks[0].id, completed=done)
            )
    if rate:
        latency = measure_trace_latency(
            settings, policy, rate=rate, seconds=seconds, rows=_SHAPES[1][0], variables=18
        )
    result = TraceBench(speed=speed, state=state, latency=latency, machine=machine())
    report(result, as_json=as_json, title="traces")
