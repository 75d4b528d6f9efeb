"""A line for measuring: wafers that move one step a tick over many modules, each with its trace.

Everything is normal but for modules that are told to be sick; nothing is simulated besides, so that
the line costs next to nothing beside what is measured.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from contracts.arrays import Array
from contracts.events import EquipmentState, Event, Prediction, ProcessEvent, Trace, WaferMap
from contracts.ids import derived_id
from contracts.wafer_map import PATTERNS

__all__ = ["START_MS", "STEPS", "TraceLine"]

START_MS = 1_767_225_600_000
STEPS = 34
# Modules of each of seven kinds: 53, as in the default fab. Step s is done by kind s % 7.
_MODULES = (8, 8, 8, 8, 7, 7, 7)
_LOT = 25
# Wafers between two neighbours on the route, and ticks from the last step to the test.
_APART, _TEST_AFTER = 25, 40
_TICK_MS = 60_000
_POOL = 97
# One wafer in so many is said to show a pattern.
_BAD_EVERY = 50


class TraceLine:
    """Events of a line, tick by tick.

    Args:
        site: whose.
        rows: of each trace.
        variables: of each trace.
        name: begins the lots' names, so that two lines differ.
        start_ms: of the first tick.
    """

    def __init__(
        self, site: str, rows: int, variables: int, *, name: str = "L", start_ms: int = START_MS
    ) -> None:
        self._site = site
        self._name = name
        self._start_ms = start_ms
        self._names = tuple(f"sensor_{number}_w" for number in range(variables))
        noise = np.random.default_rng(1).normal(size=(_POOL, rows, variables))
        apart = np.random.default_rng(2).normal(size=(_POOL, 1, variables))
        self._pool = [(100.0 + apart[k] + 0.6 * noise[k]).astype(np.float32) for k in range(_POOL)]
        self.samples = rows * variables

    def modules(self) -> list[str]:
        """All 53, 'equipment/module'."""
        return [
            f"K{kind}-{number // 2 + 1:02d}/{'AB'[number % 2]}"
            for kind, count in enumerate(_MODULES)
            for number in range(count)
        ]

    def states(self) -> list[Event]:
        """What the modules say about themselves at the start."""
        return [
            EquipmentState(
                event_id=derived_id("state", self._name, module),
                site=self._site,
                time_ms=self._start_ms,
                equipment_id=module.partition("/")[0],
                module_id=module.partition("/")[2],
                kind=module[:2].lower(),
                state="standby",
            )
            for module in self.modules()
        ]

    def tick(self, number: int) -> Iterator[Event]:
        """What happens in a tick: a wafer moves on at every step, and one is tested."""
        time_ms = self._start_ms + number * _TICK_MS
        for step in range(STEPS):
            wafer = number - step * _APART
            if wafer >= 0:
                yield from self.treated(wafer, step, time_ms)
        tested = number - (STEPS - 1) * _APART - _TEST_AFTER
        if tested >= 0:
            yield self.tested(tested, time_ms)

    def module_of(self, wafer: int, step: int) -> str:
        """Where a wafer does a step."""
        kind = step % len(_MODULES)
        number = (wafer * 5 + step) % _MODULES[kind]
        return f"K{kind}-{number // 2 + 1:02d}/{'AB'[number % 2]}"

    def treated(
        self,
        wafer: int,
        step: int,
        time_ms: int,
        *,
        module: str = "",
        shift: float = 0.0,
        sensor: int = 0,
    ) -> Sequence[Event]:
        """A step of a wafer: started, completed, and its trace, `shift` spreads off in one sensor.

        Args:
            wafer: counts from 0.
            step: place in the route.
            time_ms: of its end.
            module: where; by default one after another.
            shift: of the sensor.
            sensor: its number.
        """
        equipment_id, _, module_id = (module or self.module_of(wafer, step)).partition("/")
        lot = f"{self._name}{wafer // _LOT:06d}"
        substrate = f"{lot}.{wafer % _LOT + 1:02d}"
        values = self._pool[(wafer * 31 + step * 7) % _POOL]
        if shift:
            values = values.copy()
            values[:, sensor] += np.float32(shift)
        job, recipe, name = f"PJ-{lot}-{step}", f"R{step:02d}", f"S{step:02d}"
        phases = (("started", time_ms - _TICK_MS // 2), ("completed", time_ms))
        return [
            *(
                ProcessEvent(
                    event_id=derived_id(phase, substrate, step),
                    site=self._site,
                    time_ms=when,
                    phase="started" if phase == "started" else "completed",
                    product="P",
                    lot_id=lot,
                    carrier_id="F",
                    substrate_id=substrate,
                    slot=wafer % _LOT + 1,
                    equipment_id=equipment_id,
                    module_id=module_id,
                    process_job_id=job,
                    recipe_id=recipe,
                    step=name,
                    sequence=step,
                )
                for phase, when in phases
            ),
            Trace(
                event_id=derived_id("trace", substrate, step),
                site=self._site,
                time_ms=time_ms,
                lot_id=lot,
                substrate_id=substrate,
                slot=wafer % _LOT + 1,
                equipment_id=equipment_id,
                module_id=module_id,
                process_job_id=job,
                recipe_id=recipe,
                step=name,
                sequence=step,
                variables=self._names,
                sample_period_ms=1000.0,
                values=Array.of(values),
            ),
        ]

    def tested(self, wafer: int, time_ms: int) -> Prediction:
        """A wafer's test result."""
        lot = f"{self._name}{wafer // _LOT:06d}"
        substrate = f"{lot}.{wafer % _LOT + 1:02d}"
        bad = wafer % _BAD_EVERY == 0
        label = PATTERNS[1 + wafer // _BAD_EVERY % (len(PATTERNS) - 1)] if bad else "None"
        return Prediction(
            event_id=derived_id("prediction", substrate),
            site=self._site,
            time_ms=time_ms,
            input_id=derived_id("map", substrate),
            input_type=WaferMap.ce_type,
            lot_id=lot,
            substrate_id=substrate,
            slot=wafer % _LOT + 1,
            labels=PATTERNS,
            probabilities=tuple(1.0 if name == label else 0.0 for name in PATTERNS),
            predicted=(label,),
            model_name="line",
            model_version="1",
            model_sha256="0" * 64,
            provider="none",
        )
