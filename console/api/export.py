"""Every table as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from console.api.alerts import Text
from console.queries import (
    actions,
    alerts,
    automation,
    charts,
    equipment,
    overview,
    risks,
    run_to_run,
    virtual,
    wafers,
)
from console.services import Services, Speaks, Using

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["export"])

Table = Literal[
    "alerts",
    "actions",
    "wafers",
    "equipment",
    "audit",
    "dead_letters",
    "lots",
    "risks",
    "charts",
    "chart_points",
    "virtual_metrology",
    "run_to_run",
    "runs",
    "switches",
]
# A spreadsheet's limit is a million rows; a table here is a working list.
_CSV_ROWS = 20_000


@router.get("/export/{table}.csv", responses={200: {"content": {"text/csv": {}}}})
def export(
    services: Using,
    strings: Speaks,
    table: Table,
    site: Text = "",
    module: Text = "",
    lot: Text = "",
    chart_id: Text = "",
    step: Text = "",
    parameter: Text = "",
    model: Text = "",
    thread: str = "",
) -> Response:
    """A table as CSV (RFC 4180), UTF-8, at most 20,000 rows.

    `chart_points` are of `site` and `chart_id`, `runs` of `site` and `thread`, `risks` of `site`
    and `lot`; `charts`, `run_to_run` and `virtual_metrology` can be narrowed by `module`.
    """
    with services.read() as connection:
        match table:
            case "chart_points":
                rows: Sequence[BaseModel] = charts.chart_points(
                    connection, site, chart_id, _CSV_ROWS
                )
            case "runs":
                found = run_to_run.thread_detail(connection, site, thread)
                rows = found.history if found else []
            case "risks":
                rows = risks.lot_steps(connection, site, lot)
            case "virtual_metrology" if step and parameter:
                place = virtual.place_detail(connection, site, module, step, parameter, model)
                rows = place.history if place else []
            case _:
                rows = _listed(connection, services, strings, table, site=site, module=module)
    # A spreadsheet takes UTF-8 for what it is only if it begins with a byte order mark.
    return Response(
        "\ufeff" + _as_csv(rows),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="fabpilot-{table}.csv"'},
    )


def _listed(
    connection: Connection,
    services: Services,
    strings: Speaks,
    table: Table,
    *,
    site: str,
    module: str,
) -> Sequence[BaseModel]:
    match table:
        case "alerts":
            return alerts.list_alerts(
                connection, services.now_ms(), strings, services.zones, site=site, limit=_CSV_ROWS
            ).items
        case "actions":
            return actions.list_actions(connection, site=site, limit=_CSV_ROWS).items
        case "wafers":
            return wafers.list_wafers(connection, site=site, mapped=False, limit=_CSV_ROWS).items
        case "equipment":
            return equipment.list_modules(connection, services.now_ms(), site=site)
        case "audit":
            return overview.audit_trail(connection, _CSV_ROWS, 0).items
        case "dead_letters":
            return overview.dead_letters(connection, _CSV_ROWS, 0).items
        case "lots":
            return risks.list_lots(connection, site=site, limit=500).items
        case "charts":
            return charts.list_charts(
                connection, site=site, module=module, recent=0, limit=_CSV_ROWS
            ).items
        case "virtual_metrology":
            return virtual.list_places(connection, site=site, module=module, limit=500).items
        case "run_to_run":
            return run_to_run.list_threads(
                connection, site=site, module=module, limit=_CSV_ROWS
            ).items
        case _:
            return automation.switches(connection, _CSV_ROWS)


def _as_csv(rows: Sequence[BaseModel]) -> str:
    out = io.StringIO()
    if rows:
        flat = [_flat(row.model_dump()) for row in rows]
        # An action has columns of its effect only once there is one.
        names = dict.fromkeys(name for row in flat for name in row)
        writer = csv.DictWriter(out, list(names))
        writer.writeheader()
        writer.writerows(flat)
    return out.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of words joined, one nested view spread over columns, the rest left out."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and name == "effect":
            out |= {f"effect_{part}": _plain(one) for part, one in value.items()}
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            out[name] = _plain("; ".join(value))
        elif not isinstance(value, list | dict):
            out[name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula is quoted (OWASP)."""
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        value = "'" + value
    return value
