"""How many trace samples a second the controller takes in, and whether its state stays bounded."""

import time
from collections.abc import Callable

import msgspec

from contracts.codec import decode, encode
from contracts.events import Alert, Prediction, Risk, Trace
from contracts.records import Message
from control.engine import Engine
from control.policy import Policy
from control.state_parts import Changes
from fabpilot.benchmarks.trace_line import TraceLine

__all__ = ["StateOverTime", "TraceSpeed", "measure_trace_speed", "watch_state"]

SITE = "kr1"
# As the stateful loop takes them: the state is saved once a batch.
_BATCH = 500
# Traces between two looks at what a small batch writes.
_FEW = 10
# Ticks until the charts of all modules have learned and the line is full.
_WARM_UP_TICKS = 900
_MEASURED_TRACES = 2_000


class TraceSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """Traces of one shape through the engine, on one core, in CPU time.

    Attributes:
        rows, variables: of each trace.
        traces: measured, each with the process events of its step, and a test result a wafer.
        samples_per_s: decoded, handled, answers encoded, state saved once in 500 records.
        decode_samples_per_s: the ceiling: the same records only decoded.
        ratio: of the two.
        traces_per_s: the same in traces.
        save_share: of the time, that went into saving the state.
        risks, alerts: that came out.
    """

    rows: int
    variables: int
    traces: int
    samples_per_s: float
    decode_samples_per_s: float
    ratio: float
    traces_per_s: float
    save_share: float
    risks: int
    alerts: int


class StateOverTime(msgspec.Struct, frozen=True, kw_only=True):
    """Size of the saved state over a long run of 53 modules and 34 steps.

    Attributes:
        wafers: tested at each look.
        bytes: of all saved parts then.
        largest: of all looks; `growth` is the last over that at half the run.
        snapshot: bytes of the state in one piece at the end, not compressed.
        bytes_per_trace: written on average for one trace and its process events, in batches of 10.
    """

    wafers: list[int]
    bytes: list[int]
    largest: int
    growth: float
    snapshot: int
    bytes_per_trace: float


def measure_trace_speed(policy: Policy, rows: int, variables: int) -> TraceSpeed:
    """Warm an engine up with small traces, then time it on traces of this shape."""
    engine = Engine(policy, SITE)
    small = TraceLine(SITE, 10, variables)
    for event in small.states():
        engine.handle(event)
    for number in range(_WARM_UP_TICKS):
        for event in small.tick(number):
            engine.handle(event)
    line = TraceLine(SITE, rows, variables)
    messages: list[Message] = []
    traces = tick = 0
    while traces < _MEASURED_TRACES:
        for event in line.tick(_WARM_UP_TICKS + tick):
            messages.append(encode(event))
            traces += isinstance(event, Trace)
        tick += 1
    risks = alerts = 0
    saving = 0.0
    began = time.process_time()
    for number, message in enumerate(messages, 1):
        for answer in engine.handle(decode(message.headers, message.value)):
            encode(answer)
            risks += isinstance(answer, Risk)
            alerts += isinstance(answer, Alert)
        if number % _BATCH == 0:
            before = time.process_time()
            engine.changes()
            saving += time.process_time() - before
    seconds = time.process_time() - began
    began = time.process_time()
    for message in messages:
        decode(message.headers, message.value)
    ceiling = time.process_time() - began
    samples = traces * line.samples
    return TraceSpeed(
        rows=rows,
        variables=variables,
        traces=traces,
        samples_per_s=samples / seconds,
        decode_samples_per_s=samples / ceiling,
        ratio=ceiling / seconds,
        traces_per_s=traces / seconds,
        save_share=saving / seconds,
        risks=risks,
        alerts=alerts,
    )


def watch_state(policy: Policy, wafers: int, on_progress: Callable[[int], None]) -> StateOverTime:
    """Run the line until so many wafers are tested; look at the snapshot twenty times."""
    engine, line = Engine(policy, SITE), TraceLine(SITE, 10, 18)
    for event in line.states():
        engine.handle(event)
    looks: list[int] = []
    sizes: list[int] = []
    kept: dict[str, int] = {}
    every = max(1, wafers // 20)
    number = tested = traces = written = 0
    while tested < wafers:
        for event in line.tick(number):
            engine.handle(event)
            tested += isinstance(event, Prediction)
            traces += isinstance(event, Trace)
            if isinstance(event, Trace) and traces % _FEW == 0:
                written += _keep(kept, engine.changes())
        number += 1
        if tested and tested % every == 0:
            looks.append(tested)
            sizes.append(sum(kept.values()))
            on_progress(tested)
    return StateOverTime(
        wafers=looks,
        bytes=sizes,
        largest=max(sizes),
        growth=sizes[-1] / sizes[len(sizes) // 2],
        snapshot=len(engine.snapshot()),
        bytes_per_trace=written / traces,
    )


def _keep(kept: dict[str, int], changes: Changes) -> int:
    """Note the sizes of the parts that were written; how many bytes that were."""
    written = 0
    for part, data in changes.items():
        if data is None:
            del kept[part]
        else:
            kept[part] = len(data)
            written += len(data)
    return written
