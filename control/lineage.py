"""Which wafer went through which equipment, module, recipe and step, and when. Bounded.

Wafers in progress, tested wafers and places have upper limits, so that a flood of foreign ids
costs memory only up to them; the oldest go first.
"""

from bisect import insort
from collections import defaultdict, deque
from collections.abc import Iterator

from contracts.events import Prediction, ProcessEvent, Trace
from control.state import ControlState, Place, Visit, WaferRecord

__all__ = ["Lineage"]

# 500 lots' worth of bookkeeping would not fit the database row written with every batch; these
# keep the snapshot below 2 MB with routes of a dozen steps.
MAX_WAFERS = 5_000
MAX_TESTED = 1_500
MAX_PLACES = 2_048
MAX_VISITS = 40
MAX_PATTERNS = 8
_HOUR_MS = 3_600_000


class Lineage:
    """The genealogy in a `ControlState`, with the indices that make it quick to ask.

    Args:
        state: changed in place.
        remember_h: hours after its test that a wafer is forgotten.

    Raises:
        ValueError: the state contradicts itself.
    """

    def __init__(self, state: ControlState, remember_h: float) -> None:
        self._state = state
        self._remember_ms = int(remember_h * _HOUR_MS)
        self._place_index = {place: index for index, place in enumerate(state.places)}
        self._tested = deque(state.tested)
        self._through: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._touched: set[str] = set()
        self._gone: set[str] = set()
        self._noting = False
        for substrate_id in state.tested:
            if substrate_id not in state.wafers:
                raise ValueError(f"wafer {substrate_id!r} was tested and is not known")
            self._index(substrate_id)

    @property
    def tested(self) -> deque[str]:
        """Substrate ids of tested wafers, in the order in which their results came."""
        return self._tested

    def save(self) -> None:
        """Put what is kept outside the state back into it."""
        self._state.tested = list(self._tested)

    def touch(self, substrate_id: str) -> None:
        """A wafer's record changes: whoever changes one says so, or it is not saved."""
        if self._noting:
            self._touched.add(substrate_id)

    def take_changes(self) -> tuple[set[str], set[str]]:
        """Wafers that changed and wafers that were forgotten since the last call.

        Nothing is noted before the first call, as long as nobody asks.
        """
        changes = self._touched, self._gone
        self._touched, self._gone = set(), set()
        self._noting = True
        return changes

    def wafer(self, substrate_id: str) -> WaferRecord | None:
        """What is known about a wafer."""
        return self._state.wafers.get(substrate_id)

    def place(self, visit: Visit) -> Place:
        """Where a visit was."""
        return self._state.places[visit.place]

    def through(self, module: str) -> list[tuple[int, str]]:
        """(time_ms, substrate id) of the tested wafers that went through a module, by time."""
        return self._through.get(module, [])

    def modules_of(self, substrate_id: str) -> dict[str, int]:
        """The modules a wafer went through, to when it last did."""
        record = self._state.wafers.get(substrate_id)
        if record is None:
            return {}
        out: dict[str, int] = {}
        for visit in record.visits:
            module = self._state.places[visit.place].module
            out[module] = max(visit.time_ms, out.get(module, visit.time_ms))
        return out

    def visits_to(self, substrate_id: str) -> list[tuple[str, int]]:
        """(module, time_ms) of every step of a wafer: routes come back to the same modules."""
        record = self._state.wafers.get(substrate_id)
        if record is None:
            return []
        places = self._state.places
        return [(places[visit.place].module, visit.time_ms) for visit in record.visits]

    def first_at(self, substrate_id: str, module: str) -> int:
        """When a module first treated a wafer; -1 if it never did."""
        return min((t for name, t in self.visits_to(substrate_id) if name == module), default=-1)

    def untested(self) -> Iterator[tuple[str, WaferRecord]]:
        """Wafers in progress."""
        return ((name, wafer) for name, wafer in self._state.wafers.items() if wafer.tested_ms < 0)

    def record_visit(self, event: ProcessEvent) -> bool:
        """Take note of a process event; False if it says nothing new.

        An event that comes after the wafer's own test result still counts.
        """
        place = Place(event.equipment_id, event.module_id, event.recipe_id, event.step)
        wafer = self._state.wafers.get(event.substrate_id)
        self.touch(event.substrate_id)
        completed = event.phase == "completed"
        if wafer is not None:
            for visit in wafer.visits:
                known = self._state.places[visit.place]
                # A measurement that was asked for has the number of the step it comes before.
                if visit.sequence == event.sequence and known.step == event.step:
                    if visit.completed or not completed or known != place:
                        return False
                    if wafer.tested_ms >= 0:
                        self._unindex(event.substrate_id)
                    visit.time_ms, visit.completed = event.time_ms, True
                    if wafer.tested_ms >= 0:
                        self._index(event.substrate_id)
                    return True
            if len(wafer.visits) >= MAX_VISITS:
                return False
        index = self._place_of(place)
        if index is None:
            return False
        if wafer is None:
            wafer = self._add(event.substrate_id, event.lot_id)
        elif wafer.tested_ms >= 0:
            self._unindex(event.substrate_id)
        wafer.visits.append(Visit(event.sequence, index, event.time_ms, completed))
        if wafer.tested_ms >= 0:
            self._index(event.substrate_id)
        return True

    def record_trace(self, event: Trace) -> bool:
        """Mark a visit as traced; False if it already was. Unknown visits are let through."""
        wafer = self._state.wafers.get(event.substrate_id)
        if wafer is None:
            return True
        for visit in wafer.visits:
            step = self._state.places[visit.place].step
            if visit.sequence == event.sequence and step == event.step:
                if visit.traced:
                    return False
                visit.traced = True
                self.touch(event.substrate_id)
        return True

    def record_test(self, event: Prediction) -> WaferRecord | None:
        """Take note of a test result; None if the wafer already has one: a wafer counts once."""
        wafer = self._state.wafers.get(event.substrate_id)
        if wafer is not None and wafer.tested_ms >= 0:
            return None
        if wafer is None:
            wafer = self._add(event.substrate_id, event.lot_id)
        self.touch(event.substrate_id)
        wafer.tested_ms = event.time_ms
        patterns = dict.fromkeys(
            label for label in event.predicted if label != "None" and 0 < len(label) <= 40
        )
        wafer.patterns = tuple(patterns)[:MAX_PATTERNS]
        self._tested.append(event.substrate_id)
        self._index(event.substrate_id)
        self._forget()
        return wafer

    def _add(self, substrate_id: str, lot_id: str) -> WaferRecord:
        while len(self._state.wafers) >= MAX_WAFERS:
            oldest = next(iter(self._state.wafers))
            if self._state.wafers[oldest].tested_ms >= 0:
                self._unindex(oldest)
                self._tested.remove(oldest)
            self._drop(oldest)
        wafer = WaferRecord(lot_id, [])
        self._state.wafers[substrate_id] = wafer
        return wafer

    def _drop(self, substrate_id: str) -> None:
        del self._state.wafers[substrate_id]
        if self._noting:
            self._gone.add(substrate_id)

    def _forget(self) -> None:
        horizon = self._state.now_ms - self._remember_ms
        while self._tested:
            oldest = self._tested[0]
            if len(self._tested) <= MAX_TESTED and self._state.wafers[oldest].tested_ms >= horizon:
                break
            self._unindex(oldest)
            self._tested.popleft()
            self._drop(oldest)

    def _place_of(self, place: Place) -> int | None:
        index = self._place_index.get(place)
        if index is not None:
            return index
        if len(self._state.places) >= MAX_PLACES:
            self._compact()
            if len(self._state.places) >= MAX_PLACES:
                return None
        self._place_index[place] = len(self._state.places)
        self._state.places.append(place)
        return self._place_index[place]

    def _compact(self) -> None:
        """Drop the places no remembered wafer was at."""
        used = sorted({v.place for wafer in self._state.wafers.values() for v in wafer.visits})
        renamed = {old: new for new, old in enumerate(used)}
        self._state.places = [self._state.places[old] for old in used]
        self._place_index = {place: index for index, place in enumerate(self._state.places)}
        for name, wafer in self._state.wafers.items():
            for visit in wafer.visits:
                visit.place = renamed[visit.place]
            self.touch(name)

    def _index(self, substrate_id: str) -> None:
        for module, time_ms in self.modules_of(substrate_id).items():
            insort(self._through[module], (time_ms, substrate_id))

    def _unindex(self, substrate_id: str) -> None:
        for module, time_ms in self.modules_of(substrate_id).items():
            entries = self._through[module]
            entries.remove((time_ms, substrate_id))
            if not entries:
                del self._through[module]
