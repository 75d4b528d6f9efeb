"""Risk, control charts, virtual metrology, run-to-run, and the switch over automatic actions."""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from console.api.alerts import Comment, Name, Offset, Text
from console.decisions import MissingError, switch_automation
from console.queries import automation as automation_queries
from console.queries import charts, judgements, risks, run_to_run, virtual
from console.services import Using
from console.steering_views import (
    ChartCard,
    ChartDetail,
    ForetoldView,
    JudgementView,
    LotDetail,
    LotRisk,
    R2rThread,
    R2rThreadDetail,
    RiskStep,
    VirtualDetail,
)
from console.views import AutomationView, Page
from contracts.events import ChartKind

__all__ = ["ChartState", "SwitchIn", "ThreadName", "ThreadStatus", "router"]

router = APIRouter(prefix="/api/v1", tags=["steering"])

Few = Annotated[int, Query(ge=1, le=100)]
ChartState = Literal["out", "recent", "learning", "in"]
ThreadStatus = Literal["learning", "active", "dead_band", "limited", "stopped"]
ThreadName = Annotated[str, Query(min_length=1, max_length=600)]
Required = Annotated[str, Query(min_length=1, max_length=200)]


class SwitchIn(BaseModel):
    """Automatic actions on or off, by whom and why."""

    model_config = ConfigDict(extra="forbid")

    automatic: bool
    by: Name = Field(default="", validate_default=True, description="who switches")
    comment: Comment = Field(default="", description="why; off needs none")

    @model_validator(mode="after")
    def _reason(self) -> Self:
        if self.automatic and not self.comment:
            raise ValueError("allowing automatic actions needs a comment: say why it is safe again")
        return self


@router.get("/lots")
def list_lots(
    services: Using,
    site: Text = "",
    q: Text = "",
    tested: bool = False,
    limit: Few = 25,
    offset: Offset = 0,
) -> Page[LotRisk]:
    """Lots by risk before inspection. `tested` shows those that are all tested too."""
    with services.read() as connection:
        return risks.list_lots(
            connection, site=site, q=q, open_only=not tested, limit=limit, offset=offset
        )


@router.get("/lots/{site}/{lot_id:path}")
def get_lot(services: Using, site: str, lot_id: str) -> LotDetail:
    """One lot with the risk of each wafer after each step."""
    with services.read() as connection:
        found = risks.lot_detail(connection, site, lot_id)
    if found is None:
        raise MissingError(f"no risk of a lot {lot_id!r} at {site!r} is stored")
    return found


@router.get("/wafers/{site}/{substrate_id:path}/risks")
def wafer_risks(services: Using, site: str, substrate_id: str) -> list[RiskStep]:
    """What one wafer was expected to show after each step so far."""
    with services.read() as connection:
        return risks.wafer_risks(connection, site, substrate_id)


@router.get("/wafers/{site}/{substrate_id:path}/virtual-metrology")
def wafer_virtual(services: Using, site: str, substrate_id: str) -> list[ForetoldView]:
    """What was foretold of one wafer."""
    with services.read() as connection:
        return virtual.foretold(connection, site, substrate_id)


@router.get("/wafers/{site}/{substrate_id:path}/judgements")
def wafer_judgements(services: Using, site: str, substrate_id: str) -> list[JudgementView]:
    """What registered models of faults and of risk said of the traces of one wafer."""
    with services.read() as connection:
        return judgements.of_wafer(connection, site, substrate_id)


@router.get("/charts")
def list_charts(
    services: Using,
    site: Text = "",
    module: Text = "",
    kind: Text = "",
    chart: ChartKind | None = None,
    state: ChartState | None = None,
    q: Text = "",
    limit: Few = 24,
    offset: Offset = 0,
) -> Page[ChartCard]:
    """Control charts with their latest points, those that are out first."""
    with services.read() as connection:
        return charts.list_charts(
            connection,
            site=site,
            module=module,
            kind=kind,
            chart=chart or "",
            state=state or "",
            q=q,
            limit=limit,
            offset=offset,
        )


@router.get("/charts/{site}/{chart_id:path}")
def get_chart(services: Using, site: str, chart_id: str) -> ChartDetail:
    """One chart with its latest 300 points, and the same chart on other modules."""
    with services.read() as connection:
        found = charts.chart_detail(connection, site, chart_id)
    if found is None:
        raise MissingError(f"there is no chart {chart_id!r} at {site!r}")
    return found


@router.get("/virtual-metrology")
def list_virtual(
    services: Using, site: Text = "", module: Text = "", limit: Few = 24, offset: Offset = 0
) -> Page[VirtualDetail]:
    """What is foretold on which module, and how well it held so far."""
    with services.read() as connection:
        return virtual.list_places(connection, site=site, module=module, limit=limit, offset=offset)


@router.get("/virtual-metrology/place")
def get_virtual(
    services: Using,
    site: Required,
    module: Required,
    step: Required,
    parameter: Required,
    model: Text = "",
) -> VirtualDetail:
    """One parameter of one module: the latest 300 wafers, foretold and measured.

    Foretold by the controller, or by the registered `model`.
    """
    with services.read() as connection:
        found = virtual.place_detail(connection, site, module, step, parameter, model)
    if found is None:
        raise MissingError(f"nothing foretells {parameter!r} of {module!r} after {step!r}")
    return found


@router.get("/run-to-run")
def list_threads(
    services: Using,
    site: Text = "",
    module: Text = "",
    status: ThreadStatus | None = None,
    limit: Few = 50,
    offset: Offset = 0,
) -> Page[R2rThread]:
    """Run-to-run threads after their latest run, those that are stopped first."""
    with services.read() as connection:
        return run_to_run.list_threads(
            connection, site=site, module=module, status=status or "", limit=limit, offset=offset
        )


@router.get("/run-to-run/thread")
def get_thread(services: Using, site: Required, thread: ThreadName) -> R2rThreadDetail:
    """One thread with its latest 300 runs."""
    with services.read() as connection:
        found = run_to_run.thread_detail(connection, site, thread)
    if found is None:
        raise MissingError(f"there is no run-to-run thread {thread!r} at {site!r}")
    return found


@router.get("/automation")
def automation(services: Using) -> list[AutomationView]:
    """Whether policies may approve actions, site by site."""
    with services.read() as connection:
        return automation_queries.automation(connection, services.sites)


@router.post("/automation/{site}")
def switch(services: Using, site: str, switch: SwitchIn) -> AutomationView:
    """Switch automatic actions of a site off (never refused) or on. 409 if they are on."""
    if site not in services.sites:
        raise MissingError(f"this console has no site {site!r}")
    with services.deps.engine.begin() as connection:
        event = switch_automation(
            connection,
            site,
            switch.automatic,
            by=switch.by,
            reason=switch.comment,
            now_ms=services.now_ms(),
        )
    services.decided(event)
    return AutomationView(
        site=site,
        automatic=event.automatic,
        by=event.by,
        reason=event.reason,
        time_ms=event.time_ms,
    )
