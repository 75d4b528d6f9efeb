"""`fabpilot demo`: the main job on one machine."""

import socket
import threading
import webbrowser
from typing import Annotated

import typer

from contracts.errors import ConfigError
from fab_sim import load_scenario
from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.demo import ensure_model, parts, run_headless
from fabpilot.output import err, progress_bar, report
from fabpilot.settings import Settings, load_settings
from fabpilot.stopping import stop_event
from fabpilot.supervisor import Child, Supervisor
from fabpilot.wiring import sites
from streaming.open import open_log

__all__ = ["register"]

# Fab seconds a wall second. At ten fab minutes a second about four wafers are tested each second,
# and the first excursion of the demo shows within the first minute.
_SPEED = 600.0
# Headless there is nobody to watch: about forty wafers a second.
_HEADLESS_SPEED = 6_000.0


def demo(
    scenario: Annotated[
        str, typer.Option("--scenario", help="A built-in scenario or a YAML file.")
    ] = "demo",
    headless: Annotated[
        bool, typer.Option("--headless", help="No console: run to the end and report.")
    ] = False,
    wafers: Annotated[
        int, typer.Option("--wafers", min=1, help="With --headless: stop after this many wafers.")
    ] = 500,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed (default: the scenario's own).")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed", min=0.001, help="Fab seconds per real second (default: 600; headless 6000)."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=65535, help="Port of the console (FABPILOT_CONSOLE_PORT)."
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the console in a browser.")
    ] = True,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a fab, score its wafers, raise alerts, and show them in a browser.

    Everything runs on this machine, on the embedded log. The first start trains a small model.
    Ctrl-C stops everything; the next start continues where this one ended. To start from nothing,
    remove the folder .fabpilot.

    With --headless, each run is a new site (demo-1, demo-2, …) and ends with a report.

    For example:

      fabpilot demo

      fabpilot demo --headless --wafers 500 --json
    """
    settings = load_settings()
    loaded = load_scenario(scenario)
    chosen_seed = loaded.seed if seed is None else seed
    stop = stop_event()
    if headless:
        site = site or _unused_site(settings)
        if not ensure_model(settings, stop, err.print):
            raise typer.Exit(130)
        with progress_bar("wafers", wafers) as bar:
            result = run_headless(
                settings,
                stop,
                scenario=scenario,
                site=site,
                wafers=wafers,
                seed=chosen_seed,
                speed=speed or _HEADLESS_SPEED,
                on_progress=lambda done: bar.update(bar.tasks[0].id, completed=done),
            )
        if result is None:
            raise typer.Exit(130)
        report(result, as_json=as_json, title="demo")
        return
    _interactive(
        settings,
        stop,
        site=site or settings.site,
        scenario=scenario,
        seed=chosen_seed,
        speed=speed or _SPEED,
        port=settings.console_port if port is None else port,
        browser=browser,
    )


def _interactive(
    settings: Settings,
    stop: threading.Event,
    *,
    site: str,
    scenario: str,
    seed: int,
    speed: float,
    port: int,
    browser: bool,
) -> None:
    _check_port(port)
    folder = settings.home / "logs"
    supervisor = Supervisor()
    url = f"http://127.0.0.1:{port}"
    try:
        console = ["console", "--site", site, "--host", "127.0.0.1", "--port", str(port)]
        supervisor.start(Child("console", console, folder))
        err.print(f"Console: [bold]{url}[/]  (what the processes say is in {folder})")
        if not ensure_model(settings, stop, err.print):
            return
        for part in parts(settings, site):
            supervisor.start(part)
        fab = ["sim", "run", "--scenario", scenario, "--site", site, "--start", "now"]
        fab += ["--seed", str(seed), "--speed", str(speed)]
        supervisor.start(Child(f"sim.{site}", fab, folder))
        err.print(
            "The fab runs. Alerts appear within a minute or two; open one, look at the evidence,"
            " approve the action, and watch the fab obey.\n"
            "Ctrl-C stops everything; the next start goes on from here."
        )
        if browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        supervisor.run(stop)
    finally:
        err.print("Stopping.")
        supervisor.close()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} on 127.0.0.1 is taken ({error.strerror}): is another demo running?"
                " Choose another with --port"
            ) from error


def _unused_site(settings: Settings) -> str:
    log = open_log(settings.log_url, settings.kafka_access, retention=settings.retention)
    try:
        taken = set(sites(log))
    finally:
        log.close()
    number = 1
    while f"demo-{number}" in taken:
        number += 1
    return f"demo-{number}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)
