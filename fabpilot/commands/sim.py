"""`fabpilot sim`: the synthetic fab alone: on the log, to its end under a policy, as pictures."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from contracts.errors import ConfigError
from fab_sim import Scenario, builtin_scenarios, load_scenario
from fabpilot.advisors import Advisors
from fabpilot.commands.options import JsonOption, SiteOption
from fabpilot.commands.sim_show import show
from fabpilot.fab_judge import JudgedRun, PolicyName, judge_fab
from fabpilot.fab_runner import FabReport, FabRunner
from fabpilot.metrics import FabMetrics
from fabpilot.monitor import Monitor
from fabpilot.output import progress_bar, report
from fabpilot.settings import Settings, load_settings
from fabpilot.stopping import stop_event
from fabpilot.tracing import tracing
from fabpilot.truth_files import TruthFiles
from fabpilot.wiring import open_site_log

__all__ = ["register"]

# A fab's clock starts here unless told otherwise, so that a seed alone decides every byte.
_START = "2026-01-01T00:00"
# Lots of a judged run of an endless scenario: three days of the default fab.
_LOTS = 60
_POLICIES: tuple[PolicyName, ...] = ("none", "spc", "oracle", "advisor")


def run(
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", help="A built-in scenario or a YAML file.", metavar="FILE"),
    ] = None,
    list_scenarios: Annotated[
        bool, typer.Option("--list", help="List the built-in scenarios.")
    ] = False,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            help="Judge a run to its end under a policy: none, spc, oracle or advisor."
            " Nothing goes onto the log.",
        ),
    ] = None,
    lots: Annotated[int | None, typer.Option("--lots", min=1, help="Total number of lots.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Judged run: write the truth as Parquet files here."),
    ] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Judged run: add the SHA-256 of every stream.")
    ] = False,
    wafers: Annotated[
        int | None, typer.Option("--wafers", min=1, help="Stop when this many wafers are tested.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed (default: the scenario's own).")
    ] = None,
    start: Annotated[
        str,
        typer.Option("--start", help="The fab's clock at the start: an ISO time (UTC) or 'now'."),
    ] = _START,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed", min=0.001, help="Fab seconds per real second (default: as fast as possible)."
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="Write what really went wrong to this JSON file at the end."),
    ] = None,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the synthetic fab: onto the log, or to its end under a policy.

    On the log a fab that was stopped, or killed, goes on where it was, and obeys approved actions.
    With --policy or --out the run is judged: what it was worth, which excursions it had, and when
    they were noticed and stopped. It needs no log, no broker and no database.

    For example:

      fabpilot sim run --list

      fabpilot sim run --scenario demo --wafers 500

      fabpilot sim run --scenario slow_drift --policy spc --lots 200 --out run-1 --json
    """
    if list_scenarios:
        _list(as_json)
        return
    if scenario is None:
        raise ConfigError("name a scenario: fabpilot sim run --scenario demo; --list has them all")
    loaded = load_scenario(scenario)
    if lots is not None:
        loaded = msgspec.structs.replace(
            loaded, lots=msgspec.structs.replace(loaded.lots, total=lots)
        )
    settings = load_settings()
    sites = [site] if site else list(loaded.sites) or [settings.site]
    start_ms = _start_ms(start)
    if policy is not None or out is not None or digest:
        for name, given in (("--wafers", wafers), ("--speed", speed), ("--truth", truth)):
            if given is not None:
                raise ConfigError(f"{name} is for a fab on the log; leave it, or --policy, away")
        result = _judge(settings, loaded, sites, seed, policy or "none", start_ms, out, digest)
        if result is not None:
            report(result, as_json=as_json, title=f"{loaded.name} under {result.policy}")
        return
    _run_live(settings, loaded, sites, seed, start_ms, wafers, speed, truth, as_json)


def _run_live(
    settings: Settings,
    scenario: Scenario,
    sites: list[str],
    seed: int | None,
    start_ms: int,
    wafers: int | None,
    speed: float | None,
    truth: Path | None,
    as_json: bool,
) -> None:
    """Every site onto its part of the log, all at the same time."""
    stop = stop_event()
    done = dict.fromkeys(sites, 0)
    monitor = Monitor(settings, "fab")
    metrics = FabMetrics(monitor)
    with (
        monitor.serve(),
        tracing(settings, "fab", monitor.registry, site=", ".join(sites)) as told,
        progress_bar(f"fab {', '.join(sites)}", wafers and wafers * len(sites)) as bar,
    ):

        def one(site: str) -> tuple[FabRunner, FabReport]:
            log = open_site_log(settings, site, stop, wait=True)
            try:
                runner = FabRunner(
                    scenario,
                    log,
                    site=site,
                    seed=seed,
                    folder=settings.home,
                    start_ms=start_ms,
                    on_sent=told.sent if told else None,
                )

                def show(count: int) -> None:
                    done[site] = count
                    metrics.made(site, count)
                    bar.update(bar.tasks[0].id, completed=sum(done.values()))

                return runner, runner.run(stop, wafers=wafers, speed=speed, on_progress=show)
            except BaseException:
                stop.set()
                raise
            finally:
                log.close()

        with ThreadPoolExecutor(len(sites), thread_name_prefix="fab") as pool:
            results = list(pool.map(one, sites))
    if truth is not None:
        found = [item for runner, _ in results for item in runner.truth()]
        truth.write_bytes(msgspec.json.encode(found))
    if len(sites) == 1:
        report(results[0][1], as_json=as_json, title="fab")
        return
    by_site = {site: found for site, (_, found) in zip(sites, results, strict=True)}
    report(by_site, as_json=as_json, title="fabs")


def _judge(
    settings: Settings,
    scenario: Scenario,
    sites: list[str],
    seed: int | None,
    policy: str,
    start_ms: int,
    out: Path | None,
    digest: bool,
) -> JudgedRun | None:
    """A run to its end under a policy; None if it was stopped."""
    name = next((known for known in _POLICIES if known == policy), None)
    if name is None:
        raise ConfigError(f"--policy {policy!r}: it is one of {', '.join(_POLICIES)}")
    if scenario.lots.total is None:
        scenario = msgspec.structs.replace(
            scenario, lots=msgspec.structs.replace(scenario.lots, total=_LOTS)
        )
    total = (scenario.lots.total or 0) * scenario.lots.wafers * len(sites)
    make_advisor = Advisors(settings) if name == "advisor" else None
    stop = stop_event()
    with (
        TruthFiles(out) if out is not None else nullcontext() as files,
        progress_bar(f"{scenario.name} under {name}", total) as bar,
    ):
        result = judge_fab(
            scenario,
            sites=sites,
            seed=scenario.seed if seed is None else seed,
            policy=name,
            start_ms=start_ms,
            stop=stop,
            make_advisor=make_advisor,
            sink=files,
            digest=digest,
            on_progress=lambda count: bar.update(bar.tasks[0].id, completed=count),
        )
        if files is not None and result is not None:
            files.keep()
    return result


def _start_ms(text: str) -> int:
    if text == "now":
        return int(datetime.now(UTC).timestamp() * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--start {text!r}: write a time such as {_START}, or 'now'") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _list(as_json: bool) -> None:
    scenarios = builtin_scenarios()
    if as_json:
        report(scenarios, as_json=True)
        return
    table = Table("scenario", "what happens")
    for name, description in sorted(scenarios.items()):
        table.add_row(name, description)
    Console().print(table)


def register(app: typer.Typer) -> None:
    """Add the command."""
    sim = typer.Typer(help="The synthetic fab.", no_args_is_help=True)
    sim.command("run")(run)
    sim.command("show")(show)
    app.add_typer(sim, name="sim")
