"""Real processes on Kafka, PostgreSQL and an MLflow server connect to what docs/network.md says."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import make_url

from fabpilot.cli import COMMANDS
from models.registry import RunRecord, log_and_register
from tests.command_line import Command, Home
from tests.model_files import write_model
from tests.network import Seen, documented, seen, unexplained, watching
from tests.postgres_server import free_port
from tests.span_receiver import receiving
from tests.waiting import until


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


@contextmanager
def mlflow_server(folder: Path, watched: dict[str, str]) -> Iterator[str]:
    """A real MLflow server; its address."""
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = Home(folder, HOME=str(folder), **settings, **watched).environment
    with (folder / "server.log").open("wb") as said:
        server = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        try:
            address = f"http://127.0.0.1:{port}"
            until(lambda: _read(f"{address}/health"), "MLflow")
            yield address
        finally:
            server.terminate()
            server.wait(20)


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_site_connects_to_what_its_settings_name(
    tmp_path: Path, kafka_brokers: str, postgres_url: str
) -> None:
    file, theirs = tmp_path / "seen.jsonl", tmp_path / "mlflow.jsonl"
    site = f"net-{time.time_ns() % 10**8}"
    console, metrics = free_port(), {name: free_port() for name in ("sim", "process", "control")}
    (tmp_path / "registry").mkdir()
    with ExitStack() as stack:
        mlflow = stack.enter_context(mlflow_server(tmp_path / "registry", watching(theirs)))
        model = write_model(tmp_path / "m.onnx")
        log_and_register(mlflow, "test", "wafer-map", model, RunRecord(params={}))
        receiver = stack.enter_context(receiving())
        settings = {
            "FABPILOT_OTLP_ENDPOINT": receiver.url,
            "FABPILOT_LOG": f"kafka://{kafka_brokers}",
            "FABPILOT_DATABASE": postgres_url,
            "FABPILOT_MLFLOW": mlflow,
            "FABPILOT_SITE": site,
            **watching(file),
        }
        words = {
            "process": ("process",),
            "control": ("control",),
            "console": ("console", "--port", str(console)),
            "sim": ("sim", "run", "--scenario", "demo", "--wafers", "40"),
        }
        for name, arguments in words.items():
            port = str(metrics.get(name, 0))
            home = Home(tmp_path / "home", **settings, FABPILOT_METRICS_PORT=port)
            service = stack.enter_context(Command(home, *arguments))
            stack.callback(service.stop)
        # The whole way was gone: the fab's wafers were scored and the console shows it.
        origin = f"http://127.0.0.1:{console}"
        wafers = f"{origin}/api/v1/wafers?site={site}"
        until(lambda: [w for w in json.loads(_read(wafers))["items"] if w["pattern"]], "wafers")
        until(lambda: b"Champion" in _read(f"{origin}/models"), "what the registry says")

    did = seen(file)
    brokers = {(host, int(port)) for host, port in (b.split(":") for b in kafka_brokers.split(","))}
    registry, database = urlsplit(mlflow), make_url(postgres_url)
    collector = urlsplit(receiver.url)
    addresses = {
        "FABPILOT_LOG": brokers,
        "FABPILOT_DATABASE": {(str(database.host), database.port or 5432)},
        "FABPILOT_OTLP_ENDPOINT": {(str(collector.hostname), collector.port or 0)},
        "FABPILOT_MLFLOW": {(str(registry.hostname), registry.port or 80)},
        "FABPILOT_CONSOLE_PORT": {("127.0.0.1", console)},
        "FABPILOT_METRICS_PORT": {("127.0.0.1", port) for port in metrics.values()},
    }
    assert unexplained(did, addresses) == set()
    # It was really watched: everybody was seen with the broker, and two with the registry.
    with_broker = {s.process for s in did if s.does == "connect" and (s.host, s.port) in brokers}
    assert with_broker >= {"sim", "process", "control", "console"}
    with_registry = {s.process for s in did if (s.host, s.port) in addresses["FABPILOT_MLFLOW"]}
    assert with_registry >= {"process", "console"}
    assert {s.service for s in receiver.spans} == {"fab", "processor", "controller", "console"}
    assert {s.attributes.get("messaging.system", "kafka") for s in receiver.spans} == {"kafka"}
    assert Seen("console", "listen", "127.0.0.1", console) in did
    # MLflow's server answers, and asks nobody.
    assert {(s.does, s.host) for s in seen(theirs)} <= {("listen", "127.0.0.1"), ("listen", "::1")}
    assert seen(theirs)


def test_what_is_not_in_the_document_is_told() -> None:
    addresses = {"FABPILOT_LOG": {("kafka", 9092)}, "FABPILOT_MLFLOW": {("mlflow", 5000)}}
    good = {
        Seen("process", "connect", "kafka", 9092),
        Seen("process", "look up", "mlflow", 0),
        Seen("process", "listen", "::1", 0),
    }
    bad = {
        Seen("process", "connect", "telemetry.example", 443),  # a place nobody named
        Seen("process", "look up", "telemetry.example", 0),
        Seen("process", "connect", "kafka", 22),  # another port of a known host
        Seen("evaluate", "connect", "kafka", 9092),  # another process than the document says
        Seen("process", "send", "kafka", 9092),  # datagrams nobody knows of
        Seen("python -c pass", "connect", "kafka", 9092),  # none of ours
    }
    assert unexplained(good | bad, addresses) == bad


def test_the_document_names_processes_that_there_are() -> None:
    # And PostgreSQL's own programs, which backup and restore start.
    assert {process for process, _ in documented()} <= {*COMMANDS, "psql"}
    assert {process for process, does in documented() if does == "listen"} >= {"console", "demo"}


def test_a_process_is_watched_from_its_first_connection(tmp_path: Path) -> None:
    code = (
        "import socket\n"
        "for call in (lambda: socket.create_connection(('127.0.0.1', 9), 1),\n"
        "             lambda: socket.getaddrinfo('telemetry.invalid', 443),\n"
        "             lambda: socket.gethostbyname('usage.invalid')):\n"
        "    try: call()\n"
        "    except OSError: pass\n"
    )
    file = tmp_path / "seen.jsonl"
    environment = Home(tmp_path, **watching(file)).environment
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert {(s.does, s.host, s.port) for s in seen(file)} == {
        ("look up", "127.0.0.1", 0),
        ("connect", "127.0.0.1", 9),
        ("look up", "telemetry.invalid", 0),
        ("look up", "usage.invalid", 0),
    }
