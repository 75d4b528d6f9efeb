"""The pages of what steers the process: lots at risk, charts, virtual metrology, run-to-run."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from console.api.alerts import Offset, Text
from console.api.steering import ChartState, ThreadName, ThreadStatus
from console.api.wafers import Moment
from console.pages import missing
from console.queries import charts, equipment, judgements, risks, run_to_run, virtual
from console.rendering import render
from console.services import Speaks, Using
from contracts.events import ChartKind

__all__ = ["router"]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_LOTS_A_PAGE = 25
_CHARTS_A_PAGE = 24
_PLACES_A_PAGE = 12
_THREADS_A_PAGE = 50
# What is seen of a module at a glance; the rest is a click away.
_CHARTS_OF_A_MODULE = 12
# A pattern below this for every wafer would be a row of empty cells.
_WORTH_A_ROW = 0.005


@router.get("/lots")
def lots(
    request: Request,
    services: Using,
    strings: Speaks,
    site: Text = "",
    q: Text = "",
    tested: bool = False,
    offset: Offset = 0,
) -> Response:
    """Which lots will be bad?"""
    with services.read() as connection:
        return render(
            request,
            services,
            connection,
            strings,
            "lots.html",
            page="wafers",
            title=strings("tab.lots"),
            lots=risks.list_lots(
                connection,
                site=site,
                q=q,
                open_only=not tested,
                limit=_LOTS_A_PAGE,
                offset=offset,
            ),
            chosen={"site": site, "q": q, "tested": tested},
            at_risk=risks.AT_RISK,
        )


@router.get("/lots/{site}/{lot_id:path}")
def lot(
    request: Request,
    services: Using,
    strings: Speaks,
    site: str,
    lot_id: str,
    pattern: Text = "",
) -> Response:
    """Which wafers of this lot, of which pattern, and since which step?"""
    with services.read() as connection:
        found = risks.lot_detail(connection, site, lot_id)
        if found is None:
            return missing(request, services, connection, strings, f"{site}/{lot_id}")
        last = {one.substrate_id: one.risk.probabilities for one in found.slots}
        ranked = sorted(found.patterns, key=lambda name: -_at_most(last.values(), name))
        return render(
            request,
            services,
            connection,
            strings,
            "lot.html",
            page="wafers",
            title=strings("wafers.lot", lot=lot_id),
            lot=found,
            patterns=ranked,
            shown=[name for name in ranked if _at_most(last.values(), name) >= _WORTH_A_ROW],
            chosen=pattern if pattern in found.patterns else "",
            at_risk=risks.AT_RISK,
            served={
                model: {one.substrate_id: one for one in wafers}
                for model, wafers in judgements.lot_risks(connection, site, lot_id).items()
            },
        )


def _at_most(wafers: Iterable[Mapping[str, float]], pattern: str) -> float:
    return max((one.get(pattern, 0.0) for one in wafers), default=0.0)


@router.get("/equipment/{site}/{module:path}")
def module(request: Request, services: Using, strings: Speaks, site: str, module: str) -> Response:
    """What is known of one module: its state, its charts, what is foretold, how it is steered."""
    with services.read() as connection:
        found = equipment.list_modules(connection, services.now_ms(), site=site, module=module)
        of_it = charts.list_charts(
            connection, site=site, module=module, without="score", limit=_CHARTS_OF_A_MODULE
        )
        judged = charts.list_charts(
            connection, site=site, module=module, chart="score", limit=_CHARTS_OF_A_MODULE
        )
        places = virtual.list_places(connection, site=site, module=module, limit=_PLACES_A_PAGE)
        threads = run_to_run.list_threads(
            connection, site=site, module=module, limit=_THREADS_A_PAGE
        )
        if not (found or of_it.total or judged.total or places.total or threads.total):
            return missing(request, services, connection, strings, f"{site}/{module}")
        return render(
            request,
            services,
            connection,
            strings,
            "module.html",
            page="equipment",
            title=module,
            site=site,
            name=module,
            module=found[0] if found else None,
            charts=of_it,
            judged=judged,
            places=places,
            threads=threads,
        )


@router.get("/charts")
def chart_list(
    request: Request,
    services: Using,
    strings: Speaks,
    site: Text = "",
    module: Text = "",
    kind: Text = "",
    chart: ChartKind | Literal[""] = "",
    state: ChartState | Literal[""] = "",
    q: Text = "",
    offset: Offset = 0,
) -> Response:
    """Which process is out of control?"""
    with services.read() as connection:
        modules = equipment.list_modules(connection, services.now_ms())
        return render(
            request,
            services,
            connection,
            strings,
            "charts.html",
            page="equipment",
            title=strings("tab.charts"),
            charts=charts.list_charts(
                connection,
                site=site,
                module=module,
                kind=kind,
                chart=chart,
                state=state,
                q=q,
                limit=_CHARTS_A_PAGE,
                offset=offset,
            ),
            modules=sorted({one.module for one in modules}),
            kinds=sorted({one.kind for one in modules}),
            chosen={
                "site": site,
                "module": module,
                "kind": kind,
                "chart": chart,
                "state": state,
                "q": q,
            },
        )


@router.get("/charts/{site}/{chart_id:path}")
def chart(
    request: Request,
    services: Using,
    strings: Speaks,
    site: str,
    chart_id: str,
    at: Moment = 0,
) -> Response:
    """One control chart: its points, limits, rules, and its like on other modules.

    `at` is the time of the point whose contributions are shown, the latest that has any by default.
    """
    with services.read() as connection:
        found = charts.chart_detail(connection, site, chart_id)
        if found is None:
            return missing(request, services, connection, strings, f"{site}/{chart_id}")
        broken = [point for point in found.history if point.rules][::-1]
        told = [one for one in found.history[::-1] if one.contributions]
        contributing = next((one for one in told if one.time_ms == at), next(iter(told), None))
        return render(
            request,
            services,
            connection,
            strings,
            "chart.html",
            page="equipment",
            title=found.parameter or strings(f"chart.{found.chart}"),
            chart=found,
            broken=broken,
            contributing=contributing,
        )


@router.get("/virtual")
def virtual_metrology(
    request: Request,
    services: Using,
    strings: Speaks,
    site: Text = "",
    module: Text = "",
    step: Text = "",
    parameter: Text = "",
    model: Text = "",
    offset: Offset = 0,
) -> Response:
    """Does virtual metrology hold? All places, or with step and parameter one of them."""
    with services.read() as connection:
        context: dict[str, Any] = {"chosen": {"site": site, "module": module}}
        if step and parameter:
            place = virtual.place_detail(connection, site, module, step, parameter, model)
            if place is None:
                what = f"{module} {step} {parameter}"
                return missing(request, services, connection, strings, what)
            context |= {"place": place}
        else:
            context |= {
                "places": virtual.list_places(
                    connection, site=site, module=module, limit=_PLACES_A_PAGE, offset=offset
                )
            }
        return render(
            request,
            services,
            connection,
            strings,
            "virtual_place.html" if "place" in context else "virtual.html",
            page="equipment",
            title=parameter or strings("tab.virtual"),
            **context,
        )


@router.get("/run-to-run")
def threads(
    request: Request,
    services: Using,
    strings: Speaks,
    site: Text = "",
    module: Text = "",
    status: ThreadStatus | Literal[""] = "",
    thread: ThreadName | None = None,
    offset: Offset = 0,
) -> Response:
    """Where does run-to-run control stand? All threads, or with `thread` one of them."""
    with services.read() as connection:
        if thread is not None:
            found = run_to_run.thread_detail(connection, site, thread)
            if found is None:
                return missing(request, services, connection, strings, thread)
            return render(
                request,
                services,
                connection,
                strings,
                "thread.html",
                page="equipment",
                title=thread,
                thread=found,
            )
        return render(
            request,
            services,
            connection,
            strings,
            "threads.html",
            page="equipment",
            title=strings("tab.run_to_run"),
            threads=run_to_run.list_threads(
                connection,
                site=site,
                module=module,
                status=status,
                limit=_THREADS_A_PAGE,
                offset=offset,
            ),
            chosen={"site": site, "module": module, "status": status},
        )
