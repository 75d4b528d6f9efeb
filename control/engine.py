"""The controller of one site: events in, alerts and actions out, nothing else touched.

No clock, no files, no chance: what comes out depends on the events and the saved state alone, so
a restart anywhere gives the same alerts and actions with the same ids. The order in which one
event is dealt with:

1. Refuse what is another site's, was seen before, or lies outside the plausible times.
2. Take note of it: lineage, module states, decisions of people.
3. Judge: traces against their charts, test results against chance, the model against its past.
4. Tell: a new or revised alert where it matters, and the action that would help, if the guard
   rails allow it.
"""

from collections import deque
from collections.abc import Mapping
from hashlib import blake2b
from zlib import crc32

import numpy as np

from contracts.errors import DataError, TraceError
from contracts.events import (
    Action,
    AlertDecision,
    AutomationSwitch,
    EquipmentState,
    Event,
    Metrology,
    Prediction,
    ProcessEvent,
    Trace,
    TraceJudgement,
    VirtualMetrology,
    WaferMap,
)
from contracts.ids import check_site
from control.causes import Causes
from control.desk import Desk
from control.fab_time import FabTime
from control.faults import FaultWatch
from control.lineage import Lineage
from control.metrology_watch import MetrologyWatch
from control.model_watch import ModelWatch
from control.policy import Policy
from control.risk import RiskWatch
from control.run_to_run_threads import RunToRunThreads
from control.state import ControlState, ModuleRecord, dump_state, load_state
from control.state_parts import Changes, Parts, join
from control.virtual_metrology import VirtualWatch

__all__ = ["Engine"]

# A replay from the log's last minutes is caught here, an older one by the lineage.
REMEMBERED_IDS = 8_192
# More modules than any fab has; a flood of invented ones stops here.
MAX_MODULES = 500
MAX_STEPS = 32
TRACE_AHEAD_MS = 86_400_000
# Read again from the log, a judgement comes just before what its wafer did at the same moment.
JUDGEMENT_AHEAD_MS = 3_600_000
MAX_NAME = 64
_OF_THE_FAB = (ProcessEvent, EquipmentState, Trace, Prediction, Metrology, VirtualMetrology)
_DOWN = frozenset({"engineering", "scheduled_down", "unscheduled_down", "non_scheduled"})


class Engine:
    """Watches one site.

    Args:
        policy: how sure to be, and what may be done.
        site: whose events these are.
        state: what `snapshot` gave, or all parts that `changes` gave, each as it was given last;
            None to start with nothing.

    Raises:
        ConfigError: `site` is no site name.
        DataError: `state` is damaged, of another version, or another site's.
    """

    def __init__(
        self, policy: Policy, site: str, state: bytes | Mapping[str, bytes] | None = None
    ) -> None:
        check_site(site)
        self._policy = policy
        self._parts = Parts(REMEMBERED_IDS)
        if isinstance(state, Mapping):
            self._state, self._parts, self._heard = join(state, site, REMEMBERED_IDS)
        else:
            self._state = ControlState(site) if state is None else load_state(state, site)
            self._heard = len(self._state.recent_ids)
        detection = policy.detection
        try:
            self._recent = deque(self._state.recent_ids, maxlen=REMEMBERED_IDS)
            self._known = set(self._recent)
            self._time = FabTime(self._state)
            self._lineage = Lineage(self._state, detection.remember_h)
            self._causes = Causes(self._state, self._lineage)
            self._faults = FaultWatch(self._state, detection)
            self._watch = ModelWatch(policy, self._state, self._lineage)
            self._risk = RiskWatch(policy, self._state, self._lineage)
            self._virtual = VirtualWatch(policy, self._state, self._lineage)
            self._metrology = MetrologyWatch(policy, self._state, self._lineage)
            self._desk = Desk(policy, self._state, self._lineage, self._causes, self._faults)
            self._threads = RunToRunThreads(policy, self._state, self._desk.orders)
        except (KeyError, IndexError, ValueError) as error:
            raise DataError(
                f"the saved state of the controller of {site!r} contradicts itself ({error!r}):"
                " restore the database's backup, or start the controller with an empty state"
            ) from error
        # What is not written yet: all, unless it came in parts.
        self._unsaved: set[str] = set()
        self._unsaved_virtual: set[str] = set()
        if isinstance(state, Mapping):
            self._lineage.take_changes()
        else:
            self._unsaved, self._unsaved_virtual = set(self._state.groups), set(self._state.virtual)

    @property
    def ignored(self) -> dict[str, int]:
        """How many events were not used, by reason."""
        return dict(self._state.ignored)

    def snapshot(self) -> bytes:
        """Everything to go on from here, as bytes (below 2 MB)."""
        self._save()
        return dump_state(self._state)

    def changes(self) -> Changes:
        """What changed since the last call, in parts to be kept by name; the first gives all.

        A part that is None is gone. All parts that are left, given to a new engine, are what
        `snapshot` would have been.
        """
        self._save()
        groups, self._unsaved = self._unsaved, set()
        virtual, self._unsaved_virtual = self._unsaved_virtual, set()
        wafers, gone = self._lineage.take_changes()
        return self._parts.changes(
            self._state,
            wafers=wafers,
            gone=gone,
            groups=groups,
            virtual=virtual | self._virtual.take_changes(),
            heard=self._heard,
        )

    def _save(self) -> None:
        """Put what is kept outside the state back into it."""
        self._state.recent_ids = list(self._recent)
        self._lineage.save()
        self._unsaved |= self._faults.save()
        self._metrology.save()
        self._threads.save()

    def handle(self, event: Event) -> list[Event]:
        """Take in one event.

        Returns:
            Alerts and actions that follow from it, mostly none.

        Raises:
            TraceError: a trace whose array does not fit its variables; nothing was changed.
        """
        if event.site != self._state.site:
            return self._ignore("another site")
        if isinstance(event, Trace):
            _check(event)
        if isinstance(event, TraceJudgement):
            # Its chart knows what it has had: it must not push the fab's events out of memory.
            return self._judged(event)
        if self._seen(event.event_id):
            return self._ignore("seen before")
        if isinstance(event, Action):
            self._threads.heard(event)
            return self._desk.heard(event)
        if isinstance(event, AlertDecision):
            return self._desk.decided(event)
        if isinstance(event, AutomationSwitch):
            return self._desk.switch(event)
        if not isinstance(event, _OF_THE_FAB):
            return []
        if not _named(event):
            return self._ignore("a name is missing or too long")
        now_ms = self._state.now_ms
        if isinstance(event, Trace) and 0 <= now_ms < event.time_ms - TRACE_AHEAD_MS:
            # Whoever treats wafers says so: a trace alone does not move the fab's clock by a day.
            return self._ignore("trace from the future")
        if not self._time.accept(event.time_ms):
            return self._ignore("implausible time")
        if isinstance(event, ProcessEvent):
            told = self._processed(event)
        elif isinstance(event, EquipmentState):
            told = self._equipment(event)
        elif isinstance(event, Trace):
            told = self._traced(event)
        elif isinstance(event, Metrology):
            told = self._measured(event)
        elif isinstance(event, VirtualMetrology):
            told = self._threads.foretold(event)
        else:
            told = self._tested(event)
        return told + self._charted() + self._desk.later()

    def _processed(self, event: ProcessEvent) -> list[Event]:
        module = self._module(event.key)
        if module is None:
            return self._ignore("too many modules")
        if event.step in module.steps or len(module.steps) < MAX_STEPS:
            module.steps[event.step] = max(event.time_ms, module.steps.get(event.step, -1))
        module.last_ms = max(module.last_ms, event.time_ms)
        if not self._lineage.record_visit(event):
            return self._ignore("process event that says nothing new")
        self._threads.processed(event)
        wafer = self._lineage.wafer(event.substrate_id)
        if wafer is not None and wafer.tested_ms >= 0:
            self._causes.note(event.substrate_id)
        return self._risk.processed(event)

    def _equipment(self, event: EquipmentState) -> list[Event]:
        module = self._module(event.key)
        if module is None:
            return self._ignore("too many modules")
        if event.time_ms < module.last_ms and module.kind:
            return self._ignore("equipment state that is out of date")
        was_down, was_inhibited = module.down, module.inhibited
        before = module.state
        module.kind, module.state = event.kind, event.state
        module.down = event.state in _DOWN
        module.inhibited = event.inhibited
        module.last_ms = max(module.last_ms, event.time_ms)
        if was_down and not module.down:
            module.repaired_ms = event.time_ms
            if before == "scheduled_down":
                self._faults.settle(event.key)
            else:
                self._faults.forgive(event.key)
            self._risk.repaired(event.key, event.time_ms)
            self._desk.returned(event.key, event.time_ms, broke=before == "unscheduled_down")
            self._metrology.repaired(event.key)
            return self._threads.repaired(event.key)
        elif event.inhibited and not was_inhibited:
            self._desk.removed(event.key, event.time_ms)
        return []

    def _traced(self, event: Trace) -> list[Event]:
        module = self._module(event.key)
        if module is None:
            return self._ignore("too many modules")
        if not self._lineage.record_trace(event):
            return self._ignore("trace seen before")
        readings = crc32(event.values.data)
        if module.readings == readings:
            return self._ignore("trace with the readings of the one before")
        module.readings = readings
        module.traced_ms = max(module.traced_ms, event.time_ms)
        module.missing = _missing(event)
        verdict = self._faults.watch(event)
        if verdict is None:
            compared = self._faults.compare(event)
            risks = [] if compared is None else self._risk.traced(event, compared)
            told = self._desk.warming(event, compared)
            if told is None:
                return risks
            self._faults.hold(event)
            return told + risks + self._risk.reviewed(told)
        told = self._desk.traced(event, verdict)
        told += self._risk.traced(event, verdict) + self._risk.reviewed(told)
        for foretold in self._virtual.traced(event, verdict):
            told += [foretold] if self._virtual.worth_telling(foretold) else []
            told += self._threads.foretold(foretold)
        return told

    def _judged(self, event: TraceJudgement) -> list[Event]:
        """What a served model of faults says; what one of risk says is for people alone."""
        if event.task != "fault" or event.score is None:
            return []
        module = self._state.modules.get(event.key)
        if not _named(event) or module is None or not (module.kind or module.steps):
            return self._ignore("judgement of a module that is not known")
        if all(name != event.key for name, _ in self._lineage.visits_to(event.substrate_id)):
            return self._ignore("judgement of a wafer that was not there")
        if event.time_ms > self._state.now_ms + JUDGEMENT_AHEAD_MS:
            return self._ignore("judgement from the future")
        if event.time_ms <= module.repaired_ms:
            return self._ignore("judgement from before a repair")
        told = self._desk.judged(event, event.score)
        return told or self._ignore("judgement seen before or out of order")

    def _measured(self, event: Metrology) -> list[Event]:
        reason = self._metrology.measured(event)
        if reason:
            self._ignore(reason)
        surprise = self._virtual.measured(event)
        return [] if surprise is None else self._risk.measured(event, surprise)

    def _charted(self) -> list[Event]:
        """Points of charts that are complete by now, and what follows from them."""
        out: list[Event] = []
        for point, shift in self._metrology.due():
            out.append(point)
            out += self._threads.measured(point)
            if shift is not None:
                out += self._desk.measured(shift)
        return out

    def _tested(self, event: Prediction) -> list[Event]:
        if event.input_type != WaferMap.ce_type:
            return []
        wafer = self._lineage.record_test(event)
        if wafer is None:
            return self._ignore("wafer tested before")
        self._causes.forget()
        self._causes.note(event.substrate_id)
        self._risk.tested(event)
        told = self._desk.tested(event.substrate_id)
        told += self._risk.reviewed(told)
        # Last, so that a wafer that completes the evidence of an excursion is explained by it.
        explained = self._causes.explains(event.substrate_id)
        return told + self._watch.tested(event, explained=explained)

    def _module(self, name: str) -> ModuleRecord | None:
        module = self._state.modules.get(name)
        if module is None and len(self._state.modules) < MAX_MODULES:
            module = self._state.modules[name] = ModuleRecord()
        return module

    def _seen(self, event_id: str) -> bool:
        """Whether an event of this id came before; remembers it."""
        short = int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "big")
        if short in self._known:
            return True
        if len(self._recent) == REMEMBERED_IDS:
            self._known.discard(self._recent[0])
        self._recent.append(short)
        self._known.add(short)
        self._heard += 1
        return False

    def _ignore(self, reason: str) -> list[Event]:
        self._state.ignored[reason] = self._state.ignored.get(reason, 0) + 1
        return []


def _named(event: Event) -> bool:
    """Whether the names in an event can be names; long ones would swell the state."""
    for field in ("equipment_id", "module_id", "substrate_id"):
        name = getattr(event, field, "-")
        if not 0 < len(name) <= MAX_NAME or "/" in name:
            return False
    return all(
        len(getattr(event, field, "")) <= MAX_NAME
        for field in ("lot_id", "recipe_id", "step", "kind", "parameter", "model_name")
    )


def _missing(event: Trace) -> float:
    """Share of the sensors of a trace that said nothing, or that are stuck where they are."""
    values = event.values.numpy()
    if values.size == 0:
        return 1.0
    # One row after another, so that a trace in order costs three of them.
    silent = ~np.isfinite(values[len(values) // 2]) & ~np.isfinite(values[-1])
    if silent.any():
        silent = ~np.isfinite(values).any(axis=0)
    still = values[0] == values[-1]
    if still.any():
        still = (values == values[0]).all(axis=0)
    return float((silent | still).mean())


def _check(event: Trace) -> None:
    shape = event.values.shape
    where = f"trace {event.event_id} of {event.key}"
    if event.values.dtype != "<f4" or len(shape) != 2:
        raise TraceError(
            f"{where}: values must be (samples, variables) float32, they are {shape} of"
            f" {event.values.dtype}"
        )
    if shape[1] != len(event.variables):
        raise TraceError(f"{where}: {shape[1]} columns for {len(event.variables)} variables")
    if shape[0] < 0 or shape[0] * shape[1] * 4 != len(event.values.data):
        raise TraceError(f"{where}: {len(event.values.data)} bytes do not fill {shape}")
