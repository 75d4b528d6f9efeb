"""What really happened: hidden from everyone but those who judge. It never goes onto the log."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from fab_sim.maps import Hit
from fab_sim.modules import Illness, Module

__all__ = ["ModuleHour", "TrueExcursion", "TruthBook", "TruthSink", "WaferTruth"]

# True patterns are remembered for so many wafers: more than are looked at, and little memory.
_REMEMBERED = 10_000


class TrueExcursion(msgspec.Struct, frozen=True, kw_only=True):
    """One excursion that began.

    Attributes:
        excursion_id: its id in the scenario.
        mode: the failure mode.
        module: 'equipment/module', as in the keys of events.
        pattern: what it does to wafer maps.
        onset_ms: when it began, on the fab's clock.
        first_affected_ms: when the module spoilt the first wafer that has been tested and shows
            it; None if there is none yet.
        first_affected_wafer: its substrate id.
        affected: tested wafers that show it.
        detected_ms: when the first action on its module was obeyed; None while there was none.
        stopped_ms: when it stopped doing harm: the module inhibited or taken down, or the recipe
            changed to make up for it; None while it goes on.
        cleared_ms: when maintenance ended it; None while it goes on.
    """

    excursion_id: str
    mode: str
    equipment_id: str
    module_id: str
    module: str
    pattern: str
    onset_ms: int
    first_affected_ms: int | None = None
    first_affected_wafer: str = ""
    affected: int = 0
    detected_ms: int | None = None
    stopped_ms: int | None = None
    cleared_ms: int | None = None


class WaferTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What really happened to a wafer, known once it is tested.

    Attributes:
        started_ms: when its lot entered the line; `tested_ms` when it was tested.
        dies: on the wafer; `good` of them passed.
        patterns: true ones, strongest first; ('None',) where nothing shows.
        hits: all that happened to it, in order, whether it shows or not.
        guilty: for each hit, whether it shows.
        grid: (rows, columns) uint8 of 0, 1, 2.
        killed_by: (rows, columns) int16, what killed a die; see `fab_sim.maps`.
    """

    site: str
    substrate_id: str
    lot_id: str
    product: str
    slot: int
    started_ms: int
    tested_ms: int
    dies: int
    good: int
    patterns: tuple[str, ...]
    hits: tuple[Hit, ...]
    guilty: tuple[bool, ...]
    grid: npt.NDArray[np.uint8]
    killed_by: npt.NDArray[np.int16]


class ModuleHour(msgspec.Struct, frozen=True, kw_only=True):
    """How a module really stood at the end of an hour.

    Attributes:
        hour: of the fab, from 1.
        wafers_since_pm: processed since the last maintenance.
        modes: failure modes at work on it, with `progress` from 0 to 1 of each.
    """

    site: str
    hour: int
    module: str
    kind: str
    state: str
    inhibited: bool
    wafers_since_pm: int
    modes: tuple[str, ...]
    progress: tuple[float, ...]


class TruthSink(Protocol):
    """Is told the truth as it becomes known. It never goes onto the log."""

    def wafer(self, truth: WaferTruth) -> None:
        """A wafer was tested."""
        ...

    def hour(self, modules: Sequence[ModuleHour]) -> None:
        """An hour of the fab has passed."""
        ...


class TruthBook:
    """Keeps the truth while the fab runs, in bounded memory."""

    def __init__(self) -> None:
        self._excursions: dict[str, TrueExcursion] = {}
        self._patterns: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def began(self, cause: str, module: Module, illness: Illness) -> None:
        """An excursion began."""
        self._excursions[cause] = TrueExcursion(
            excursion_id=illness.excursion.id,
            mode=illness.excursion.mode,
            equipment_id=module.equipment_id,
            module_id=module.module_id,
            module=module.name,
            pattern=illness.mode.pattern,
            onset_ms=illness.onset_ms,
        )

    def cleared(self, cause: str, time_ms: int) -> None:
        """Maintenance ended it."""
        known = self._excursions[cause]
        self._excursions[cause] = msgspec.structs.replace(
            known,
            cleared_ms=time_ms,
            stopped_ms=time_ms if known.stopped_ms is None else known.stopped_ms,
        )

    def acted(self, cause: str, time_ms: int, *, stops: bool) -> None:
        """An action on its module was obeyed, and `stops` the harm or not."""
        known = self._excursions[cause]
        self._excursions[cause] = msgspec.structs.replace(
            known,
            detected_ms=time_ms if known.detected_ms is None else known.detected_ms,
            stopped_ms=time_ms if stops and known.stopped_ms is None else known.stopped_ms,
        )

    def shows(self, hit: Hit, substrate_id: str) -> None:
        """A tested wafer shows what `hit` did; one-off mishaps belong to no excursion."""
        known = self._excursions.get(hit.cause)
        if known is None:
            return
        first = known.first_affected_ms
        if first is None or hit.time_ms < first:
            known = msgspec.structs.replace(
                known, first_affected_ms=hit.time_ms, first_affected_wafer=substrate_id
            )
        self._excursions[hit.cause] = msgspec.structs.replace(known, affected=known.affected + 1)

    def tested(self, substrate_id: str, patterns: tuple[str, ...]) -> None:
        """What a tested wafer truly has."""
        self._patterns[substrate_id] = patterns
        if len(self._patterns) > _REMEMBERED:
            self._patterns.popitem(last=False)

    def excursions(self) -> tuple[TrueExcursion, ...]:
        """All that began, by their onset."""
        return tuple(
            sorted(self._excursions.values(), key=lambda item: (item.onset_ms, item.excursion_id))
        )

    def patterns(self) -> Mapping[str, tuple[str, ...]]:
        """True patterns of the latest wafers, read-only."""
        return MappingProxyType(self._patterns)
