"""Settings come from the environment, and mistakes in it are said."""

from pathlib import Path

import pytest

from contracts.errors import ConfigError
from contracts.topics import Stream
from fabpilot.duration import parse_duration
from fabpilot.settings import load_settings
from fabpilot.wiring import model_source, site_topics
from serving.device import Device


def test_defaults_live_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FABPILOT_HOME", "/tmp/somewhere")
    settings = load_settings()
    assert settings.log_url == "embedded:/tmp/somewhere/log.db"
    assert settings.database_url == "sqlite:////tmp/somewhere/fabpilot.db"
    assert settings.mlflow_uri == "sqlite:////tmp/somewhere/mlflow.db"
    assert settings.device is Device.AUTO


def test_a_password_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings().database_password is None
    secret = tmp_path / "secret"
    monkeypatch.setenv("FABPILOT_DATABASE_PASSWORD_FILE", str(secret))
    with pytest.raises(ConfigError, match="cannot be read"):
        _ = load_settings().database_password
    secret.write_text(" with space \n")
    assert load_settings().database_password == " with space "


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FABPILOT_CONSOLE_PORT", "99999", "FABPILOT_CONSOLE_PORT"),
        ("FABPILOT_DEVICE", "tpu", "FABPILOT_DEVICE"),
        ("FABPILOT_SITE", "A/B", "site"),
        ("FABPILOT_LGO", "x", "did you mean FABPILOT_LOG"),
    ],
)
def test_mistakes(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        load_settings()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("2m", 120), ("1.5h", 5400), ("45", 45), (" 3 min ", 180)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "0", "1d", "5 s m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_duration(text)


def test_a_model_is_a_file_or_a_uri() -> None:
    with pytest.raises(ConfigError, match="neither a file"):
        model_source(load_settings(), "nothing.onnx")


def test_a_site_has_a_topic_for_every_stream() -> None:
    assert site_topics("kr1")["fab.kr1.wafer_maps"] >= 1
    assert len(site_topics("kr1")) == len(Stream)
