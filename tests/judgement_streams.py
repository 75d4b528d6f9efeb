"""Made-up judgements of served fault models, with the wafers that they are about."""

import random
from collections.abc import Iterator

from contracts.events import Contribution, Event, TraceJudgement
from contracts.ids import derived_id
from tests.control_streams import MINUTE_MS, SITE, START_MS, process

STEP = "ETCH"
MODULES = ("ETCH-01/A", "ETCH-01/B", "ETCH-02/A", "ETCH-02/B")
# As a fault model tells it: parts that add up to the score, the largest first.
PARTS = (("rf_reflected_w", 0.6), ("match_position_pct", 0.3), ("pressure_pa", 0.1))


def judgement(
    substrate_id: str,
    module: str,
    time_ms: int,
    score: float | None,
    version: str = "3",
    **changes: object,
) -> TraceJudgement:
    equipment_id, _, module_id = module.partition("/")
    fields: dict[str, object] = {
        "event_id": derived_id("judgement", substrate_id, module, time_ms, version),
        "task": "fault",
        "score": score,
        "model_name": "trace-fault",
        "contributions": tuple(
            Contribution(variable=name, value=part * (score or 0.0)) for name, part in PARTS
        ),
        **changes,
    }
    return TraceJudgement(
        site=SITE,
        time_ms=time_ms,
        input_id=derived_id("trace", substrate_id),
        lot_id=substrate_id.partition(".")[0],
        substrate_id=substrate_id,
        slot=1,
        equipment_id=equipment_id,
        module_id=module_id,
        recipe_id=f"R-{STEP}",
        step=STEP,
        model_version=version,
        model_sha256="c" * 64,
        provider="CPUExecutionProvider",
        **fields,  # type: ignore[arg-type]
    )


class Line:
    """Wafers that go through the modules in turn, each judged when it is done.

    Args:
        seed: of what is beyond the limit by chance.
        rate: share of those.
        sick: module, to the share of its runs beyond the limit.
    """

    def __init__(
        self, seed: int = 0, rate: float = 0.01, sick: dict[str, float] | None = None
    ) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self.sick = sick or {}
        self.number = 0

    @property
    def now_ms(self) -> int:
        """When the latest wafer was done."""
        return START_MS + self.number * 2 * MINUTE_MS

    def wafer(self, *, judged: bool = True) -> list[Event]:
        """Started, completed, judged."""
        module = MODULES[self.number % len(MODULES)]
        name = f"L{self.number // 25:04d}.{self.number % 25 + 1:02d}"
        self.number += 1
        lot = name.partition(".")[0]
        treated: list[Event] = [
            process("started", name, lot, module, STEP, 0, self.now_ms - MINUTE_MS),
            process("completed", name, lot, module, STEP, 0, self.now_ms),
        ]
        beyond = self._random.random() < self.sick.get(module, self._rate)
        score = 1.0 + 9.0 * self._random.random() if beyond else self._random.random()
        return [*treated, judgement(name, module, self.now_ms, score)] if judged else treated

    def wafers(self, count: int, *, judged: bool = True) -> Iterator[Event]:
        """Many of them."""
        for _ in range(count):
            yield from self.wafer(judged=judged)
