"""What the console is given: database, log, clock, and what others know about models and health."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Engine

from console.access.policy import Access
from contracts.clock import Clock, SystemClock
from contracts.events import Event
from streaming.log import Log
from streaming.stateful import OnTaken

__all__ = ["Check", "ConsoleDeps", "HealthReport", "ModelInfo", "Site"]


@dataclass(frozen=True)
class Site:
    """One fab the console reads.

    Attributes:
        name: as in topics and events, such as 'kr1'.
        time_zone: IANA name; times of the fab are shown in it, with the offset.
    """

    name: str
    time_zone: str = "UTC"


@dataclass(frozen=True)
class ModelInfo:
    """One version of a model, as the registry and the server know it.

    Attributes:
        alias: 'champion', 'challenger', 'previous', several joined by ', ', or ''.
        sha256: digest of the model file.
        provider: the ONNX Runtime provider that really runs it; '' if it does not serve.
        device: 'cpu', 'cuda:0 (H100)'; '' if it does not serve.
        metrics: of the hold-out set, such as {'macro_f1': 0.93}.
        labels: the classes it tells apart.
        created_ms: when it was registered, milliseconds since the epoch, UTC; 0 if not known.
        run_url: its MLflow run, shown as text with a link; '' if there is none.
    """

    name: str
    version: str
    alias: str = ""
    sha256: str = ""
    provider: str = ""
    device: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    labels: Sequence[str] = ()
    created_ms: int = 0
    run_url: str = ""


@dataclass(frozen=True)
class Check:
    """One thing an operator would look at.

    Attributes:
        name: what, such as 'processor kr1' or 'disk'.
        status: 'ok', 'warning' or 'failed'.
        detail: the figure behind it, with its unit, and what to do if it is not ok.
    """

    name: str
    status: Literal["ok", "warning", "failed"]
    detail: str = ""


@dataclass(frozen=True)
class HealthReport:
    """What the processes around the console say about themselves.

    Attributes:
        checks: one per process or resource.
        versions: component to version, such as {'fabpilot': '0.1.0', 'onnxruntime': '1.31.1'}.
    """

    checks: Sequence[Check] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def _no_models() -> Sequence[ModelInfo]:
    return ()


def _no_health() -> HealthReport:
    return HealthReport()


@dataclass(frozen=True)
class ConsoleDeps:
    """Everything `create_app` needs; it opens nothing by itself.

    Attributes:
        engine: where the read model, the audit trail and the outbox are (SQLite or PostgreSQL).
        log: what is read and what decisions are published to; None shows what is stored, and
            decisions wait in the outbox.
        sites: the fabs to read.
        model_info: the versions that are registered, those that serve first. Called per request.
        health: what the other processes say. Called per request.
        clock: the wall clock people live by; the fab's clock comes with the events.
        version: of fabpilot.
        allowed_hosts: names this console may be called by besides the loopback ones.
        access: how people are let in; without a word, whoever sits at this machine.
        on_taken: called after records were taken into the read model (`streaming.stateful`).
        on_decided: called after somebody decided something, with the event that says so.
    """

    engine: Engine
    log: Log | None = None
    sites: Sequence[Site] = (Site("kr1", "Asia/Seoul"),)
    model_info: Callable[[], Sequence[ModelInfo]] = _no_models
    health: Callable[[], HealthReport] = _no_health
    clock: Clock = field(default_factory=SystemClock)
    version: str = ""
    allowed_hosts: Sequence[str] = ()
    access: Access = field(default_factory=Access)
    on_taken: OnTaken | None = None
    on_decided: Callable[[Event], None] | None = None
