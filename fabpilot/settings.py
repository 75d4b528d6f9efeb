"""Every setting of every process, in one place, from the environment.

`FABPILOT_<NAME>` sets `<name>`; nothing else is read. docs/settings.md lists them, and a test holds
the two together.
"""

import difflib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.errors import ConfigError
from contracts.ids import check_site
from serving.device import Device
from streaming.embedded import Retention
from streaming.open import KafkaAccess

__all__ = ["Settings", "load_settings"]

_PREFIX = "FABPILOT_"


class Settings(BaseSettings):
    """What can be set. Relative paths are relative to the working directory."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True)

    home: Path = Field(
        default=Path(".fabpilot"),
        description="Folder for everything a process keeps: log, database, models, process output.",
    )
    log: str = Field(
        default="",
        description="The log: embedded:PATH, kafka://HOST:PORT[,…], or kafka+tls://HOST:PORT[,…]."
        " Default: embedded in home.",
    )
    retention_h: int = Field(
        default=168,
        ge=0,
        le=100_000,
        description="Hours that an embedded log keeps telemetry and predictions; alerts, actions"
        " and labels are kept for ever. 0: everything is. Kafka's topics have their own retention.",
    )
    kafka_ca_file: Path | None = Field(
        default=None,
        description="PEM file of the authorities that vouch for Kafka's brokers, with kafka+tls."
        " Default: the system's.",
    )
    kafka_user: str = Field(
        default="", description="User for Kafka (SASL/SCRAM-SHA-512), with kafka+tls."
    )
    kafka_password_file: Path | None = Field(
        default=None, description="File with the password of FABPILOT_KAFKA_USER."
    )
    kafka_password: SecretStr | None = Field(
        default=None,
        description="The password itself, where no file can hold it; not both.",
    )
    instance: str = Field(
        default="",
        description="Name of this process among its like, kept over restarts. Default: made of the"
        " host's name and the first number that no other process here has.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port where this process shows /metrics to Prometheus and /healthz to its"
        " supervisor; 0: none.",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="Address of that port. Nobody is asked who they are there: loopback, or a"
        " network of containers.",
    )
    otlp_endpoint: str = Field(
        default="",
        description="OpenTelemetry collector that gets each wafer's way as a trace, over OTLP/HTTP,"
        " such as http://collector:4318 (docs/tracing.md). Default: none.",
    )
    otlp_headers_file: Path | None = Field(
        default=None,
        description="File with headers for the collector, 'name: value' a line, such as an"
        " authorization.",
    )
    otlp_sample: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Share of the traces that is sent, 0 to 1; chosen by trace id, so that every"
        " process chooses the same.",
    )
    database: str = Field(
        default="",
        description="SQLAlchemy URL of alerts, audit trail and controller state."
        " Default: SQLite in home.",
    )
    database_password_file: Path | None = Field(
        default=None,
        description="File with the password for the database, as a container's secret; keeps it out"
        " of FABPILOT_DATABASE and of the environment.",
    )
    mlflow: str = Field(
        default="",
        description="MLflow tracking and registry URI. Default: SQLite in home.",
    )
    mlflow_user: str = Field(
        default="", description="User for an MLflow server that asks who one is."
    )
    mlflow_password_file: Path | None = Field(
        default=None, description="File with the password of FABPILOT_MLFLOW_USER."
    )
    model: str = Field(
        default="models:/wafer-map@champion",
        description="The model that scores wafer maps: models:/NAME@ALIAS, models:/NAME/VERSION"
        " or an ONNX file.",
    )
    retrain: Literal["manual", "auto"] = Field(
        default="manual",
        description="What 'fabpilot retrain' does with a challenger that passes the gate: manual"
        " leaves the last word to a person, auto promotes it.",
    )
    model_refresh_s: float = Field(
        default=5.0,
        ge=0.2,
        le=3600,
        description="How often the alias is resolved anew, in seconds.",
    )
    device: Device = Field(
        default=Device.AUTO,
        description="auto, cpu or cuda; cuda fails rather than run on the CPU.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Maps a processor scores at once on the CPU, a thread each; 0: one a core.",
    )
    site: str = Field(default="kr1", description="The fab this process works for.")
    time_zone: str = Field(
        default="UTC", description="IANA time zone of the site, for times the console shows."
    )
    policy: Path | None = Field(
        default=None,
        description="Guard rails of the controller, a YAML file. Default: the packaged policy.",
    )
    console_host: str = Field(
        default="127.0.0.1",
        description="Address the console listens on; anything but loopback needs FABPILOT_AUTH.",
    )
    console_port: int = Field(
        default=8080, ge=0, le=65535, description="Port the console listens on; 0 takes a free one."
    )
    auth: Literal["none", "local", "oidc"] = Field(
        default="none",
        description="Who may use the console: none lets in whoever sits at this machine (loopback"
        " only), local asks for an account made with 'fabpilot accounts add', oidc asks the"
        " identity provider.",
    )
    console_url: str = Field(
        default="",
        description="How browsers reach the console, such as https://fab.example, where that is not"
        " by a loopback name. With https, cookies never go without TLS.",
    )
    console_tls_cert_file: Path | None = Field(
        default=None,
        description="PEM certificate with which the console speaks TLS itself; with the key."
        " Not needed behind a proxy that does.",
    )
    console_tls_key_file: Path | None = Field(
        default=None, description="PEM key of FABPILOT_CONSOLE_TLS_CERT_FILE."
    )
    session_idle_min: float = Field(
        default=60.0,
        gt=0,
        le=24 * 60,
        description="A session ends after nobody has done anything for so many minutes.",
    )
    session_max_h: float = Field(
        default=12.0,
        gt=0,
        le=24 * 31,
        description="A session ends after so many hours in any case.",
    )
    admin_password_file: Path | None = Field(
        default=None,
        description="File with a password, as a container's secret: where there is no account at"
        " all, the console makes the administrator 'admin' with it.",
    )
    oidc_issuer: str = Field(
        default="", description="Address of the identity provider, as it calls itself."
    )
    oidc_client_id: str = Field(
        default="", description="Under which the identity provider knows this console."
    )
    oidc_client_secret_file: Path | None = Field(
        default=None,
        description="File with the client secret; none for a public client (PKCE is always used).",
    )
    oidc_role_claim: str = Field(
        default="roles",
        description="Claim of the ID token that names the role: viewer, engineer, operator or"
        " admin, with or without 'fabpilot-' before it.",
    )
    data: Path = Field(
        default=Path("../shared/data"),
        description="Folder with the public data sets, for tests and benchmarks.",
    )
    kafka: str = Field(
        default="", description="Brokers that tests marked kafka run against, HOST:PORT[,…]."
    )
    debug: bool = Field(
        default=False, description="Show tracebacks of unexpected errors and debug logs."
    )

    @property
    def kafka_access(self) -> KafkaAccess:
        """How Kafka lets us in."""
        return KafkaAccess(
            ca_file=self.kafka_ca_file,
            user=self.kafka_user,
            password_file=self.kafka_password_file,
            password=self.kafka_password,
            instance=self.instance,
        )

    @property
    def log_url(self) -> str:
        """The log, with the default filled in."""
        return self.log or f"embedded:{self.home / 'log.db'}"

    @property
    def retention(self) -> Retention:
        """What an embedded log forgets."""
        return Retention(self.retention_h)

    @property
    def database_url(self) -> str:
        """The database, with the default filled in."""
        return self.database or f"sqlite:///{self.home.absolute() / 'fabpilot.db'}"

    @property
    def database_password(self) -> str | None:
        """What the password file says, without the end of its line; None if there is none.

        Raises:
            ConfigError: the file cannot be read.
        """
        return self.secret("database_password_file")

    def secret(self, name: str) -> str | None:
        """What the file that the setting `name` names says, without the end of its line.

        Raises:
            ConfigError: the file cannot be read.
        """
        path: Path | None = getattr(self, name)
        return _password(path, _PREFIX + name.upper())

    @property
    def mlflow_uri(self) -> str:
        """MLflow, with the default filled in.

        MLflow's client learns who we are from the environment alone, so whoever asks where the
        registry is gets that set as well; a process that never asks needs no password.

        Raises:
            ConfigError: the password file cannot be read.
        """
        if self.mlflow_user:
            password = self.secret("mlflow_password_file")
            os.environ["MLFLOW_TRACKING_USERNAME"] = self.mlflow_user
            os.environ["MLFLOW_TRACKING_PASSWORD"] = password or ""
        return self.mlflow or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"


def _password(file: Path | None, variable: str) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable}: {file} cannot be read: {type(error).__name__}") from error


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        ConfigError: a value is wrong, or a variable looks like a setting and is none.
    """
    known = {_PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(_PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "docs/settings.md lists them all"
            raise ConfigError(f"the environment sets {name}, which is no setting; {hint}")
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = _PREFIX + str(first["loc"][0]).upper()
        raise ConfigError(f"{name}: {first['msg']} (it is {first['input']!r})") from error
    check_site(settings.site)
    return settings
