"""After an action: did what it was to change really change? If not, take it back or ask a person.

Each applied action is watched until the verdict is clear: the shift of the suspect's traces along
what was wrong with it, before and after; or, where nothing but maps spoke against it, how many
wafers show the pattern. What can be taken back is, where it did not help.
"""

from collections.abc import Iterator

from contracts.events import ActionEffect, Trace
from contracts.ids import derived_id
from control.charts import Verdict
from control.lineage import Lineage
from control.policy import Policy
from control.state import ActionRecord, AlertRecord, ControlState, EffectRecord

__all__ = ["Effects"]

# Traces of the suspect after the action from which a verdict is given, and wafers for a pattern.
TRACES, MAPS = 8, 20
# The shift is gone if so little of it is left, and it is still there if so much is.
GONE, THERE = 0.4, 0.7
# Below so many spreads a shift is within what maintenance leaves.
SMALL = 1.0
# Hours after which it is not worth waiting any longer.
PATIENCE_H = 48
MAX_EFFECTS = 50
_HOUR_MS = 3_600_000
_CHECKED = ("schedule_pm", "inhibit_module", "adjust_recipe")


class Effects:
    """The actions whose effect is being waited for.

    Args:
        policy: names the failure modes.
        state: with the records.
        lineage: which wafers were made after an action, and what they show.
    """

    def __init__(self, policy: Policy, state: ControlState, lineage: Lineage) -> None:
        self._policy = policy
        self._state = state
        self._lineage = lineage

    def begin(self, action_id: str, action: ActionRecord, alert: AlertRecord) -> None:
        """An action of ours was applied: what is it to change?"""
        effects = self._state.effects
        if action.kind not in _CHECKED:
            return
        while len(effects) >= MAX_EFFECTS:
            del effects[next(iter(effects))]
        direction: dict[str, float] = {}
        variable, before = "", 0.0
        first = alert.causes[0].mode if alert.causes else ""
        mode = self._policy.failure_modes.get(first)
        if mode is not None and any(name in alert.profile for name in mode.signature):
            direction = {n: s for n, s in mode.signature.items() if n in alert.profile}
        elif alert.profile and alert.shifts:
            top = max(alert.profile, key=lambda name: (abs(alert.profile[name]), name))
            direction = {top: 1.0 if alert.profile[top] > 0 else -1.0}
        if direction:
            variable = max(direction, key=lambda name: (abs(direction[name]), name))
            before = _along(direction, variable, alert.profile)
        if abs(before) < SMALL:
            direction, variable, before = {}, "", self._rate_before(action, alert)
        now = self._state.now_ms
        effects[action_id] = EffectRecord(
            alert_id=alert.alert_id,
            kind=action.kind,
            module=alert.module,
            step=alert.step,
            pattern=alert.pattern,
            applied_ms=now,
            since_ms=-1 if action.kind == "schedule_pm" else now,
            direction=direction,
            variable=variable,
            before=before,
        )

    def returned(self, module: str, time_ms: int) -> None:
        """A module came back from being down: from now on its wafers tell."""
        for record in self._state.effects.values():
            if record.module == module and record.kind == "schedule_pm" and record.since_ms < 0:
                record.since_ms = time_ms

    def follow(self, event: Trace, verdict: Verdict) -> None:
        """A trace of a module."""
        for record in self._state.effects.values():
            if record.module != event.key or not 0 <= record.since_ms <= event.time_ms:
                continue
            if record.direction:
                z = {
                    name: float(away)
                    for (name, statistic), away in zip(verdict.charts, verdict.z, strict=True)
                    if statistic == "level" and abs(away) < 1e3  # NaN is not
                }
                if record.direction.keys() <= z.keys():
                    record.total += _along(record.direction, record.variable, z)
                    record.wafers += 1

    def verdicts(self, *, tested: bool) -> Iterator[tuple[ActionEffect, EffectRecord]]:
        """Those that are clear by now, or will not get clear; they are watched no longer.

        Args:
            tested: a wafer was tested, so that those that rest on maps are looked at.
        """
        for action_id, record in list(self._state.effects.items()):
            if bool(record.direction) == tested:
                continue
            found = self._verdict(action_id, record)
            if found is not None:
                del self._state.effects[action_id]
                yield found, record

    def _verdict(self, action_id: str, record: EffectRecord) -> ActionEffect | None:
        now = self._state.now_ms
        late = now > max(record.applied_ms, record.since_ms) + PATIENCE_H * _HOUR_MS
        after, wafers = 0.0, record.wafers
        if record.direction:
            after = record.total / wafers if wafers else 0.0
            enough = wafers >= TRACES
        elif record.since_ms >= 0 and record.pattern:
            wafers, bad = self._tested_since(record)
            after = bad / wafers if wafers else 0.0
            enough = wafers >= MAPS
        else:
            enough = False
        if not enough and not late:
            return None
        left = after / record.before if record.before else 1.0
        small = bool(record.direction) and abs(after) < SMALL
        if not enough or (GONE < left < THERE and not small):
            verdict = "unclear"
            if not late:
                return None
        else:
            verdict = "came" if left <= GONE or small else "absent"
        measure = (
            f"shift of {record.variable}, spreads"
            if record.direction
            else f"share of wafers with {record.pattern or 'a pattern'}"
        )
        return ActionEffect(
            event_id=derived_id("effect", action_id),
            site=self._state.site,
            time_ms=now,
            action_id=action_id,
            alert_id=record.alert_id,
            verdict=verdict,  # type: ignore[arg-type]
            measure=measure,
            before=round(record.before, 4),
            after=round(after, 4),
            wafers=wafers,
            evidence=(
                f"{measure}: {record.before:.3g} before, {after:.3g} on {wafers} wafers after"
                f" {record.kind} of {record.module}",
            ),
        )

    def _rate_before(self, action: ActionRecord, alert: AlertRecord) -> float:
        """Share of wafers with the pattern since the excursion began."""
        if action.kind == "inhibit_module":
            wafers, bad = self._at_step(alert.step, alert.since_ms, alert.pattern)
            return bad / wafers if wafers else 0.0
        return alert.affected_count / alert.examined_count if alert.examined_count else 0.0

    def _tested_since(self, record: EffectRecord) -> tuple[int, int]:
        """Tested wafers made since the action, and those of them that show the pattern.

        After an inhibit the suspect makes none: then it is those of the others at the same step,
        which must be clean if the suspect was the right one.
        """
        if record.kind == "inhibit_module":
            return self._at_step(record.step, record.since_ms, record.pattern)
        made = [
            self._lineage.wafer(name)
            for time_ms, name in self._lineage.through(record.module)
            if time_ms > record.since_ms
            and self._lineage.first_at(name, record.module) > record.since_ms
        ]
        bad = sum(wafer is not None and record.pattern in wafer.patterns for wafer in made)
        return len(made), bad

    def _at_step(self, step: str, since_ms: int, pattern: str) -> tuple[int, int]:
        """Tested wafers that did a step since then, and those of them that show a pattern."""
        wafers = bad = 0
        for name in self._lineage.tested:
            wafer = self._lineage.wafer(name)
            if wafer is not None and any(
                visit.time_ms > since_ms and self._lineage.place(visit).step == step
                for visit in wafer.visits
            ):
                wafers += 1
                bad += pattern in wafer.patterns
        return wafers, bad


def _along(direction: dict[str, float], variable: str, z: dict[str, float]) -> float:
    """Shift of `variable` that fits all of `direction` best, spreads (least squares)."""
    energy = sum(share * share for share in direction.values())
    size = sum(share * z.get(name, 0.0) for name, share in direction.items()) / energy
    return size * direction[variable]
