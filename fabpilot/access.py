"""How the console lets people in, from settings."""

from pathlib import Path
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Engine

from console.access import accounts
from console.access.policy import Access, OidcSettings
from console.access.roles import Role
from console.access.sessions import Lifetimes
from console.tables import create_tables
from contracts.clock import SystemClock
from contracts.errors import ConfigError
from fabpilot.settings import Settings

__all__ = ["access_of", "allowed_hosts", "check_published", "first_admin", "tls_of"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_log = structlog.get_logger(__name__)


def access_of(settings: Settings) -> Access:
    """How people are let in.

    Raises:
        ConfigError: settings are missing or contradict each other.
    """
    url = settings.console_url.rstrip("/")
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.path):
        raise ConfigError(
            f"FABPILOT_CONSOLE_URL: {url!r} is not of the form https://NAME or https://NAME:PORT"
        )
    oidc = None
    if settings.auth == "oidc":
        if not (settings.oidc_issuer and settings.oidc_client_id):
            raise ConfigError(
                "FABPILOT_AUTH=oidc needs FABPILOT_OIDC_ISSUER and FABPILOT_OIDC_CLIENT_ID"
            )
        oidc = OidcSettings(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            client_secret=settings.secret("oidc_client_secret_file") or "",
            role_claim=settings.oidc_role_claim,
        )
    return Access(
        auth=settings.auth,
        public_url=url,
        tls=tls_of(settings) is not None,
        lifetimes=Lifetimes(
            idle_ms=round(settings.session_idle_min * 60_000),
            absolute_ms=round(settings.session_max_h * 3_600_000),
        ),
        oidc=oidc,
    )


def check_published(settings: Settings, host: str) -> None:
    """Refuse to be reached from elsewhere without accounts.

    Raises:
        ConfigError: the console would be published without accounts.
    """
    public = urlsplit(settings.console_url).hostname
    published = host not in LOOPBACK or (public is not None and public not in LOOPBACK)
    if published and settings.auth == "none":
        where = f"address {host}" if host not in LOOPBACK else f"name {public}"
        raise ConfigError(
            f"the console would be reachable by the {where}, and it has no accounts: set"
            " FABPILOT_AUTH=local and make one ('fabpilot accounts add NAME --role admin'), or"
            " FABPILOT_AUTH=oidc; or listen on 127.0.0.1"
        )
    secure = tls_of(settings) is not None or settings.console_url.startswith("https://")
    if host not in LOOPBACK and not secure:
        _log.warning(
            "passwords go unencrypted to this address: set FABPILOT_CONSOLE_TLS_CERT_FILE, or"
            " publish it through a proxy with TLS and set FABPILOT_CONSOLE_URL",
            host=host,
        )


def allowed_hosts(settings: Settings, host: str) -> tuple[str, ...]:
    """Names the console answers to besides the loopback ones."""
    public = urlsplit(settings.console_url).hostname
    return tuple(dict.fromkeys(name for name in (host, public) if name and name not in LOOPBACK))


def tls_of(settings: Settings) -> tuple[Path, Path] | None:
    """Certificate and key, if the console speaks TLS itself.

    Raises:
        ConfigError: one of them is missing.
    """
    cert, key = settings.console_tls_cert_file, settings.console_tls_key_file
    if cert is None and key is None:
        return None
    for name, path in (("CERT", cert), ("KEY", key)):
        if path is None or not path.is_file():
            raise ConfigError(f"FABPILOT_CONSOLE_TLS_{name}_FILE: there is no file {path}")
    assert cert is not None
    assert key is not None
    return cert, key


def first_admin(settings: Settings, engine: Engine) -> None:
    """Make the administrator of a new installation, if a password was given for one.

    Raises:
        ConfigError: the file cannot be read.
        DataError: the password is too weak.
    """
    if settings.auth != "local":
        return
    create_tables(engine)
    with engine.begin() as connection:
        empty = not accounts.listed(connection)
    password = settings.secret("admin_password_file") if empty else None
    if password is None:
        if empty:
            _log.warning("there is no account yet: fabpilot accounts add NAME --role admin")
        return
    accounts.check_password("admin", password)
    hashed = accounts.hash_password(password)
    with engine.begin() as connection:
        # Another console may have been faster.
        if not accounts.listed(connection):
            accounts.add(
                connection,
                "admin",
                Role.ADMIN,
                hashed,
                by="FABPILOT_ADMIN_PASSWORD_FILE",
                now_ms=SystemClock().now_ms(),
            )
