"""Dashboards and alert rules ask for figures that the processes really show."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from console.metrics import StripCollector
from console.views import Strip
from fabpilot.metrics import ControllerMetrics, FabMetrics, ProcessorMetrics
from fabpilot.model_metrics import ModelMetrics
from fabpilot.monitor import Monitor
from fabpilot.settings import Settings
from serving.device import Device
from tests.deploy_files import ROOT, load

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules" / "fabpilot.yml"
boards = load("grafana/make_dashboards.py")
# What a library or Prometheus itself gives.
OTHERS = {"process_resident_memory_bytes", "process_cpu_seconds_total", "up", "ALERTS"}


class _NoRepository:
    """Never asked here: only names matter."""


def shown_names() -> set[str]:
    """Names of all series that the processes show, and those the rules record."""
    settings = Settings()
    names: set[str] = set()
    strip = Strip(
        sites=["kr1"],
        wafers=1,
        alerts_open=1,
        alerts_per_hour=1.0,
        model="",
        device="",
        dead_letters=0,
        last_wafer_s=1.0,
        now_ms=0,
        fab_ms=None,
        projector="running",
        lag_records=1,
        automation=[],
    )
    for make in (
        lambda monitor: ProcessorMetrics(monitor, "g", "kr1"),
        lambda monitor: ModelMetrics(monitor, _NoRepository(), Device.CPU),
        lambda monitor: ControllerMetrics(monitor, "controller.kr1", "kr1"),
        FabMetrics,
        lambda monitor: monitor.registry.register(StripCollector(lambda: strip)),
    ):
        monitor = Monitor(settings, "test")
        make(monitor)
        names |= set(_series(monitor.registry))
    rules = yaml.safe_load(RULES.read_text())
    names |= {
        rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule
    }
    return names | OTHERS


def _series(registry: CollectorRegistry) -> Iterator[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    for metric in registry.collect():
        for ending in endings.get(metric.type, [""]):
            yield metric.name + ending


def asked_names(query: str) -> set[str]:
    """Names of the series in a query: words that no label, function or string is."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(by|on|without) \([^)]*\)', " ", query)
    words = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w*\s*\()", bare))
    return {word for word in words if "_" in word or word in OTHERS} - {"histogram_quantile"}


@pytest.mark.parametrize("uid", boards.BOARDS)
def test_a_dashboard_asks_for_what_is_shown_and_is_the_one_that_is_made(uid: str) -> None:
    file = DEPLOY / "grafana" / "dashboards" / f"{uid}.json"
    assert file.read_text() == boards.text(uid), "run python deploy/grafana/make_dashboards.py"
    board: dict[str, Any] = json.loads(file.read_text())
    names = shown_names()
    for panel in board["panels"]:
        for target in panel["targets"]:
            asked = asked_names(target["expr"])
            assert asked, target["expr"]
            assert asked <= names, panel["title"]


def test_no_dashboard_has_panels_over_each_other() -> None:
    for uid in boards.BOARDS:
        cells: set[tuple[int, int]] = set()
        for panel in boards.dashboard(uid)["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    assert (x, y) not in cells
                    cells.add((x, y))


def test_a_rule_asks_for_what_is_shown_and_says_what_to_do() -> None:
    names = shown_names()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            asked = asked_names(rule["expr"])
            assert asked, rule
            assert asked <= names, rule
            if "alert" in rule:
                assert set(rule["annotations"]) == {"summary", "do"}
                assert rule["labels"]["severity"] in ("warning", "critical")


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        # As with what else is optional for a newcomer: required in CI.
        assert not os.environ.get("CI"), "promtool is not here"
        pytest.skip("promtool is not here (Debian: apt-get install prometheus)")
    for command in (
        ["check", "config", "../prometheus.yml"],
        ["test", "rules", "rules_test.yml"],
    ):
        done = subprocess.run(
            [promtool, *command],
            cwd=DEPLOY / "prometheus" / "tests",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test() -> None:
    tested = (DEPLOY / "prometheus" / "tests" / "rules_test.yml").read_text()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert "alert" not in rule or f"alertname: {rule['alert']}" in tested


def test_prometheus_asks_every_service_that_shows_something() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "fabpilot")
    asked = set(job["dns_sd_configs"][0]["names"])
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    shows = {
        name
        for name, service in services.items()
        if service.get("environment", {}).get("FABPILOT_METRICS_PORT") == "9100"
    }
    assert asked == shows
    assert job["dns_sd_configs"][0]["port"] == 9100


def test_grafana_is_given_what_it_is_told_of(tmp_path: Path) -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    uid = source["datasources"][0]["uid"]
    for board in boards.BOARDS:
        assert {panel["datasource"]["uid"] for panel in boards.dashboard(board)["panels"]} == {uid}
    provider = yaml.safe_load((provisioning / "dashboards" / "files.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]
