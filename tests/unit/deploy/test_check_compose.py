"""What check-compose does before any engine is asked; the rest is the check itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from console import Site
from console.access.roles import Role
from console.tables import create_tables
from contracts.clock import ManualClock
from streaming.database import open_engine
from tests.access_helpers import LOCAL, PASSWORD, account
from tests.console_server import running
from tests.deploy_files import ROOT
from tests.factories import NOON_MS

sys.path.append(str(ROOT / "deploy"))

from checking import console, engine, images, steps

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> engine.Stack:
    monkeypatch.setattr(engine, "find_engine", lambda: ("docker", ["docker", "compose"]))
    steps.prepare(tmp_path / "project", "9.9.9", 60.0)
    return engine.Stack(tmp_path / "project", "test", ["fab", "metrics"])


def test_services_come_after_what_they_need(stack: engine.Stack) -> None:
    order = stack.services()
    assert set(order) == set(SERVICES) - {"processor-gpu", "trainer"}
    for place, name in enumerate(order):
        assert set(SERVICES[name].get("depends_on", {})) <= set(order[:place])


def test_a_check_has_secrets_and_ports_of_its_own(stack: engine.Stack) -> None:
    lines = (stack.folder / ".env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert settings["FABPILOT_TAG"] == "9.9.9"
    ports = {settings[name] for name in ("CONSOLE_PORT", "MLFLOW_PORT", "GRAFANA_PORT")}
    assert len(ports) == 3
    assert not ports & {"8080", "5000", "3000"}
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (stack.folder / volume.partition(":")[0]).exists()
    assert len(list((stack.folder / "secrets").iterdir())) > 0


def test_every_image_of_others_has_a_stand_in() -> None:
    asked = {s["image"].partition(":")[0] for s in SERVICES.values() if "build" not in s}
    found = images.third_party()
    assert {name.split("docker.io/")[1].partition(":")[0] for name in found.values()} == {
        name if "/" in name else f"library/{name}" for name in asked | {"python"}
    }
    for folder in found:
        file = ROOT / "deploy" / "standins" / folder / "Containerfile"
        assert "LABEL fabpilot.stand-in=true" in file.read_text()


def test_without_an_engine_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    with pytest.raises(engine.CheckError, match="apt-get install podman"):
        engine.find_engine()


def test_it_explains_itself() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "check-compose"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "--stand-ins" in done.stdout


def test_it_signs_in_to_a_console_as_a_person_would(tmp_path: Path) -> None:
    database = open_engine(f"sqlite:///{tmp_path / 'console.db'}")
    create_tables(database)
    account(database, "admin", Role.ADMIN, NOON_MS)
    sites, clock = (Site("kr1", "Asia/Seoul"),), ManualClock(NOON_MS)
    with running(engine=database, sites=sites, clock=clock, access=LOCAL) as server:
        base = f"http://127.0.0.1:{server.port}"
        assert console.status_of(f"{base}/api/v1/alerts") == 401
        console.sign_in(base, "admin", PASSWORD)
        with pytest.raises(engine.CheckError, match="does not let admin in"):
            console.sign_in(base, "admin", "another password")
    database.dispose()
