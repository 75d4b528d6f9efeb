"""Settings that say how the console lets people in."""

from pathlib import Path

import pytest

from contracts.errors import ConfigError
from fabpilot.access import access_of, allowed_hosts, check_published, first_admin
from fabpilot.settings import Settings
from streaming.database import open_engine


def test_nothing_is_published_without_accounts() -> None:
    for given in ({}, {"console_url": "http://localhost:8080"}):
        check_published(Settings(**given), "127.0.0.1")
    for host, url in (("0.0.0.0", ""), ("192.168.1.4", ""), ("127.0.0.1", "https://fab.example")):
        with pytest.raises(ConfigError, match="FABPILOT_AUTH=local"):
            check_published(Settings(console_url=url), host)
        check_published(Settings(console_url=url, auth="local"), host)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ConfigError, match="FABPILOT_OIDC_ISSUER"):
        access_of(Settings(auth="oidc"))
    with pytest.raises(ConfigError, match="FABPILOT_CONSOLE_URL"):
        access_of(Settings(console_url="fab.example"))
    with pytest.raises(ConfigError, match="TLS_KEY_FILE"):
        access_of(Settings(console_tls_cert_file=Path(__file__)))


def test_the_public_name_is_answered_and_makes_cookies_secure() -> None:
    settings = Settings(console_url="https://fab.example:8443/", auth="local")
    assert access_of(settings).secure
    assert allowed_hosts(settings, "127.0.0.1") == ("fab.example",)
    assert not access_of(Settings()).secure


def test_the_first_administrator_is_made_once(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("short\n")
    settings = Settings(auth="local", admin_password_file=secret)
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(Exception, match="12 to 256"):
        first_admin(settings, engine)
    secret.write_text("three small words\n")
    first_admin(settings, engine)
    secret.write_text("other small words\n")
    first_admin(settings, engine)
    with engine.begin() as connection:
        rows = connection.exec_driver_sql("SELECT name, changed_ms - created_ms FROM"
                                          " console_accounts").all()  # fmt: skip
    assert [tuple(row) for row in rows] == [("admin", 0)]
    engine.dispose()
