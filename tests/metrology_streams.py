"""Lots that modules treat and that are measured afterwards, for the controller's tests."""

from collections.abc import Sequence

import numpy as np

from contracts.events import Action, ChartPoint, Event, Metrology
from contracts.ids import derived_id
from control.engine import Engine
from tests.control_streams import MINUTE_MS, SITE, START_MS, process

MODULES = ("E-1/A", "E-1/B", "E-2/A", "E-2/B")
PARAMETER = "film_nm"


def metrology(
    substrate_id: str,
    lot_id: str,
    step: str,
    time_ms: int,
    values: Sequence[float],
    parameter: str = PARAMETER,
) -> Metrology:
    return Metrology(
        event_id=derived_id("metrology", substrate_id, step, parameter, time_ms),
        site=SITE,
        time_ms=time_ms,
        lot_id=lot_id,
        substrate_id=substrate_id,
        slot=1,
        equipment_id="MET-1",
        step=step,
        parameter=parameter,
        x_mm=tuple(0.0 for _ in values),
        y_mm=tuple(0.0 for _ in values),
        values=tuple(values),
    )


def lot_at(lot: int) -> int:
    """When a lot is treated."""
    return START_MS + lot * 60 * MINUTE_MS


def lot_events(
    lot: int,
    module: str,
    means: Sequence[float],
    *,
    step: str = "S0",
    parameter: str = PARAMETER,
    delay_min: int = 120,
    product: str = "P",
) -> list[Event]:
    """A lot's wafers on one module, and their measurement two hours later."""
    out: list[Event] = []
    lot_id = f"L{lot:04d}"
    for place, mean in enumerate(means):
        wafer = f"{lot_id}.{step}.{module[-3:].replace('/', '')}.{place}"
        at = lot_at(lot) + place * MINUTE_MS
        out.append(process("completed", wafer, lot_id, module, step, 0, at))
        measured_at = lot_at(lot) + delay_min * MINUTE_MS
        out.append(metrology(wafer, lot_id, step, measured_at, (mean,) * 3, parameter))
    return out


def feed(engine: Engine, events: Sequence[Event]) -> list[Event]:
    """What the engine says, events in time order."""
    out: list[Event] = []
    for event in sorted(events, key=lambda event: event.time_ms):
        out += engine.handle(event)
    return out


def points(told: Sequence[Event]) -> list[ChartPoint]:
    return [event for event in told if isinstance(event, ChartPoint)]


def actions(told: Sequence[Event]) -> list[Action]:
    return [event for event in told if isinstance(event, Action)]


def quiet_lots(
    lots: range, seed: int = 0, steps: Sequence[str] = ("S0",), offsets: Sequence[float] = (0,) * 4
) -> list[Event]:
    """Lots of three wafers on each module, mean 100 and sigma 1, steps 50 apart."""
    random = np.random.default_rng(seed)
    out: list[Event] = []
    for lot in lots:
        for step_place, step in enumerate(steps):
            for module, offset in zip(MODULES, offsets, strict=True):
                means = 100.0 + 50.0 * step_place + offset + random.normal(size=3)
                out += lot_events(lot, module, means.tolist(), step=step)
    return out
