"""Equipment, models, health, the audit trail and the strip."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from console.api.alerts import Limit, Offset, Text
from console.queries import equipment, overview
from console.services import Services, Using
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
