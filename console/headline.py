"""An alert in one sentence, built from its fields alone."""

from console.strings import Strings
from console.times import clock_time
from contracts.events import Alert

__all__ = ["headline"]


def headline(alert: Alert, strings: Strings, zone: str) -> str:
    """What happened, where, since when, compared with what, and how sure we are.

    "Edge-Ring on 11 of 14 wafers after ETCH-04/B since 14:20, 0.3 % elsewhere;
    rf_reflected_w high, 0.82".
    """
    if alert.kind in ("unknown", "drift"):
        return _of_the_model(alert, strings, zone)
    what = alert.pattern or strings("headline.fault")
    counted = alert.examined_count > 0
    where = alert.suspect_module or alert.suspect_equipment
    text = strings(
        "headline.counted" if counted else "headline.uncounted",
        what=what,
        affected=alert.affected_count,
        examined=alert.examined_count,
    )
    if where:
        text += strings("headline.after", where=where)
    text += strings("headline.since", time=clock_time(alert.since_ms, zone))
    if counted and where:
        text += strings("headline.elsewhere", percent=f"{100 * alert.baseline_rate:.1f}")
    if not where:
        return text + strings("headline.inconclusive")
    text += _worst_shift(alert, strings)
    return text + strings("headline.confidence", confidence=f"{alert.confidence:.2f}")


def _of_the_model(alert: Alert, strings: Strings, zone: str) -> str:
    """What the model itself stumbles over; no module is suspected."""
    since = strings("headline.since", time=clock_time(alert.since_ms, zone))
    if alert.kind == "drift":
        return (
            strings("headline.drift", examined=alert.examined_count)
            + since
            + _worst_shift(alert, strings)
        )
    return (
        strings(
            "headline.counted",
            what=strings("unknown"),
            affected=alert.affected_count,
            examined=alert.examined_count,
        )
        + since
        + strings("headline.name_it")
    )


def _worst_shift(alert: Alert, strings: Strings) -> str:
    if not alert.shifts:
        return ""
    worst = max(alert.shifts, key=lambda shift: abs(shift.z))
    side = strings("headline.high" if worst.z > 0 else "headline.low")
    return strings("headline.shift", variable=worst.variable, side=side)
