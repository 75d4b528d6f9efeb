"""What really happened: hidden from everyone but those who judge. It never goes onto the log."""

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from fab_sim.maps import Hit
from fab_sim.modules import Illness, Module

__all__ = ["TrueExcursion", "TruthBook"]

# True patterns are remembered for so many wafers: a week or two of a real fab.
_REMEMBERED = 100_000


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
        affected: tested wafers that show it.
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
    affected: int = 0
    cleared_ms: int | None = None


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
        self._excursions[cause] = msgspec.structs.replace(
            self._excursions[cause], cleared_ms=time_ms
        )

    def shows(self, hit: Hit) -> None:
        """A tested wafer shows what `hit` did; one-off mishaps belong to no excursion."""
        known = self._excursions.get(hit.cause)
        if known is None:
            return
        first = known.first_affected_ms
        self._excursions[hit.cause] = msgspec.structs.replace(
            known,
            affected=known.affected + 1,
            first_affected_ms=hit.time_ms if first is None else min(first, hit.time_ms),
        )

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
