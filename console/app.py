"""The application: routes, middleware and what starts and stops with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.staticfiles import StaticFiles

from console import pages, problems, rendering, steering_pages
from console.access import admin, login
from console.access.door import Door
from console.access.identity import identity_of
from console.access.roles import Right
from console.api import accounts, alerts, events, export, steering, system, upkeep, wafers
from console.deps import ConsoleDeps
from console.metrics import exposition
from console.page_cache import PageCache
from console.security import BODY_S, Guard
from console.services import Services, Using

__all__ = ["create_app"]


class _Static(StaticFiles):
    """Static files that a browser may keep: their addresses change with their content."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "public, max-age=3600"
        return response


def create_app(deps: ConsoleDeps) -> FastAPI:
    """The console as an ASGI application. Nothing is connected until it starts.

    Args:
        deps: database, log and what others know; see `ConsoleDeps`.

    Raises:
        ConfigError: a site's time zone is not known on this machine.
    """
    services = Services(deps)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.start()
        services.feed.start()
        rendering.warm_up()
        try:
            yield
        finally:
            await services.feed.stop()
            services.stop()

    app = FastAPI(
        title="fabpilot console",
        version=deps.version or "0",
        lifespan=lifespan,
        # Their pages load scripts from elsewhere; the document itself is enough.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.services = services
    # The last one added is the first that a request meets.
    app.add_middleware(PageCache, feed=services.feed)
    app.add_middleware(Door, access=deps.access, keeper=services.keeper, limits=services.limits)
    app.add_middleware(
        Guard,
        allowed_hosts=tuple(deps.allowed_hosts),
        secure=deps.access.secure,
        body_s=BODY_S,
    )
    problems.install(app, rendering.problem_page)
    # Steering before wafers: its address of a wafer's risks is the longer one.
    for part in (accounts, alerts, events, export, steering, system, upkeep, wafers):
        app.include_router(part.router)
    app.include_router(login.api)
    app.include_router(login.router)
    app.include_router(admin.router)
    app.include_router(steering_pages.router)
    app.include_router(pages.router)

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        """For the orchestrator: 200 while the process answers."""
        return Response("ok\n")

    @app.get("/healthz", include_in_schema=False)
    def healthz(request: Request, services: Using) -> Response:
        """For the orchestrator: 200 while the console can do its work."""
        reason = services.ready()
        if reason and not identity_of(request).may(Right.LOOK):
            reason = "not ready; the Health page and the console's log say why"
        return problems.problem(503, reason) if reason else Response("ok\n")

    @app.get("/metrics", include_in_schema=False)
    def metrics(services: Using) -> Response:
        """For Prometheus."""
        with services.read() as connection:
            strip = services.strip(connection)
        return Response(exposition(strip), media_type="text/plain; version=0.0.4")

    app.mount("/static", _Static(directory=str(files("console") / "static")), name="static")
    return app
