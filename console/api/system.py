"""Equipment, models, health, the audit trail, the strip, and every table as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from console.api.alerts import Limit, Offset, Text
from console.decisions import MissingError
from console.queries import alerts as alert_queries
from console.queries import equipment, overview, wafers
from console.services import Services, Speaks, Using
from console.views import (
    AuditEntry,
    DeadLetterView,
    ModuleView,
    Page,
    ShiftPoint,
    Strip,
)

__all__ = ["HealthView", "ModelView", "health_view", "model_views", "router"]

router = APIRouter(prefix="/api/v1", tags=["equipment, models and health"])

Table = Literal["alerts", "actions", "wafers", "equipment", "audit", "dead_letters"]
# A spreadsheet's limit is a million rows; a table here is a working list.
_CSV_ROWS = 20_000


class ModelView(BaseModel):
    """A version of a model."""

    name: str
    version: str
    alias: str
    sha256: str
    provider: str
    device: str
    metrics: dict[str, float]
    labels: list[str]
    created_ms: int
    run_url: str


class CheckView(BaseModel):
    """One thing an operator would look at."""

    name: str
    status: Literal["ok", "warning", "failed"]
    detail: str


class HealthView(BaseModel):
    """What all processes say about themselves."""

    status: Literal["ok", "warning", "failed"]
    checks: list[CheckView]
    versions: dict[str, str]


def model_views(services: Services) -> list[ModelView]:
    """The registered versions, as they are shown."""
    return [
        ModelView(
            name=model.name,
            version=model.version,
            alias=model.alias,
            sha256=model.sha256,
            provider=model.provider,
            device=model.device,
            metrics=dict(model.metrics),
            labels=list(model.labels),
            created_ms=model.created_ms,
            run_url=model.run_url,
        )
        for model in services.deps.model_info()
    ]


def health_view(services: Services) -> HealthView:
    """The console's own workers first, then what the other processes say."""
    checks = [
        CheckView(
            name=f"console {worker.name}",
            status="failed" if worker.failure else "ok",
            detail=worker.failure,
        )
        for worker in services.workers
    ]
    report = services.deps.health()
    checks += [CheckView(**asdict(check)) for check in report.checks]
    statuses = {check.status for check in checks}
    worst: Literal["ok", "warning", "failed"] = "ok"
    for level in ("warning", "failed"):
        if level in statuses:
            worst = level
    versions = dict(report.versions)
    if services.deps.version:
        versions.setdefault("fabpilot", services.deps.version)
    return HealthView(status=worst, checks=checks, versions=versions)


@router.get("/strip")
def strip(services: Using) -> Strip:
    """The figures at the top of every page."""
    with services.read() as connection:
        return services.strip(connection)


@router.get("/shift")
def shift(services: Using, site: Text = "") -> list[ShiftPoint]:
    """Yield and predicted patterns over the last eight hours of fab time."""
    with services.read() as connection:
        return overview.last_shift(connection, site)


@router.get("/equipment")
def list_equipment(services: Using, site: Text = "", module: Text = "") -> list[ModuleView]:
    """Modules with their SEMI E10 states."""
    with services.read() as connection:
        return equipment.list_modules(connection, services.now_ms(), site=site, module=module)


@router.get("/equipment/levels")
def levels(
    services: Using,
    site: Annotated[str, Query(min_length=1, max_length=32)],
    kind: Annotated[str, Query(min_length=1, max_length=64)],
) -> dict[str, dict[str, list[float]]]:
    """Mean of each trace variable by module of one kind: variable, module, values by time."""
    with services.read() as connection:
        return equipment.module_levels(connection, site, kind)


@router.get("/models")
def models(services: Using) -> list[ModelView]:
    """The registered versions of the models."""
    return model_views(services)


@router.get("/health")
def health(services: Using) -> HealthView:
    """What all processes say about themselves."""
    return health_view(services)


@router.get("/dead-letters")
def dead_letters(services: Using, limit: Limit = 50, offset: Offset = 0) -> Page[DeadLetterView]:
    """Records that could not be processed."""
    with services.read() as connection:
        return overview.dead_letters(connection, limit, offset)


@router.get("/audit")
def audit(
    services: Using, subject: Text = "", limit: Limit = 100, offset: Offset = 0
) -> Page[AuditEntry]:
    """Who decided what, when and why."""
    with services.read() as connection:
        return overview.audit_trail(connection, limit, offset, subject)


@router.get("/export/{table}.csv", responses={200: {"content": {"text/csv": {}}}})
def export(services: Using, strings: Speaks, table: Table) -> Response:
    """A table as CSV (RFC 4180), UTF-8, at most 20,000 rows."""
    body = _as_csv(_rows(services, strings, table))
    # A spreadsheet takes UTF-8 for what it is only if it begins with a byte order mark.
    return Response(
        "\ufeff" + body,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="fabpilot-{table}.csv"'},
    )


def _rows(services: Services, strings: Speaks, table: Table) -> list[BaseModel]:
    with services.read() as connection:
        match table:
            case "alerts":
                found: Iterable[BaseModel] = alert_queries.list_alerts(
                    connection, services.now_ms(), strings, services.zones, limit=_CSV_ROWS
                ).items
            case "actions":
                found = alert_queries.list_actions(connection, limit=_CSV_ROWS).items
            case "wafers":
                found = wafers.list_wafers(connection, mapped=False, limit=_CSV_ROWS).items
            case "equipment":
                found = equipment.list_modules(connection, services.now_ms())
            case "audit":
                found = overview.audit_trail(connection, _CSV_ROWS, 0).items
            case "dead_letters":
                found = overview.dead_letters(connection, _CSV_ROWS, 0).items
            case _:
                raise MissingError(f"there is no table {table!r}")
    return list(found)


def _as_csv(rows: list[BaseModel]) -> str:
    out = io.StringIO()
    if rows:
        flat = [_flat(row.model_dump()) for row in rows]
        writer = csv.DictWriter(out, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    return out.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without nested lists; text that a spreadsheet would run as a formula is quoted (OWASP)."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list | dict):
            continue
        if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
            value = "'" + value
        out[name] = value
    return out
