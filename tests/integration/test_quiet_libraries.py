"""No library reports home: each one that would is known, and its switch is set everywhere."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.codec import encode
from contracts.quiet import SWITCHES
from fabpilot.settings import Settings
from fabpilot.wiring import open_site_log
from tests.command_line import Home
from tests.deploy_files import ROOT
from tests.factories import wafer_map
from tests.model_files import write_model
from tests.rights import without_a_way_out

# What would report, by the package that brings it, and the switches that keep it from it.
REPORTS = {
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"},
    "mlflow-skinny": {"MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"},
    "onnxruntime": {"ORT_DISABLE_TELEMETRY"},
    "onnxruntime-gpu": {"ORT_DISABLE_TELEMETRY"},
    "timm": {"HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE"},  # through huggingface_hub
}
# Looked at: they connect to what they are told to and to nothing else.
SILENT = {
    "alembic", "argon2-cffi", "authlib", "fastapi", "jinja2", "joserfc", "kafka-python",
    "matplotlib", "msgspec", "numpy", "onnx", "onnxscript",
    "opentelemetry-exporter-otlp-proto-http", "opentelemetry-sdk", "pillow", "prometheus-client",
    "psycopg", "pyarrow", "pydantic", "pydantic-settings", "pyyaml", "requests", "rich",
    "scikit-learn", "scipy", "simpy", "sqlalchemy", "structlog", "torch", "torchvision", "typer",
    "uvicorn",
}  # fmt: skip
# Known to report, whoever brings them: none may come in unnoticed as a dependency of another.
KNOWN = {
    *REPORTS, "huggingface-hub", "bentoml", "chromadb", "comet-ml", "dagster", "dvc", "gradio",
    "langchain", "langsmith", "lightning", "neptune", "posthog", "prefect", "pytorch-lightning",
    "ray", "scarf-sdk", "segment-analytics-python", "sentry-sdk", "streamlit", "ultralytics",
    "wandb",
}  # fmt: skip
# Images of others, and the settings that keep them from it.
IMAGES: dict[str, dict[str, str]] = {
    "grafana": {
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_SECURITY_DISABLE_GRAVATAR": "true",
        "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED": "true",
    },
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
}
SILENT_IMAGES = {"kafka", "postgres", "prometheus"}
# Makes a session, as whoever knows nothing of all this would.
_PLAIN = "import onnxruntime as ort, sys; ort.InferenceSession(sys.argv[1])"
# Where ONNX Runtime keeps its id of this machine, below the home folder.
_DEVICE = ".cache/Microsoft/DeveloperTools/.onnxruntime/deviceid"
# With these ONNX Runtime is quiet by itself.
_TESTING = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "PYTEST_CURRENT_TEST")


def without_switches(home: Path) -> dict[str, str]:
    """The environment of somebody who has set none of them, with a home folder of their own."""
    kept = {n: v for n, v in os.environ.items() if n not in SWITCHES and n not in _TESTING}
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}


def requirements() -> set[str]:
    """Names of all packages that any of our processes needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    lines = [*project["dependencies"]]
    for extra, wanted in extras.items():
        lines += wanted if extra != "dev" else []
    names = {re.split(r"[\[<>=;~! ]", line, maxsplit=1)[0] for line in lines}
    return names - {project["name"]}


def test_every_dependency_was_looked_at() -> None:
    new = requirements() - REPORTS.keys() - SILENT
    assert not new, (
        f"does it report home? Say so here, in contracts/quiet.py, docs/network.md: {new}"
    )
    assert requirements() >= REPORTS.keys() | SILENT, "no longer needed: take it out here"


def test_nothing_known_to_report_came_with_something_else() -> None:
    there = {str(found.metadata["Name"]).lower().replace("_", "-") for found in distributions()}
    assert there & KNOWN <= REPORTS.keys() | {"huggingface-hub"}


def test_each_that_reports_has_its_switch_in_processes_images_and_the_document() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    document = (ROOT / "docs" / "network.md").read_text()
    assert set().union(*REPORTS.values()) == SWITCHES.keys()
    for name, value in SWITCHES.items():
        assert re.search(rf"^(ENV| ) .*\b{name}={value}( |$)", dockerfile, re.MULTILINE), name
        assert f"`{name}={value}`" in document


def test_the_images_of_others_have_theirs() -> None:
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
        "services"
    ]
    theirs = {
        name for name, s in services.items() if not str(s["image"]).startswith("fabpilot-")
    } | {"mlflow"}
    assert theirs == IMAGES.keys() | SILENT_IMAGES
    for name, switches in IMAGES.items():
        assert switches.items() <= services[name]["environment"].items()


@pytest.mark.parametrize("package", ["fabpilot", "serving", "models"])
def test_the_switches_are_set_before_any_library_is_there(package: str, tmp_path: Path) -> None:
    code = (
        f"import os, sys, {package}\n"
        "assert not {'onnxruntime', 'mlflow', 'timm', 'huggingface_hub'} & sys.modules.keys()\n"
        "print({name: os.environ.get(name) for name in sys.argv[1:]})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *SWITCHES],
        env=without_switches(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(SWITCHES)


def test_who_wants_it_otherwise_is_asked_no_further(tmp_path: Path) -> None:
    code = "import os, fabpilot; print(os.environ['HF_HUB_OFFLINE'])"
    environment = without_switches(tmp_path) | {"HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout == b"0\n"


def test_a_processor_leaves_no_id_of_the_machine(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    log = open_site_log(Settings(home=tmp_path / "home"), "kr1")
    log.append([encode(wafer_map(number)) for number in range(3)])
    log.close()
    ours = tmp_path / "ours"
    ours.mkdir()
    home = Home(tmp_path / "home")
    home.environment = without_switches(ours) | {"FABPILOT_HOME": str(tmp_path / "home")}
    assert home.json("process", "--until-idle", "--model", str(model))["produced"] == 3
    assert not list(ours.rglob("*onnxruntime*"))


def test_onnx_runtime_without_its_switch_leaves_one(tmp_path: Path) -> None:
    """So the test above can fail. It would be sent too: there must be no way out here."""
    alone = without_a_way_out()
    model = write_model(tmp_path / "m.onnx")
    command = [*alone, sys.executable, "-c", _PLAIN, str(model)]
    subprocess.run(command, env=without_switches(tmp_path), check=True, capture_output=True)
    assert (tmp_path / _DEVICE).exists(), "ONNX Runtime has changed: is its switch still the one?"
