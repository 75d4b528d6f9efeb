"""The compose file keeps the promises of docs/deploy.md; no engine is needed to see that."""

import re
from typing import Any

import pytest
import yaml

from fabpilot.settings import Settings
from tests.deploy_files import ROOT, load

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
PUBLISHED = {"console", "mlflow", "grafana"}
NAMES = sorted(SERVICES)


@pytest.mark.parametrize("name", NAMES)
def test_a_service_can_do_little_beyond_its_work(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert "privileged" not in service
    assert service["restart"] in ("unless-stopped", "on-failure")
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory"}


@pytest.mark.parametrize("name", NAMES)
def test_a_health_check_asks_for_more_than_a_file(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if name == "trainer":  # It ends by itself.
        assert check == {"disable": True}
        return
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert check["test"][1:3] != ["test", "-f"]
    assert check["start_period"]


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_a_pinned_tag(name: str) -> None:
    image = SERVICES[name]["image"]
    if "build" in SERVICES[name]:
        # No image of ours has a tag before `make secrets` has written one.
        assert image.endswith(":${FABPILOT_TAG:?run make secrets first}")
        stage = re.escape(SERVICES[name]["build"]["target"])
        assert re.search(rf"^FROM \S+ AS {stage}$", DOCKERFILE, re.MULTILINE)
    else:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", image)


def test_every_base_image_of_the_dockerfile_has_a_pinned_tag() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - stages
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)


def test_only_three_services_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert {name for name, ports in published.items() if ports} == PUBLISHED
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if "outside" in service["networks"]}
    assert outside == PUBLISHED
    assert all("inside" in service["networks"] for service in SERVICES.values())
    assert all("network_mode" not in service for service in SERVICES.values())


def test_passwords_are_files_that_make_secrets_writes() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    declared = COMPOSE["secrets"]
    assert used == set(declared) == set(load("make_secrets.py").NAMES)
    assert all(declared[name] == {"file": f"secrets/{name}"} for name in declared)
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY|TOKEN", name) and "DISABLED" not in name:
                assert str(value).startswith("/run/secrets/"), name


@pytest.mark.parametrize("name", NAMES)
def test_a_service_has_the_secrets_its_settings_name_and_no_other(name: str) -> None:
    service = SERVICES[name]
    settings = service.get("environment", {})
    given = set(service.get("secrets", []))
    if "FABPILOT_HOME" in settings:
        # Of ours, each has the passwords of what it speaks to: a fab of nothing but Kafka.
        named = {
            str(value).rpartition("/")[2]
            for value in settings.values()
            if str(value).startswith("/run/secrets/")
        }
        assert given <= named
    assert ("fabpilot_db" in given) == (name in ("postgres", "controller", "console"))


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_one_of_ours(name: str) -> None:
    known = {f"FABPILOT_{field.upper()}" for field in Settings.model_fields}
    ours = {key for key in SERVICES[name].get("environment", {}) if key.startswith("FABPILOT_")}
    assert ours <= known


def test_services_start_after_what_they_need_is_healthy() -> None:
    for service in SERVICES.values():
        needs = service.get("depends_on", {})
        assert all(how == {"condition": "service_healthy"} for how in needs.values())
        assert set(needs) <= set(SERVICES)
    assert set(SERVICES["processor"]["depends_on"]) == {"kafka", "mlflow"}
    assert set(SERVICES["console"]["depends_on"]) == {"kafka", "postgres"}


def test_processors_can_be_scaled_and_a_gpu_is_reserved_not_hoped_for() -> None:
    assert "container_name" not in SERVICES["processor"]
    assert "ports" not in SERVICES["processor"]
    gpu = SERVICES["processor-gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["environment"]["FABPILOT_DEVICE"] == "cuda"
    reserved = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]


def test_torch_is_in_the_trainer_alone() -> None:
    extras = dict(re.findall(r"AS (\S+)-libraries\n(?:.*\n)+?.*install '\.\[(.*)\]'", DOCKERFILE))
    assert set(extras) == {"platform", "gpu", "trainer"}
    assert [name for name, asked in extras.items() if "train" in asked.split(",")] == ["trainer"]


def test_what_is_kept_lies_in_named_volumes() -> None:
    named = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            if source.startswith("./deploy/"):
                assert rest.endswith(":ro")
            else:
                named.add(source)
    assert named == set(COMPOSE["volumes"])
