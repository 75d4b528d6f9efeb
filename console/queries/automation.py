"""The switch over automatic actions: where it stands, and who moved it."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from console import tables
from console.steering_views import SwitchView
from console.views import AutomationView

__all__ = ["automation", "switches"]


def automation(connection: Connection, sites: Sequence[str]) -> list[AutomationView]:
    """Where the switch of each site stands. Nobody has to switch on what was never off."""
    table = tables.automation
    found = {row.site: row for row in connection.execute(select(table))}
    return [
        AutomationView(
            site=site,
            automatic=bool(found[site].automatic),
            by=found[site].by,
            reason=found[site].reason,
            time_ms=found[site].time_ms,
        )
        if site in found
        else AutomationView(site=site, automatic=True)
        for site in sites
    ]


def switches(connection: Connection, limit: int) -> list[SwitchView]:
    """Each use of the switch that is known, the latest first."""
    table = tables.timeline
    rows = connection.execute(
        select(table)
        .where(table.c.alert_id == "", table.c.what.like("automation.%"))
        .order_by(table.c.time_ms.desc(), table.c.event_id)
        .limit(limit)
    )
    return [
        SwitchView(
            site=row.site,
            automatic=row.what == "automation.on",
            by=row.by,
            reason=row.comment,
            time_ms=row.time_ms,
        )
        for row in rows
    ]
