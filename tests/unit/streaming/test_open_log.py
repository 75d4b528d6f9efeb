import dataclasses
from pathlib import Path

import pytest
from pydantic import SecretStr

from contracts.errors import ConfigError
from streaming.embedded import EmbeddedLog
from streaming.open import KafkaAccess, kafka_cluster, open_log

TLS = "kafka+tls://broker-1:9092"
SECRET = "correct horse battery"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    return file


def test_an_embedded_log_makes_nothing_until_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log.db"
    log = open_log(f"embedded:{path}")
    assert isinstance(log, EmbeddedLog)
    assert not path.parent.exists()
    log.create_topics({"t": 1})
    assert path.is_file()
    log.close()


def test_a_kafka_log_connects_to_nothing_until_it_is_used() -> None:
    pytest.importorskip("kafka")
    log = open_log("kafka://broker-1:9092,broker-2:9092")
    assert type(log).__name__ == "KafkaLog"
    log.close()


@pytest.mark.parametrize(
    "url",
    ["", "embedded:", "log.db", "kafka:host:9092", "kafka://", "kafka://host", "redis://h:1"],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"embedded:PATH"):
        open_log(url)


def test_the_password_comes_from_a_file_or_from_the_environment(password: Path) -> None:
    for access in (
        KafkaAccess(user="u", password_file=password),
        KafkaAccess(user="u", password=SecretStr(SECRET)),
    ):
        cluster = kafka_cluster(TLS, access)
        assert cluster is not None
        assert (cluster.user, cluster.password, cluster.tls) == ("u", SECRET, True)


def test_no_password_is_shown(password: Path) -> None:
    from streaming.kafka.settings import consumer_settings, producer_settings

    access = KafkaAccess(user="u", password=SecretStr(SECRET))
    cluster = kafka_cluster(TLS, access)
    assert cluster is not None
    shown = [access, cluster, producer_settings(cluster, "t"), consumer_settings(cluster, "g")]
    shown += [dataclasses.replace(cluster, instance="i"), open_log(TLS, access)]
    for one in shown:
        assert SECRET not in f"{one} {one!r} {one!s}"


@pytest.mark.parametrize(
    ("url", "access", "said"),
    [
        ("kafka://b:1", {"ca_file": "password"}, "kafka\\+tls://"),
        ("kafka://b:1", {"user": "u", "password": SecretStr("p")}, "over TLS only"),
        (TLS, {"ca_file": "missing"}, "FABPILOT_KAFKA_CA_FILE: cannot read .*missing"),
        (TLS, {"ca_file": "password"}, "FABPILOT_KAFKA_CA_FILE: .* no certificate in PEM"),
        (TLS, {"user": "u"}, "set user and password"),
        (TLS, {"password": SecretStr("p")}, "set user and password"),
        (TLS, {"password_file": "password"}, "set user and password"),
        (TLS, {"user": "u", "password": SecretStr("")}, "PASSWORD is empty"),
        (TLS, {"user": "u", "password_file": "missing"}, "PASSWORD_FILE: cannot read"),
        (TLS, {"user": "u", "password_file": "empty"}, "is empty"),
        (TLS, {"user": "u", "password_file": "binary"}, "PASSWORD_FILE: cannot read"),
        (TLS, {"user": "a,b", "password": SecretStr("p")}, "neither ',' nor '='"),
        (
            TLS,
            {"user": "u", "password": SecretStr("p"), "password_file": "password"},
            "both set; unset one",
        ),
    ],
)
def test_an_access_that_cannot_work_is_refused_before_anybody_connects(
    password: Path, url: str, access: dict[str, object], said: str
) -> None:
    (password.parent / "empty").write_text("\n")
    (password.parent / "binary").write_bytes(b"\xff\xfe")
    made = {k: password.parent / str(v) if k.endswith("file") else v for k, v in access.items()}
    with pytest.raises(ConfigError, match=said) as caught:
        open_log(url, KafkaAccess(**made))  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)
