"""`make secrets`: random, for its owner alone, and never changed by a second run."""

import stat
from pathlib import Path

from tests.deploy_files import ROOT, load

make_secrets = load("make_secrets.py")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_installation_has_passwords_of_its_own(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_secrets.make_secrets(tmp_path / name, "1.2.3")
        folder = tmp_path / name / "secrets"
        assert {file.name for file in folder.iterdir()} == set(make_secrets.NAMES)
        contents += [file.read_text() for file in folder.iterdir()]
    assert len(set(contents)) == 2 * len(make_secrets.NAMES)
    assert all(len(content) >= 32 for content in contents)


def test_nobody_else_gets_to_them(tmp_path: Path) -> None:
    make_secrets.make_secrets(tmp_path, "1.2.3")
    assert _mode(tmp_path / ".env") == 0o600
    assert _mode(tmp_path / "secrets") == 0o700
    # Behind that door they can be read: by the containers, whose users have other numbers.
    assert {_mode(file) for file in (tmp_path / "secrets").iterdir()} == {0o444}


def test_the_settings_name_the_version_and_hold_no_password(tmp_path: Path) -> None:
    make_secrets.make_secrets(tmp_path, make_secrets.version(ROOT))
    lines = (tmp_path / ".env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    from fabpilot import __version__

    assert settings["FABPILOT_TAG"] == __version__
    assert settings["COMPOSE_PROFILES"] == "demo,metrics"
    # Kafka's storage tool wants a UUID in base64 and takes a '-' at the front for an option.
    assert len(settings["KAFKA_CLUSTER_ID"]) == 22
    assert "-" not in settings["KAFKA_CLUSTER_ID"]
    secrets = [file.read_text() for file in (tmp_path / "secrets").iterdir()]
    assert not any(secret in "\n".join(lines) for secret in secrets)


def test_a_second_run_adds_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    make_secrets.make_secrets(tmp_path, "1.2.3")
    before = {file: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    (tmp_path / ".env").write_text("FABPILOT_TAG=mine\n")
    lost = tmp_path / "secrets" / "mlflow_admin"
    lost.unlink()
    assert make_secrets.make_secrets(tmp_path, "1.2.4") == [lost]
    assert lost.read_text() != before.pop(lost)
    assert all(file.read_text() == text for file, text in before.items())
    assert (tmp_path / ".env").read_text() == "FABPILOT_TAG=mine\n"
