"""What the model says about itself: unknown patterns and drift, over all wafers of the site.

Neither is blamed on a module and neither proposes an action: the response is to look, to label and
to retrain. Each has one alert at a time, told when it begins, when it grows, and when it is over.
A new version of the model is compared with its own first wafers only.
"""

import msgspec
import numpy as np

from contracts.events import Alert, AlertKind, Event, Prediction, Severity, VariableShift
from contracts.ids import derived_id
from control.alerts import SHOWN, alert_event, grown
from control.commonality import commonalities
from control.drift import add, compare, is_drift, moments, shares
from control.excursion import places_of
from control.lineage import Lineage
from control.novelty import WINDOW, is_novel, is_rare_again, novel_stretch
from control.policy import Policy
from control.state import AlertRecord, ControlState, Moments, TestedWafer, WatchRecord

__all__ = ["REFERENCE_WAFERS", "WINDOW_WAFERS", "ModelWatch"]

REFERENCE_WAFERS = 500
"""A model version's first wafers at a site, 20 lots, are what later ones are compared with."""
WINDOW_WAFERS = 250
"""Later wafers are compared in portions of so many, 10 lots: lots differ, ten of them hardly."""
# An unknown pattern wants a look today; drift wants one this week.
_SEVERITY: dict[AlertKind, Severity] = {"unknown": "medium", "drift": "low"}
_MAX_ALERTS = 100
_MAX_SHIFTS = 5


class ModelWatch:
    """Watches the predictions of a site.

    Args:
        policy: how sure to be.
        state: with the alerts and what was seen so far.
        lineage: where wafers went, for what the unknown ones share.
    """

    def __init__(self, policy: Policy, state: ControlState, lineage: Lineage) -> None:
        self._policy = policy
        self._state = state
        self._lineage = lineage

    def tested(self, event: Prediction, *, explained: bool) -> list[Event]:
        """Take in one tested wafer.

        Args:
            event: what the model says about it; the first of its wafer.
            explained: a known cause made its pattern, so it says nothing about the model.
        """
        told: list[Event] = []
        version = f"{event.model_name[:100]} v{event.model_version[:100]}"
        if version != self._state.watch.model:
            told += self._begin_again(version)
        novel = is_novel(event)
        if novel is not None:
            tested = self._state.watch.tested
            tested.append(TestedWafer(event.substrate_id, event.time_ms, novel))
            del tested[:-WINDOW]
            told += self._unknown(event, novel)
        # A wafer beyond the limit is the other alert's business.
        if not novel and not explained:
            told += self._drift(event)
        return told

    def _begin_again(self, version: str) -> list[Event]:
        """Another model serves: what the one before it made of the wafers is over."""
        told: list[Event] = []
        for alert in list(self._state.alerts.values()):
            if alert.kind in _SEVERITY:
                told += self._close(alert)
        self._state.watch = WatchRecord(model=version)
        return told

    # -- unknown patterns ---------------------------------------------------------------------

    def _unknown(self, event: Prediction, novel: bool) -> list[Event]:
        alert = self._open("unknown")
        if alert is None and self._state.watch.unknown_open:
            # A person has dealt with it: only what comes from now on is news.
            self._state.watch.unknown_open = False
            self._state.watch.tested.clear()
            return []
        if alert is not None:
            alert.examined_count += 1
            if novel:
                alert.affected_count += 1
                alert.affected = [*alert.affected, event.substrate_id][-SHOWN:]
                return self._tell(alert) if grown(alert) else []
            over = is_rare_again(self._state.watch.tested, alert.examined_count)
            return self._close(alert) if over else []
        found = novel_stretch(self._state.watch.tested, self._policy.detection) if novel else None
        if found is None:
            return []
        stretch = self._state.watch.tested[found]
        affected = [wafer.substrate_id for wafer in stretch if wafer.novel]
        alert = self._new("unknown", event, since_ms=stretch[0].time_ms)
        if alert is None:
            return []
        alert.affected = affected[-SHOWN:]
        alert.affected_count, alert.examined_count = len(affected), len(stretch)
        alert.baseline_rate = _rate(self._state.watch.tested[: found.start])
        self._state.watch.unknown_open = True
        return self._tell(alert)

    # -- drift --------------------------------------------------------------------------------

    def _drift(self, event: Prediction) -> list[Event]:
        watch = self._state.watch
        seen = moments(event)
        if seen is None:
            return []
        alert = self._open("drift")
        if alert is None and watch.drift_open:
            # A person has dealt with it: the present is what later wafers are compared with.
            watch.drift_open = False
            watch.reference, watch.recent = None, None
        if watch.reference is None or watch.reference.wafers < REFERENCE_WAFERS:
            watch.reference = _together(watch.reference, seen)
            return []
        if watch.recent is None:
            watch.recent_since_ms = event.time_ms
        watch.recent = _together(watch.recent, seen)
        if watch.recent.wafers < WINDOW_WAFERS:
            return []
        recent, watch.recent = watch.recent, None
        if add(watch.reference, recent) is None:
            # The version says it is the same and its outputs are not: begin again.
            watch.reference = None
            return []
        effect = compare(recent, watch.reference)
        if alert is not None:
            return [] if is_drift(effect) else self._close(alert)
        if not is_drift(effect):
            return []
        alert = self._new("drift", event, since_ms=watch.recent_since_ms)
        if alert is None:
            return []
        alert.examined_count = alert.affected_count = recent.wafers
        alert.shifts = _shifts(recent, watch.reference, effect.embedding)
        watch.drift_open = True
        return self._tell(alert)

    # -- alerts -------------------------------------------------------------------------------

    def _open(self, kind: AlertKind) -> AlertRecord | None:
        return next((a for a in self._state.alerts.values() if a.kind == kind), None)

    def _new(self, kind: AlertKind, event: Prediction, *, since_ms: int) -> AlertRecord | None:
        if len(self._state.alerts) >= _MAX_ALERTS:
            reason = "too many open alerts"
            self._state.ignored[reason] = self._state.ignored.get(reason, 0) + 1
            return None
        alert_id = derived_id("alert", self._state.site, kind, event.event_id, since_ms)
        return AlertRecord(
            alert_id=alert_id,
            kind=kind,
            pattern="",
            module="",
            since_ms=since_ms,
            opened_ms=self._state.now_ms,
            severity=_SEVERITY[kind],
        )

    def _tell(self, alert: AlertRecord) -> list[Event]:
        self._state.alerts.setdefault(alert.alert_id, alert)
        if alert.shelved_until_ms > self._state.now_ms:
            return []
        return [self._revision(alert)]

    def _close(self, alert: AlertRecord) -> list[Event]:
        told: list[Event] = [self._revision(alert, normal=True)]
        del self._state.alerts[alert.alert_id]
        if alert.kind == "unknown":
            self._state.watch.unknown_open = False
            self._state.watch.tested.clear()
        else:
            self._state.watch.drift_open = False
        return told

    def _revision(self, alert: AlertRecord, *, normal: bool = False) -> Alert:
        known = [wafer.substrate_id for wafer in self._state.watch.tested if not wafer.novel]
        if alert.kind == "unknown":
            alert.commonalities = commonalities(
                [places_of(self._lineage, name) for name in alert.affected],
                [places_of(self._lineage, name) for name in known],
            )
        event = alert_event(alert, self._state, self._lineage, [], normal=normal)
        compared = tuple(known[-SHOWN:]) if alert.kind == "unknown" else ()
        return msgspec.structs.replace(event, unaffected=compared)


def _rate(tested: list[TestedWafer]) -> float:
    return sum(wafer.novel for wafer in tested) / len(tested) if tested else 0.0


def _together(known: Moments | None, seen: Moments) -> Moments:
    """Both, or the newer alone if they do not belong together."""
    return (add(known, seen) if known is not None else None) or seen


def _shifts(recent: Moments, reference: Moments, embedding: float) -> tuple[VariableShift, ...]:
    """What changed, the largest effect first: classes by their share, and the embedding."""
    now, before = shares(recent), shares(reference)
    # Of one wafer that is of the class or is not (Bernoulli), never below one wafer in a hundred.
    spread = np.sqrt(np.maximum(before * (1.0 - before), 0.01 * 0.99))
    found = [
        _shift(name, float(now[place]), float(before[place]), float(spread[place]))
        for place, name in enumerate(recent.labels)
    ]
    found.append(_shift("embedding", embedding, 0.0, 1.0))
    found.sort(key=lambda shift: (-abs(shift.z), shift.variable))
    return tuple(found[:_MAX_SHIFTS])


def _shift(name: str, mean: float, normal: float, spread: float) -> VariableShift:
    return VariableShift(
        variable=name[:40],
        recipe_id="",
        mean=round(mean, 6),
        normal=round(normal, 6),
        spread=round(spread, 6),
        z=round((mean - normal) / spread, 4),
    )
