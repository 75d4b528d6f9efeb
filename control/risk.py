"""Risk of every wafer before its electrical test, from all that is known about its way so far.

Evidence of a step is what its own trace showed on the module's charts, whether the module was out
of its limits then and for how long, whether the module is blamed for a pattern, and what metrology
found on it or on its lot mates. Each piece has a level; `control.risk_rates` knows what the levels
turned out to mean. A wafer's risk is the noisy-or of its pieces and of the base rate.
"""

from collections.abc import Iterable
from typing import NamedTuple

from contracts.events import Alert, Event, Metrology, Prediction, ProcessEvent, Risk, Trace
from contracts.ids import derived_id
from control.advisor import kill_ratio
from control.charts import Verdict
from control.foresight_state import Episode, Mark
from control.lineage import Lineage
from control.policy import Policy
from control.risk_evidence import Evidence, visit_of
from control.risk_rates import LEVELS, MAX_SIGNS, Rates, Source
from control.state import AlertRecord, ControlState, Visit, WaferRecord
from control.virtual_metrology import Surprise

__all__ = ["RiskWatch"]

# A risk is told again when it has changed by so many per cent.
WORTH_TELLING = 10
MAX_MARKS, MAX_SUSPECTS = 12, 5
# Lots whose wafers must agree on which step is the last one.
_MAX_VOTES = 100
_BLAMED, _BLAMED_NORMAL, _MEASURED, _MATE_MEASURED, _SPARED = 8, 9, 10, 11, 12
_CERTAIN = 0.98


class _Foreseen(NamedTuple):
    """What the failure modes that show a sign do: patterns by index, slots that can suffer."""

    patterns: dict[int, float]
    slots: tuple[tuple[int, int], ...]

    def spares(self, slot: int) -> bool:
        """Whether all of the modes spare a slot."""
        return bool(self.slots) and slot > 0 and not any(a <= slot <= b for a, b in self.slots)


class RiskWatch:
    """Foresees test results, and learns from those that come.

    Args:
        policy: with the kill ratios, and failure modes that say what a sign may do to wafers.
        state: with the rates and the marks of wafers.
        lineage: which wafer went where.
    """

    def __init__(self, policy: Policy, state: ControlState, lineage: Lineage) -> None:
        self._policy = policy
        self._foreseen_by: dict[str, _Foreseen] = {}
        self._state = state
        self._lineage = lineage
        self._record = state.risk
        known = sorted(name for name in policy.economics.kill_ratio if name != "default")
        self._rates = Rates(self._record, known)
        self._evidence = Evidence(state, lineage, self._rates)

    # -- evidence -----------------------------------------------------------------------------

    def processed(self, event: ProcessEvent) -> list[Event]:
        """A step of a wafer began or ended."""
        wafer = self._lineage.wafer(event.substrate_id)
        if wafer is None or wafer.tested_ms >= 0:
            return []
        wafer.slot = event.slot if 0 <= event.slot < 2**31 else 0
        last = self._kind(event.key) == "test" or (
            event.phase == "completed" and event.sequence == self._record.last_sequence
        )
        return self._judge(event.substrate_id, wafer, event.step, event.sequence, last=last)

    def traced(self, event: Trace, verdict: Verdict) -> list[Event]:
        """A trace was judged by its charts."""
        episode = self._evidence.episode(event, verdict)
        wafer = self._lineage.wafer(event.substrate_id)
        if wafer is None or wafer.tested_ms >= 0:
            return []
        mark = self._evidence.mark(event, verdict, episode)
        if mark is None:
            return self._judge(event.substrate_id, wafer, event.step, event.sequence)
        told: list[Event] = []
        for name, mate in self._evidence.same_run(event, wafer):
            self._add(name, mate, mark)
            told += self._judge(name, mate, event.step, event.sequence)
        return told

    def measured(self, event: Metrology, surprise: Surprise) -> list[Event]:
        """Metrology found something odd: about this wafer, and its lot mates of that module."""
        wafer = self._lineage.wafer(event.substrate_id)
        own = None if wafer is None else visit_of(wafer, surprise.sequence)
        if wafer is None or own is None:
            return []
        name = f"{self._kind(surprise.module)} {event.parameter}"[:80]
        sign = self._rates.sign(f"{name}{'+' if surprise.deviations > 0 else '-'}")
        told: list[Event] = []
        for name, mate in self._lineage.untested():
            if mate.lot_id != wafer.lot_id:
                continue
            visit = visit_of(mate, surprise.sequence)
            if visit is None or visit.place != own.place:
                continue
            level = _MEASURED if mate is wafer else _MATE_MEASURED
            self._add(name, mate, Mark(surprise.sequence, level, sign))
            latest = max(mate.visits, key=lambda visit: visit.sequence)
            told += self._judge(name, mate, self._lineage.place(latest).step, latest.sequence)
        return told

    def tested(self, event: Prediction) -> None:
        """A test result came: learn from it."""
        wafer = self._lineage.wafer(event.substrate_id)
        if wafer is None:
            return
        self._vote(wafer)
        shown = [place for name in wafer.patterns if (place := self._rates.pattern(name)) >= 0]
        self._rates.learn(self._sources(wafer), shown)

    def repaired(self, module: str, time_ms: int) -> None:
        """A module came back from a repair: what was odd about it is over."""
        for episode in self._record.episodes:
            if episode.module == module and episode.until_ms < 0:
                episode.until_ms = time_ms

    def reviewed(self, told: Iterable[Event]) -> list[Event]:
        """Alerts were told: wafers that went through their suspects are judged again."""
        out: list[Event] = []
        for alert in told:
            if not isinstance(alert, Alert) or not alert.suspect_module:
                continue
            for name, wafer in list(self._lineage.untested()):
                if any(
                    visit.time_ms >= alert.since_ms
                    and self._lineage.place(visit).module == alert.suspect_module
                    for visit in wafer.visits
                ):
                    latest = max(wafer.visits, key=lambda visit: visit.sequence)
                    step = self._lineage.place(latest).step
                    out += self._judge(name, wafer, step, latest.sequence)
        return out

    def _add(self, name: str, wafer: WaferRecord, mark: Mark) -> None:
        """A wafer has another mark; where there are too many, the weakest goes."""
        if any((old.sequence, old.level) == (mark.sequence, mark.level) for old in wafer.marks):
            return
        if len(wafer.marks) >= MAX_MARKS:
            wafer.marks.remove(
                min(wafer.marks, key=lambda old: (LEVELS[old.level].prior, old.sequence))
            )
        wafer.marks.append(mark)
        self._lineage.touch(name)

    def _vote(self, wafer: WaferRecord) -> None:
        """Which step is the last before the test: the majority vote of Boyer and Moore (1981)."""
        sequences = [
            visit.sequence
            for visit in wafer.visits
            if self._kind(self._lineage.place(visit).module) != "test"
        ]
        if not sequences:
            return
        if max(sequences) == self._record.last_sequence:
            self._record.last_votes = min(self._record.last_votes + 1, _MAX_VOTES)
        elif self._record.last_votes > 0:
            self._record.last_votes -= 1
        else:
            self._record.last_sequence, self._record.last_votes = max(sequences), 1

    def _kind(self, module: str) -> str:
        """What a module does, '' until the equipment said so."""
        known = self._state.modules.get(module)
        return known.kind if known is not None else ""

    # -- risk ---------------------------------------------------------------------------------

    def _sources(self, wafer: WaferRecord) -> list[Source]:
        """All that may spoil a wafer, at most one a step."""
        marks: dict[int, list[Mark]] = {}
        for mark in wafer.marks:
            marks.setdefault(mark.sequence, []).append(mark)
        blamed = self._blamed_modules()
        if not marks and not blamed:
            return []
        sources = []
        for visit in wafer.visits:
            own = marks.get(visit.sequence, ())
            module = self._lineage.place(visit).module
            if not own and module not in blamed:
                continue
            found = [self._marked(mark, module, visit, wafer.slot) for mark in own]
            for alert in blamed.get(module, ()):
                if alert.since_ms <= visit.time_ms and (
                    alert.until_ms < 0 or visit.time_ms <= alert.until_ms
                ):
                    found.append(self._blamed(alert, visit, wafer.slot, odd=bool(own)))
            if found:
                sources.append(max(found, key=lambda source: source.probability))
        return sources

    def _marked(self, mark: Mark, module: str, visit: Visit, slot: int) -> Source:
        """A visit at which something was odd."""
        foreseen = self._foreseen(mark.sign)
        return self._rates.source(
            _SPARED if foreseen.spares(slot) else mark.level,
            mark.sign,
            self._covering(module, visit.time_ms),
            module,
            foreseen=foreseen.patterns,
        )

    def _foreseen(self, sign: int) -> _Foreseen:
        """What the list of failure modes says about a sign, such as 'etch rf_power_w-'."""
        name = self._record.signs[sign]
        known = self._foreseen_by.get(name)
        if known is None:
            kind, _, chart = name.partition(" ")
            variable, up = chart[:-1], chart.endswith("+")
            weights: dict[int, float] = {}
            slots: list[tuple[int, int] | None] = []
            for mode in self._policy.failure_modes.values():
                shift = mode.signature.get(variable, 0.0) if not kind or kind in mode.kinds else 0
                if shift and (shift > 0) == up:
                    slots.append(mode.slots)
                    for pattern in mode.patterns:
                        place = self._rates.pattern(pattern)
                        share = mode.occurrence * abs(shift) / len(mode.patterns)
                        weights[place] = weights.get(place, 0.0) + share
            weights.pop(-1, None)
            total = sum(weights.values())
            limited = [item for item in slots if item is not None]
            known = _Foreseen(
                {place: weight / total for place, weight in weights.items()},
                tuple(limited) if len(limited) == len(slots) else (),
            )
            if len(self._foreseen_by) > 2 * MAX_SIGNS:
                self._foreseen_by.clear()
            self._foreseen_by[name] = known
        return known

    def _blamed(self, alert: AlertRecord, visit: Visit, slot: int, *, odd: bool) -> Source:
        """A visit to a module that is blamed for a pattern."""
        place = self._rates.pattern(alert.pattern)
        foreseen = {place: 1.0} if place >= 0 else {}
        kind = self._kind(alert.module)
        fits = [
            mode.slots
            for mode in self._policy.failure_modes.values()
            if kind in mode.kinds and alert.pattern in mode.patterns
        ]
        slots = tuple(item for item in fits if item is not None) if None not in fits else ()
        # One good and one bad wafer added (Laplace), as in the alert's own sums.
        rate = (alert.affected_count + 1) / (alert.examined_count + 2)
        if _Foreseen({}, slots).spares(slot):
            return self._rates.source(_SPARED, -1, None, alert.module, foreseen=foreseen)
        if alert.shifts and visit.traced and not odd:
            return self._rates.source(_BLAMED_NORMAL, -1, None, alert.module, foreseen=foreseen)
        if slots:
            # The alert's rate is that of whole lots; it all comes from these slots.
            held = {number for low, high in slots for number in range(low, high + 1)}
            rate = min(_CERTAIN, rate * self._policy.economics.wafers_per_lot / len(held))
        return self._rates.source(_BLAMED, -1, None, alert.module, foreseen=foreseen, prior=rate)

    def _blamed_modules(self) -> dict[str, list[AlertRecord]]:
        out: dict[str, list[AlertRecord]] = {}
        for alert in self._state.alerts.values():
            if alert.module and alert.kind == "pattern":
                out.setdefault(alert.module, []).append(alert)
        return out

    def _covering(self, module: str, time_ms: int) -> Episode | None:
        for episode in reversed(self._record.episodes):
            if (
                episode.module == module
                and episode.since_ms <= time_ms
                and (episode.until_ms < 0 or time_ms <= episode.until_ms)
            ):
                return episode
        return None

    def _judge(
        self, name: str, wafer: WaferRecord, step: str, sequence: int, *, last: bool = False
    ) -> list[Event]:
        """The wafer's risk as an event, where it is worth telling."""
        sources = self._sources(wafer)
        base, base_patterns = self._rates.base()
        good = 1.0 - base
        for source in sources:
            good *= 1.0 - source.probability
        risk = 1.0 - good
        percent = round(100.0 * risk)
        before = wafer.told if wafer.told >= 0 else round(100.0 * base)
        due = last and not wafer.last_told
        if not due and abs(percent - before) < WORTH_TELLING:
            return []
        self._lineage.touch(name)
        wafer.told = percent
        wafer.last_told |= last
        return [self._event(name, wafer, step, sequence, sources, base, base_patterns, risk)]

    def _event(
        self,
        name: str,
        wafer: WaferRecord,
        step: str,
        sequence: int,
        sources: list[Source],
        base: float,
        base_patterns: dict[int, float],
        risk: float,
    ) -> Risk:
        probabilities, kept = [], 1.0
        for place, pattern in enumerate(self._record.patterns):
            free = 1.0 - base * base_patterns[place]
            for source in sources:
                free *= 1.0 - source.probability * source.patterns.get(place, 0.0)
            probabilities.append(round(1.0 - free, 4))
            kept *= 1.0 - (1.0 - free) * kill_ratio(pattern, self._policy)
        worst: dict[str, float] = {}
        for source in sources:
            worst[source.module] = max(source.probability, worst.get(source.module, 0.0))
        suspects = sorted(
            (module for module, share in worst.items() if share > base),
            key=lambda module: (-worst[module], module),
        )
        return Risk(
            event_id=derived_id(
                "risk", self._state.site, name, sequence, self._state.now_ms, wafer.told
            ),
            site=self._state.site,
            time_ms=self._state.now_ms,
            lot_id=wafer.lot_id,
            substrate_id=name,
            slot=wafer.slot,
            step=step,
            sequence=sequence,
            patterns=tuple(self._record.patterns),
            probabilities=tuple(probabilities),
            any_pattern=round(risk, 4),
            expected_loss=round(1.0 - kept, 4),
            suspects=tuple(suspects[:MAX_SUSPECTS]),
        )
