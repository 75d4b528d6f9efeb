"""Commands on a Kafka with TLS, passwords and rights; what they say, and what they never say."""

import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import LogAccessError
from fabpilot.settings import load_settings
from fabpilot.wiring import site_topics
from streaming.open import open_log
from tests.command_line import Home, error_of, npz
from tests.factories import wafer_grid
from tests.kafka_rights import Rights, documented, environment, log_as, secure_cluster
from tests.kafka_server import KafkaCluster
from tests.model_files import write_model

pytestmark = pytest.mark.kafka

SITE = "kr1"
# The second has codes that no map has: it goes to dead letters.
GRIDS = [wafer_grid(20 + i % 7, 22, 0.1, i) for i in range(40)]
GRIDS[1] = np.full((20, 20), 9, np.uint8)


@pytest.fixture(scope="module")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with secure_cluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def home(secure_kafka: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Of user fabpilot, who has no rights yet; the site's topics are there."""
    log = log_as(secure_kafka, "admin")
    log.create_topics(site_topics(SITE))
    log.close()
    folder = tmp_path_factory.mktemp("home")
    npz(folder / "maps.npz", GRIDS)
    model = str(write_model(folder / "m.onnx"))
    return Home(folder, FABPILOT_MODEL=model, **environment(secure_kafka, "fabpilot"))


@pytest.fixture(scope="module")
def rights(secure_kafka: KafkaCluster) -> Iterator[Rights]:
    made = Rights(secure_kafka)
    yield made
    made.close()


def test_commands_do_with_the_documented_rights(home: Home, rights: Rights) -> None:
    maps = str(home.folder / "maps.npz")
    assert "docs/streaming.md" in error_of(home.run("replay", maps, code=1))
    rights.only("fabpilot", documented("replay", SITE))
    report = home.json("replay", maps)
    assert report["published"] == len(GRIDS)
    assert "docs/streaming.md" in error_of(home.run("process", "--until-idle", code=1))
    rights.only("fabpilot", documented("processor", SITE))
    report = home.json("process", "--until-idle")
    assert (report["produced"], report["dead_letters"]) == (len(GRIDS) - 1, 1)
    rights.only("fabpilot", documented("controller", SITE))
    assert home.json("control", "--until-idle")["consumed"] > 0
    rights.only("fabpilot", documented("tail", SITE))
    assert len(home.tail("predictions")) == len(GRIDS) - 1
    assert len(home.tail("dead_letters")) == 1


def test_a_service_does_not_wait_for_a_password_to_become_right(
    home: Home, secure_kafka: KafkaCluster
) -> None:
    wrong = Home(home.folder, **(home.environment | {"FABPILOT_KAFKA_USER": "stranger"}))
    said = error_of(wrong.run("process", code=1))
    assert "does not let user 'stranger' in" in said


def test_doctor_says_who_is_let_in_by_which_door(home: Home, secure_kafka: KafkaCluster) -> None:
    checks = {check["name"]: check for check in home.json("doctor")["checks"]}
    kafka = checks["kafka"]
    assert kafka["status"] == checks["log"]["status"] == "ok"
    for part in (secure_kafka.brokers, "TLS", str(secure_kafka.ca_file), "'fabpilot'"):
        assert part in kafka["detail"]


@pytest.mark.parametrize(
    ("changes", "found", "mend"),
    [
        ({"FABPILOT_KAFKA_USER": "stranger"}, "does not let user", "FABPILOT_KAFKA_PASSWORD_FILE"),
        ({"FABPILOT_LOG": "kafka+tls://127.0.0.1:1"}, "no broker of", "FABPILOT_LOG"),
        ({"FABPILOT_KAFKA_CA_FILE": "none.pem"}, "none.pem", ""),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one),
)
def test_doctor_says_how_to_mend_what_keeps_us_out(
    home: Home, changes: dict[str, str], found: str, mend: str
) -> None:
    shut_out = Home(home.folder, **(home.environment | changes))
    done = shut_out.run("doctor", "--json", code=1)
    assert found in done.stdout
    assert mend in done.stdout


def test_no_password_appears_anywhere(
    home: Home, secure_kafka: KafkaCluster, rights: Rights, tmp_path: Path
) -> None:
    rights.only("fabpilot", documented("console", SITE))
    secret = secure_kafka.password_file("fabpilot").read_text()
    good = {**home.environment, "FABPILOT_DEBUG": "1"}
    del good["FABPILOT_KAFKA_PASSWORD_FILE"]
    good["FABPILOT_KAFKA_PASSWORD"] = secret
    said = ""
    for user in ("fabpilot", "stranger"):
        for command in ("doctor --json", "log tail labels --until-end", "replay maps.npz"):
            done = subprocess.run(
                [sys.executable, "-m", "fabpilot", *command.split()],
                env={**good, "FABPILOT_KAFKA_USER": user, "PYTHONPATH": os.getcwd()},
                cwd=home.folder,
                capture_output=True,
                text=True,
                check=False,
            )
            said += done.stdout + done.stderr
    assert "lets us in" in said
    assert "does not let user" in said
    assert secret not in said


def test_no_password_appears_in_logs_and_tracebacks(
    home: Home,
    secure_kafka: KafkaCluster,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment(secure_kafka, "admin").items():
        monkeypatch.setenv(name, value)
    said = ""
    with caplog.at_level(logging.DEBUG):
        for user in ("admin", "stranger"):
            monkeypatch.setenv("FABPILOT_KAFKA_USER", user)
            settings = load_settings()
            log = open_log(settings.log_url, settings.kafka_access)
            said += f"{settings!r} {settings.kafka_access!r} {settings.model_dump_json()}"
            try:
                log.topics()
                reader = log.reader(["fab.kr1.labels"], "beginning")
                reader.poll(1, 0.0)
                reader.close()
                log.append([], source="secrets", position=1)
            except LogAccessError as error:
                said += "".join(
                    traceback.TracebackException.from_exception(error, capture_locals=True).format()
                )
            finally:
                log.close()
    # Kafka's client was heard; not even of what SCRAM makes of the password.
    assert "auth_bytes" not in caplog.text
    assert "Starting KafkaAdminClient with configuration" in caplog.text
    assert "does not let user" in said
    assert secure_kafka.password_file("admin").read_text() not in said + caplog.text
