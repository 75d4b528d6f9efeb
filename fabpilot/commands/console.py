"""`fabpilot console`: the web application for fab engineers."""

import threading
from contextlib import ExitStack, closing
from typing import Annotated

import typer

from console.app import create_app
from console.deps import ConsoleDeps, HealthReport, ModelInfo, Site
from console.metrics import StripCollector
from console.server import ConsoleServer
from console.services import LOOP
from console.views import Strip
from contracts.errors import ConfigError
from fabpilot import __version__
from fabpilot.access import access_of, allowed_hosts, check_published, first_admin, tls_of
from fabpilot.commands.options import SiteOption
from fabpilot.health import Cached, health_of, registered_models
from fabpilot.monitor import Monitor
from fabpilot.output import err
from fabpilot.settings import Settings, load_settings
from fabpilot.stopping import stop_event
from fabpilot.tracing import tracing
from fabpilot.wiring import open_site_log, share_interpreter, sites
from streaming.database import open_engine

__all__ = ["register"]


def console(
    site: SiteOption = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on (FABPILOT_CONSOLE_HOST).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port (FABPILOT_CONSOLE_PORT); 0: any."),
    ] = None,
) -> None:
    """Serve the console: alerts, wafers, equipment, models and health in a browser.

    It shows all sites on the log, or one with --site. Without accounts (FABPILOT_AUTH=none) it is
    for this machine alone; with them it may be published (docs/security.md).

    For example:

      fabpilot console --port 8090
    """
    settings = load_settings()
    stop = stop_event()
    host = host or settings.console_host
    port = settings.console_port if port is None else port
    check_published(settings, host)
    serve(settings, stop, site=site, host=host, port=port)


def serve(
    settings: Settings, stop: threading.Event, *, site: str | None, host: str, port: int
) -> None:
    """Serve until `stop` is set.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    with ExitStack() as stack:
        log = stack.enter_context(closing(open_site_log(settings, site or settings.site)))
        engine = open_engine(settings.database_url, settings.database_password)
        stack.callback(engine.dispose)
        names = [site] if site else sites(log)
        models = Cached[list[ModelInfo]](lambda: list(registered_models(settings, engine)), [])
        health = Cached[HealthReport](
            lambda: health_of(settings, log, engine, names), HealthReport()
        )
        monitor = Monitor(settings, "console")
        told = stack.enter_context(
            tracing(settings, "console", monitor.registry, site=", ".join(names), group=LOOP)
        )
        deps = ConsoleDeps(
            engine=engine,
            log=log,
            sites=[Site(name, settings.time_zone) for name in names],
            model_info=models,
            health=health,
            version=__version__,
            allowed_hosts=allowed_hosts(settings, host),
            access=access_of(settings),
            on_taken=told.shown if told else None,
            on_decided=told.decided if told else None,
        )
        first_admin(settings, engine)
        app = create_app(deps)
        server = ConsoleServer(app, host=host, port=port, tls=tls_of(settings))
        monitor.check(app.state.services.ready)
        services = app.state.services

        def strip() -> Strip:
            with services.read() as connection:
                shown: Strip = services.strip(connection)
                return shown

        monitor.registry.register(StripCollector(strip))
        share_interpreter()
        thread = threading.Thread(target=server.run, name="console", daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise ConfigError(
                    f"cannot listen on {host}:{port}; another console may be running there,"
                    " or choose another port with --port"
                )
            if stop.wait(0.05):
                break
        if server.started:
            shown = f"[{host}]" if ":" in host else host
            scheme = "https" if tls_of(settings) else "http"
            err.print(f"console: {scheme}://{shown}:{server.port}")
        with monitor.serve():
            while thread.is_alive() and not stop.wait(0.25):
                monitor.beat()
        server.should_exit = True
        thread.join(timeout=4)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("console")(console)
