"""Alerts as they are told to people: counting, severity, and when a revision is worth sending."""

from collections import Counter
from itertools import islice

import msgspec

from contracts.events import Alert, Cause, Severity
from contracts.ids import derived_id
from control.advisor import Outlook, lost_share
from control.lineage import Lineage
from control.policy import Policy
from control.state import AlertRecord, ControlState

__all__ = [
    "GROWTH",
    "alert_event",
    "at_risk",
    "count_wafers",
    "grown",
    "outlook",
    "severity",
    "share_of_lot",
]

# A revision reaches people: it is sent when the number of affected wafers has grown to the next of
# these (about the golden ratio apart, so a long excursion costs some ten revisions).
GROWTH = (3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987)
SHOWN = 100
_HOUR_MS = 3_600_000
_GRADES: tuple[Severity, ...] = ("critical", "high", "medium")


def grown(alert: AlertRecord) -> bool:
    """Whether the affected wafers have passed a step since they were last told.

    A fault's count is of wafers treated meanwhile, which is no news: every third step will do.
    """
    steps = GROWTH[3::3] if alert.kind == "fault" else GROWTH
    return any(alert.said_count < step <= alert.affected_count for step in steps)


def count_wafers(alert: AlertRecord, lineage: Lineage) -> None:
    """Count the wafers of an alert anew: tested ones for a pattern, treated ones for a fault."""
    if not alert.module:
        return
    if alert.kind == "fault":
        return
    made = [
        name
        for time_ms, name in lineage.through(alert.module)
        if alert.since_ms <= time_ms and (alert.until_ms < 0 or time_ms <= alert.until_ms)
    ]
    bad = [
        name for name in made if (wafer := lineage.wafer(name)) and alert.pattern in wafer.patterns
    ]
    alert.affected = bad[-SHOWN:]
    # What was counted before may have been forgotten since: counts never shrink.
    alert.affected_count = max(alert.affected_count, len(bad))
    alert.examined_count = max(alert.examined_count, len(made), alert.affected_count)


def at_risk(alert: AlertRecord, lineage: Lineage) -> tuple[list[str], int]:
    """Lots with wafers from the suspect that are not tested yet, most wafers first; and wafers."""
    lots: Counter[str] = Counter()
    for _, wafer in lineage.untested():
        for visit in wafer.visits:
            if (
                visit.time_ms >= alert.since_ms
                and (alert.until_ms < 0 or visit.time_ms <= alert.until_ms)
                and lineage.place(visit).module == alert.module
            ):
                lots[wafer.lot_id] += 1
                break
    ranked = sorted(lots, key=lambda lot: (-lots[lot], lot))
    return ranked, sum(lots.values())


def share_of_lot(alert: AlertRecord, lineage: Lineage) -> float:
    """Share of the wafers that go through the suspect, of those that do its step."""
    through = total = 0
    for name in islice(reversed(lineage.tested), 200):
        wafer = lineage.wafer(name)
        for visit in wafer.visits if wafer else ():
            place = lineage.place(visit)
            if place.step == alert.step:
                total += 1
                through += place.module == alert.module
    # Before enough is tested, one of four comparable modules is the usual case.
    return (through + 1.0) / (total + 4.0)


def treated_of_late(module: str, state: ControlState, lineage: Lineage, hours: float) -> int:
    """Visits of wafers that are not tested yet to a module in the last hours."""
    since_ms = state.now_ms - int(hours * _HOUR_MS)
    return sum(
        visit.time_ms > since_ms and lineage.place(visit).module == module
        for _, wafer in lineage.untested()
        for visit in wafer.visits
    )


def outlook(
    alert: AlertRecord, state: ControlState, lineage: Lineage, policy: Policy, lots: list[str]
) -> Outlook:
    """What is to come if nothing is done about an alert."""
    hours = max(policy.economics.response_h, 1e-3)
    return Outlook(
        share_of_lot=share_of_lot(alert, lineage),
        wafers_per_h=treated_of_late(alert.module, state, lineage, hours) / hours,
        lots=lots,
    )


def severity(
    alert: AlertRecord, state: ControlState, lineage: Lineage, policy: Policy, wafers_at_risk: int
) -> Severity:
    """Priority from consequence and time to respond (ISA-18.2, EEMUA 191).

    Consequence: good-wafer equivalents lost among the wafers at risk now and those the suspect
    will treat until somebody has responded (as many as in the same time before now).
    """
    coming = 0.0
    module = state.modules.get(alert.module)
    if alert.until_ms < 0 and module is not None and not module.inhibited and not module.down:
        coming = treated_of_late(alert.module, state, lineage, policy.economics.response_h)
    # A fault may be a sensor's alone; a pattern was seen on wafers.
    sure = alert.confidence if alert.kind == "fault" else 1.0
    lost = (wafers_at_risk + coming) * lost_share(alert, policy) * sure
    for grade in _GRADES:
        if lost >= policy.economics.severity_wafers[grade]:  # type: ignore[index]
            return grade
    return "low"


def _unaffected(alert: AlertRecord, state: ControlState, lineage: Lineage) -> tuple[str, ...]:
    """The latest wafers to compare with: the same step elsewhere, clean if it is a pattern."""
    found: list[str] = []
    names = reversed(lineage.tested) if alert.kind == "pattern" else reversed(state.wafers)
    for name in islice(names, 1000):
        wafer = state.wafers[name]
        if alert.pattern and wafer.patterns:
            continue
        modules = {lineage.place(v).module for v in wafer.visits if v.completed}
        if not modules or alert.module in modules:
            continue
        if alert.step and all(lineage.place(v).step != alert.step for v in wafer.visits):
            continue
        found.append(name)
        if len(found) == SHOWN:
            break
    return tuple(reversed(found))


def alert_event(
    alert: AlertRecord,
    state: ControlState,
    lineage: Lineage,
    lots: list[str],
    *,
    normal: bool = False,
) -> Alert:
    """The next revision of an alert."""
    alert.revision += 1
    alert.said_count = alert.affected_count
    return Alert(
        event_id=derived_id("alert", alert.alert_id, alert.revision),
        site=state.site,
        time_ms=state.now_ms,
        alert_id=alert.alert_id,
        revision=alert.revision,
        status="normal" if normal else "open",
        kind=alert.kind,
        severity=alert.severity,
        pattern=alert.pattern,
        suspect_module=alert.module,
        suspect_equipment=alert.module.partition("/")[0],
        suspect_recipe=alert.recipe,
        suspect_step=alert.step,
        since_ms=alert.since_ms,
        affected=tuple(alert.affected[-SHOWN:]),
        unaffected=_unaffected(alert, state, lineage),
        affected_count=alert.affected_count,
        examined_count=alert.examined_count,
        baseline_rate=alert.baseline_rate,
        confidence=alert.confidence,
        commonalities=alert.commonalities,
        shifts=alert.shifts,
        at_risk=tuple(lots[:SHOWN]),
        causes=_with_judgements(alert),
    )


def _with_judgements(alert: AlertRecord) -> tuple[Cause, ...]:
    """The causes, the first of them with what served models say of the suspect besides."""
    if not alert.judged or alert.judged_only or not alert.causes:
        return alert.causes
    first = alert.causes[0]
    said = msgspec.structs.replace(first, evidence=(*first.evidence, *alert.judged))
    return (said, *alert.causes[1:])
