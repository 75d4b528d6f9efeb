"""Made-up fabs for the controller's tests: routes, traces and noisy predictions, with the truth."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from contracts.arrays import Array
from contracts.events import Alert, EquipmentState, Event, Prediction, ProcessEvent, Trace
from contracts.ids import derived_id
from contracts.wafer_map import PATTERNS

SITE = "kr1"
START_MS = 1_790_000_000_000
MINUTE_MS = 60_000
KINDS = ("clean", "deposition", "litho", "etch", "implant", "cmp")
VARIABLES = ("power_w", "pressure_pa", "temp_c", "flow_sccm")
LEVELS = np.array([900.0, 2.6, 60.0, 450.0])
SPREADS = np.array([3.0, 0.02, 0.2, 1.5])
TEST_DELAY_MS = 6 * 60 * MINUTE_MS


@dataclass
class Sick:
    """A module that spoils wafers from its n-th wafer to another, and whether traces show it."""

    module: str
    pattern: str
    first: int
    last: int = 10**9
    rate: float = 0.8
    shift: float = 0.0
    lead: int = 6


@dataclass
class Stream:
    """Events in time order, and what was spoilt."""

    events: list[Event] = field(default_factory=list)
    spoilt: dict[str, int] = field(default_factory=dict)


def prediction(
    substrate_id: str, predicted: tuple[str, ...], time_ms: int, lot_id: str = "L"
) -> Prediction:
    probabilities = tuple(1.0 if label in predicted else 0.0 for label in PATTERNS)
    return Prediction(
        event_id=derived_id("prediction", substrate_id),
        site=SITE,
        time_ms=time_ms,
        input_id=derived_id("map", substrate_id),
        input_type="fabpilot.wafer_map.v1",
        lot_id=lot_id,
        substrate_id=substrate_id,
        slot=1,
        labels=PATTERNS,
        probabilities=probabilities,
        predicted=predicted or ("None",),
        model_name="m",
        model_version="1",
        model_sha256="0" * 64,
        provider="CPUExecutionProvider",
    )


def process(
    phase: str, substrate_id: str, lot_id: str, module: str, step: str, sequence: int, time_ms: int
) -> ProcessEvent:
    equipment_id, _, module_id = module.partition("/")
    return ProcessEvent(
        event_id=derived_id(phase, substrate_id, sequence),
        site=SITE,
        time_ms=time_ms,
        phase="started" if phase == "started" else "completed",
        product="P",
        lot_id=lot_id,
        carrier_id="F",
        substrate_id=substrate_id,
        slot=1,
        equipment_id=equipment_id,
        module_id=module_id,
        process_job_id=f"PJ-{lot_id}-{sequence}",
        recipe_id=f"R-{step}",
        step=step,
        sequence=sequence,
    )


def trace(
    substrate_id: str,
    lot_id: str,
    module: str,
    step: str,
    sequence: int,
    time_ms: int,
    values: np.ndarray,
    variables: tuple[str, ...] = VARIABLES,
) -> Trace:
    equipment_id, _, module_id = module.partition("/")
    return Trace(
        event_id=derived_id("trace", substrate_id, sequence),
        site=SITE,
        time_ms=time_ms,
        lot_id=lot_id,
        substrate_id=substrate_id,
        slot=1,
        equipment_id=equipment_id,
        module_id=module_id,
        process_job_id=f"PJ-{lot_id}-{sequence}",
        recipe_id=f"R-{step}",
        step=step,
        sequence=sequence,
        variables=variables,
        sample_period_ms=1000.0,
        values=Array.of(values.astype(np.float32)),
    )


def state(module: str, kind: str, time_ms: int, **changes: object) -> EquipmentState:
    equipment_id, _, module_id = module.partition("/")
    fields: dict[str, object] = {"state": "standby", **changes}
    return EquipmentState(
        event_id=derived_id("state", module, time_ms),
        site=SITE,
        time_ms=time_ms,
        equipment_id=equipment_id,
        module_id=module_id,
        kind=kind,
        **fields,  # type: ignore[arg-type]
    )


def modules(kind: str) -> list[str]:
    return [f"{kind.upper()}-0{tool}/{module}" for tool in (1, 2) for module in "AB"]


def confused(patterns: set[str], rng: random.Random, background: float, miss: float) -> set[str]:
    """What a model would say: misses, mixes up, and sees patterns where there are none."""
    out = set()
    for pattern in sorted(patterns):
        if rng.random() < miss:
            if rng.random() < 0.6:
                out.add(rng.choice(PATTERNS[1:]))
            continue
        out.add(pattern)
    if rng.random() < background:
        out.add(rng.choice(PATTERNS[1:]))
    return out


def make(
    seed: int,
    sick: tuple[Sick, ...] = (),
    *,
    lots: int = 20,
    wafers: int = 25,
    background: float = 0.03,
    miss: float = 0.08,
    traces: bool = False,
) -> Stream:
    """A fab run: each lot goes over one tool a step, its wafers in a new order over two modules."""
    rng = random.Random(seed)
    numbers = np.random.default_rng(seed)
    stream = Stream()
    queue: list[tuple[int, int, Event]] = []
    counts: dict[str, int] = {}
    offsets: dict[str, np.ndarray] = {}

    def add(event: Event) -> None:
        heapq.heappush(queue, (event.time_ms, len(queue) + len(stream.events), event))

    for kind in KINDS:
        for module in modules(kind):
            add(state(module, kind, START_MS))
            offsets[module] = 0.5 * numbers.normal(size=len(VARIABLES))
    plan = []
    for lot in range(lots):
        at = START_MS + lot * 50 * MINUTE_MS
        for sequence, kind in enumerate(KINDS):
            plan.append((at + sequence * 70 * MINUTE_MS, lot, sequence, kind))
    truly: dict[str, set[str]] = {}
    for at, lot, sequence, kind in sorted(plan):
        tool = rng.choice((1, 2))
        order = list(range(1, wafers + 1))
        rng.shuffle(order)
        for place, slot in enumerate(order):
            lot_id, wafer = f"L{lot:03d}", f"L{lot:03d}.{slot:02d}"
            module = f"{kind.upper()}-0{tool}/{'AB'[place % 2]}"
            start = at + place // 2 * 3 * MINUTE_MS + place % 2 * 1000
            count = counts[module] = counts.get(module, 0) + 1
            add(process("started", wafer, lot_id, module, kind, sequence, start))
            end = start + 2 * MINUTE_MS
            add(process("completed", wafer, lot_id, module, kind, sequence, end))
            here = [s for s in sick if s.module == module and s.first <= count <= s.last]
            for one in here:
                if rng.random() < one.rate:
                    truly.setdefault(wafer, set()).add(one.pattern)
                    stream.spoilt[one.module] = stream.spoilt.get(one.module, 0) + 1
            if traces:
                level = LEVELS + SPREADS * (offsets[module] + numbers.normal(size=len(VARIABLES)))
                for one in sick:
                    if one.module == module and one.first - one.lead <= count <= one.last:
                        level[0] += one.shift * SPREADS[0]
                values = level + 0.5 * SPREADS * numbers.normal(size=(60, len(VARIABLES)))
                add(trace(wafer, lot_id, module, kind, sequence, end, values))
    for lot in range(lots):
        done = START_MS + (lot * 50 + len(KINDS) * 70) * MINUTE_MS + TEST_DELAY_MS
        for slot in range(1, wafers + 1):
            wafer = f"L{lot:03d}.{slot:02d}"
            seen = confused(truly.get(wafer, set()), rng, background, miss)
            add(prediction(wafer, tuple(sorted(seen)), done, f"L{lot:03d}"))
    while queue:
        stream.events.append(heapq.heappop(queue)[2])
    return stream


def suspects(events: list[Event]) -> Iterator[tuple[str, str]]:
    """(alert id, suspect module at the last revision) of every alert."""
    last: dict[str, str] = {}
    for event in events:
        if isinstance(event, Alert):
            last[event.alert_id] = event.suspect_module
    return iter(last.items())
