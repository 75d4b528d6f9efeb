"""`fabpilot control`: a site's controller. Events and predictions in, alerts and actions out."""

from typing import Annotated

import typer

from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.controller import Controller, controller_topics, loop_name
from fabpilot.metrics import ControllerMetrics
from fabpilot.monitor import Monitor
from fabpilot.output import progress_bar, report
from fabpilot.settings import load_settings
from fabpilot.stopping import stop_event
from fabpilot.tracing import tracing
from fabpilot.wiring import open_site_log
from streaming.database import open_engine

__all__ = ["register"]


def control(
    site: SiteOption = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Stop when everything on the log is processed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch a site, raise alerts and propose actions, each exactly once.

    A second one for the same site stands by and takes over if the first one dies. Guard rails come
    from FABPILOT_POLICY.

    For example:

      fabpilot control

      fabpilot control --until-idle --json
    """
    settings = load_settings()
    site = site or settings.site
    stop = stop_event()
    log = open_site_log(settings, site, stop, wait=not until_idle)
    engine = open_engine(settings.database_url, settings.database_password)
    try:
        monitor = Monitor(settings, "controller")
        metrics = ControllerMetrics(monitor, loop_name(site), site)
        topics = controller_topics(site)
        monitor.look(lambda: metrics.look(log, engine, topics))
        with (
            monitor.serve(),
            tracing(
                settings, "controller", monitor.registry, site=site, group=loop_name(site)
            ) as told,
            progress_bar(f"controlling {site}", None) as bar,
        ):
            controller = Controller(
                log,
                engine,
                site=site,
                policy_path=settings.policy,
                on_applied=told.applied if told else None,
            )
            result = controller.run(
                stop,
                until_idle=until_idle,
                on_progress=lambda done: bar.update(bar.tasks[0].id, completed=done.consumed),
                on_settled=metrics.settled,
                on_turn=metrics.turned,
            )
        report(result, as_json=as_json, title="controlled")
    finally:
        engine.dispose()
        log.close()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("control")(control)
