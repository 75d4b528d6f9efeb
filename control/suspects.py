"""Keeps what is known about the suspect of an alert, and asks for a diagnosis when that grows."""

import math

from contracts.events import Cause, Trace
from control.charts import Verdict
from control.diagnosis import OTHER, SENSOR, Evidence, diagnose
from control.policy import Policy
from control.state import AlertRecord, ControlState

__all__ = [
    "BY_CHARTS",
    "BY_PEERS",
    "UNLISTED",
    "begin",
    "examine",
    "follow",
    "named_mode",
    "named_modes",
    "newly_named",
    "say_modes",
    "start_anew",
    "sure_without_past",
]

# A fault of a module none of whose sensors is on the list of failure modes: that it moved is sure,
# that it hurts wafers is not.
UNLISTED = 0.8
# A mode is named from this probability.
NAMED = 0.5
# Between the modes of an alert that has several.
_AND = " + "
WEIGHT = 0.2
# Where peers are all there is to compare with: the probability that is asked for, the shifts in
# spreads that two variables of a mode must have, or one alone.
SURE, AGREES, FAR = 0.9, 2.0, 7.0
# What the charts say when they speak is an average of about nine wafers; a comparison with peers
# is worth two, as modules differ.
BY_CHARTS, BY_PEERS = 9, 2
_SPREAD = ":spread"
# What inspection measures; everything else is the process's own quantity.
DEFECTS = "defect_density_cm2"
_ABSURD = 60.0


def begin(alert: AlertRecord, verdict: Verdict, wafers: int) -> None:
    """A fault was found: the profile is what the charts say of it, worth so many wafers."""
    names = [name for name, statistic in verdict.charts if statistic == "level"]
    alert.profile = {
        name: float(away)
        for name, away in zip(names, verdict.away, strict=True)
        if math.isfinite(away)
    }
    alert.profile_wafers = wafers
    _note_unsteady(alert, verdict)


def start_anew(alert: AlertRecord) -> None:
    """Something was done: what the suspect was like before says nothing of what it is like now."""
    alert.profile, alert.profile_wafers, alert.unsteady, alert.measured = {}, 0, (), {}


def follow(alert: AlertRecord, event: Trace, verdict: Verdict) -> None:
    """One more trace of the suspect, whatever its recipe."""
    alert.evidence_ms = max(alert.evidence_ms, event.time_ms)
    alert.profile_wafers = min(1000, alert.profile_wafers + 1)
    for (name, statistic), away in zip(verdict.charts, verdict.z, strict=True):
        if statistic != "level":
            break
        if not math.isfinite(away):
            continue
        z = max(-_ABSURD, min(_ABSURD, float(away)))
        known = alert.profile.get(name)
        if known is None:
            alert.profile[name] = z
        else:
            weight = max(WEIGHT, 1.0 / alert.profile_wafers)
            alert.profile[name] = known + weight * (z - known)
    _note_unsteady(alert, verdict)


def _note_unsteady(alert: AlertRecord, verdict: Verdict) -> None:
    found = {
        shift.variable.removesuffix(_SPREAD)
        for shift in verdict.shifts
        if _SPREAD in shift.variable
    }
    if found:
        alert.unsteady = tuple(sorted(found | set(alert.unsteady)))[:10]


def examine(alert: AlertRecord, state: ControlState, policy: Policy) -> None:
    """Weigh the causes of an alert anew, and how sure it is that the process is at fault."""
    if not alert.module:
        alert.causes, alert.grown = (), 0.0
        return
    module = state.modules.get(alert.module)
    kind = module.kind if module is not None else ""
    listed = any(
        name in alert.profile
        for mode in policy.failure_modes.values()
        if not kind or kind in mode.kinds
        for name in mode.signature
    )
    if not listed and not alert.measured and alert.kind == "fault":
        said = tuple(f"{shift.variable} {shift.z:+.1f}σ" for shift in alert.shifts[:3])
        alert.causes = (
            Cause(module=alert.module, mode=OTHER, probability=UNLISTED, evidence=said),
        )
        alert.confidence, alert.grown = UNLISTED, 0.0
        return
    defects, defect_wafers = alert.measured.get(DEFECTS, (None, 0))
    measured, measured_wafers = max(
        (known for name, known in alert.measured.items() if name != DEFECTS),
        key=lambda known: abs(known[0]),
        default=(None, 0),
    )
    found = diagnose(
        Evidence(
            module=alert.module,
            kind=kind,
            moved=alert.profile if listed else {},
            wafers=min(9.0, float(max(1, alert.profile_wafers))),
            unsteady=alert.unsteady,
            pattern=alert.pattern,
            measured=measured,
            measured_wafers=measured_wafers,
            defects=defects,
            defect_wafers=defect_wafers,
        ),
        policy.failure_modes,
    )
    if alert.kind == "pattern":
        # That it is this module is known from the maps; what is wrong with it, from all.
        scale = alert.confidence / found.real if found.real else 0.0
        alert.causes = tuple(
            Cause(
                module=cause.module,
                mode=cause.mode,
                probability=round(min(1.0, cause.probability * scale), 4),
                evidence=cause.evidence,
            )
            for cause in found.causes
            if cause.mode != SENSOR
        )
    else:
        alert.causes = found.causes
        alert.confidence = round(min(0.99, found.real), 4)
    alert.grown = found.severity


def named_modes(alert: AlertRecord) -> tuple[str, ...]:
    """The failure modes that are probable enough to be named: mostly none or one."""
    return tuple(
        cause.mode
        for cause in alert.causes
        if cause.probability >= NAMED and cause.mode not in (OTHER, SENSOR)
    )


def say_modes(alert: AlertRecord) -> None:
    """Note the failure modes that people are told of now."""
    alert.said_mode = _AND.join(named_modes(alert))


def newly_named(alert: AlertRecord) -> bool:
    """Whether a failure mode is named that people were not told of.

    That one is no more named, or that two have changed places, is no news.
    """
    return not set(named_modes(alert)) <= set(alert.said_mode.split(_AND))


def named_mode(alert: AlertRecord) -> str:
    """The most probable of them, or ''."""
    return next(iter(named_modes(alert)), "")


def sure_without_past(alert: AlertRecord, policy: Policy) -> bool:
    """Whether a module that has no past of its own is named: its peers are a poor yardstick.

    Modules differ in single variables; that several agree with a failure mode is no difference
    between modules, nor is one that is very far out.
    """
    mode = policy.failure_modes.get(named_mode(alert))
    if mode is None or alert.confidence < SURE:
        return False
    seen = [abs(alert.profile[name]) for name in mode.signature if name in alert.profile]
    return sum(size > AGREES for size in seen) >= 2 or max(seen, default=0.0) > FAR
