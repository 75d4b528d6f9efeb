"""`fabpilot doctor`: what works here, and how to mend what does not."""

import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec
import typer
from rich.table import Table

from contracts.errors import FabpilotError, LogAccessError
from fabpilot import __version__
from fabpilot.commands.options import JsonOption
from fabpilot.output import err, report
from fabpilot.settings import Settings, load_settings
from fabpilot.wiring import open_repository, open_trace_repository, sites, task_of_model
from serving.device import Device, device_report, providers
from streaming.open import kafka_cluster, open_log

__all__ = ["Check", "check_all", "register"]

# The demo fab writes about 40 MB per thousand wafers with traces; below this a day is not sure.
_LOW_DISK_BYTES = 2 * 1024**3


class Check(msgspec.Struct, frozen=True):
    """One thing looked at.

    Attributes:
        status: 'ok'; 'note' for what is optional and missing; 'bad' for what must be mended.
        detail: what was found.
        mend: what to do; '' if nothing.
    """

    name: str
    status: Literal["ok", "note", "bad"]
    detail: str
    mend: str = ""


def check_all(settings: Settings) -> list[Check]:
    """Look at everything; each look is bounded and none changes anything that lasts."""
    looks: list[Callable[[Settings], Check]] = [
        _python, _runtime, _device, _home, _log, _model, _console, _kafka, _optional
    ]  # fmt: skip
    checks = []
    for look in looks:
        try:
            checks.append(look(settings))
        except FabpilotError as error:
            # What happened; what to do.
            detail, _, mend = str(error).partition("; ")
            checks.append(Check(look.__name__.strip("_"), "bad", detail, mend))
    return checks


def _python(_settings: Settings) -> Check:
    return Check(
        "python",
        "ok",
        f"fabpilot {__version__}, Python {platform.python_version()} on {platform.machine()}",
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _runtime(_settings: Settings) -> Check:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(both) == 2:
        return Check(
            "onnxruntime",
            "bad",
            "onnxruntime and onnxruntime-gpu are both installed; they overwrite each other",
            f"{sys.executable} -m pip uninstall -y onnxruntime onnxruntime-gpu && make setup",
        )
    return Check("onnxruntime", "ok", f"{both[0]} {_installed(both[0])}")


def _device(settings: Settings) -> Check:
    found = device_report()
    asked = ", ".join(providers(settings.device, found))
    if settings.device is Device.AUTO and found.reason:
        return Check("device", "note", f"models run on {asked}: {found.reason}")
    return Check("device", "ok", f"'{settings.device}' would ask for {asked}")


def _home(settings: Settings) -> Check:
    folder = settings.home
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check(
            "home", "bad", f"{folder} cannot be written: {error.strerror}", "set FABPILOT_HOME"
        )
    detail = f"{folder.absolute()}, {free / 1024**3:.1f} GiB free"
    if free < _LOW_DISK_BYTES:
        return Check("home", "bad", detail, "free some disk space, or set FABPILOT_HOME elsewhere")
    return Check("home", "ok", detail)


def _log(settings: Settings) -> Check:
    kind, _, rest = settings.log_url.partition(":")
    if kind == "embedded" and not Path(rest).exists():
        return Check("log", "note", f"{rest} does not exist yet; the first command makes it")
    log = open_log(settings.log_url, settings.kafka_access)
    try:
        topics = log.topics()
        records = sum(log.ends(topics).values())
        return Check(
            "log", "ok", f"{settings.log_url}: {records} records, sites {', '.join(sites(log))}"
        )
    finally:
        log.close()


def _model(settings: Settings) -> Check:
    registry = settings.mlflow_uri
    if registry.startswith("sqlite:///") and not Path(registry[10:]).exists():
        return Check(
            "model",
            "note",
            f"no MLflow store at {registry[10:]} yet",
            "fabpilot train wafer-map --data sim:mixed --budget 2m, or fabpilot demo",
        )
    try:
        task = task_of_model(settings)
        loaded = (
            open_repository(settings) if task is None else open_trace_repository(settings, task)
        ).current()
    except FabpilotError as error:
        return Check("model", "bad", str(error), "fabpilot models list")
    return Check(
        "model",
        "ok",
        f"{settings.model} is version {loaded.ref.version}"
        f" ({loaded.session.sha256[:12]}) on {loaded.session.provider}",
    )


def _console(settings: Settings) -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.console_host, settings.console_port))
        except OSError as error:
            return Check(
                "console",
                "note",
                f"{settings.console_host}:{settings.console_port}: {error.strerror}"
                " (is the console running?)",
                "if not, set FABPILOT_CONSOLE_PORT to another port",
            )
    return Check("console", "ok", f"port {settings.console_port} is free")


def _kafka(settings: Settings) -> Check:
    installed = _installed("kafka-python")
    if not installed:
        return Check("kafka", "note", "its client is missing", "pip install 'fabpilot[kafka]'")
    if not _installed("crc32c"):
        return Check(
            "kafka",
            "bad",
            f"kafka-python {installed} without crc32c computes checksums in pure Python",
            "pip install 'kafka-python[crc32c,lz4,zstd]'",
        )
    client = f"client kafka-python {installed}"
    cluster = kafka_cluster(settings.log_url, settings.kafka_access)
    if cluster is None:
        return Check("kafka", "ok", client)
    from streaming.kafka.access import check_access

    trusted = cluster.ca_file or "the system's authorities"
    door = (f"TLS (trusting {trusted})" if cluster.tls else "no TLS") + (
        f" as user {cluster.user!r}" if cluster.user else " without a user"
    )
    try:
        let_in = check_access(cluster)
    except LogAccessError as error:
        detail, _, mend = str(error).partition("; ")
        return Check("kafka", "bad", f"{client}, by {door}: {detail}", mend)
    if not let_in:
        return Check(
            "kafka",
            "bad",
            f"{client}; no broker of {cluster.brokers} answers",
            "check that Kafka runs and that FABPILOT_LOG names it",
        )
    return Check("kafka", "ok", f"{client}; {cluster.brokers} lets us in by {door}")


def _optional(_settings: Settings) -> Check:
    names = {
        "java": "Apache Kafka on this machine",
        "chromium": "browser tests and screenshots",
        "docker": "docker compose",
        "podman": "docker compose without Docker",
    }
    missing = [f"{name} ({use})" for name, use in names.items() if not shutil.which(name)]
    if missing:
        return Check("optional", "note", f"not here: {', '.join(missing)}")
    return Check("optional", "ok", f"{', '.join(names)} are here")


_SIGNS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[bold red]bad[/]"}


def doctor(as_json: JsonOption = False) -> None:
    """Say what works on this machine and how to mend what does not.

    Exits with 1 if something must be mended.
    """
    checks = check_all(load_settings())
    good = all(check.status != "bad" for check in checks)
    if as_json:
        report({"ok": good, "checks": msgspec.to_builtins(checks)}, as_json=True)
    else:
        table = Table("", "what", "found", "to do")
        for check in checks:
            table.add_row(_SIGNS[check.status], check.name, check.detail, check.mend)
        err.print(table)
    raise typer.Exit(0 if good else 1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)
